"""The contact sheet: kept frames in a grid, numbered and time-stamped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vidsampler.timecode import format_time

if TYPE_CHECKING:
    from PIL import Image

PAPER, INK, SOFT = (24, 25, 28), (240, 240, 240), (150, 153, 160)
GAP, CAPTION, TITLE = 10, 30, 44
WIDTH = 1280


def draw_sheet(
    pictures: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[tuple[str, str]],
    title: str,
) -> npt.NDArray[np.uint8]:
    """Lays out pictures in time order, left to right and top to bottom.

    Args:
        pictures: K arrays (H, W, 3) uint8.
        captions: for each picture what stands left and right below it.
        title: one line above all.

    Returns:
        (H, W, 3) uint8, 1280 pixels wide.
    """
    from PIL import Image, ImageDraw, ImageFont

    shape = max((p.shape for p in pictures), key=lambda s: s[0] / s[1])
    columns = _columns(len(pictures), shape[0] / shape[1])
    cell = (WIDTH - GAP * (columns + 1)) // columns
    height = max(1, round(cell * shape[0] / shape[1]))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (WIDTH, TITLE + rows * (height + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(17)
    draw.text((GAP, TITLE // 2), _shorten(title, draw, large), INK, large, anchor="lm")
    for i, (picture, (left, right)) in enumerate(zip(pictures, captions, strict=True)):
        x = GAP + (i % columns) * (cell + GAP)
        y = TITLE + (i // columns) * (height + CAPTION + GAP)
        thumbnail = _fitted(Image.fromarray(picture), cell, height)
        sheet.paste(
            thumbnail, (x + (cell - thumbnail.width) // 2, y + (height - thumbnail.height) // 2)
        )
        draw.text((x, y + height + CAPTION // 2), left, INK, small, anchor="lm")
        draw.text((x + cell, y + height + CAPTION // 2), right, SOFT, small, anchor="rm")
    return np.asarray(sheet)


def _columns(count: int, aspect: float) -> int:
    """Columns that make the sheet about 2:1, with few empty places in the last row.

    Args:
        count: how many pictures.
        aspect: height of a picture by its width.
    """

    def badness(columns: int) -> float:
        rows = math.ceil(count / columns)
        shape = math.log(columns / (rows * aspect) / 2.2)
        return abs(shape) + 6 * (columns * rows - count) / count

    return min(range(1, min(count, 10) + 1), key=badness)


def _fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    from PIL import Image

    scale = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _shorten(text: str, draw: object, font: object) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    room = WIDTH - 2 * GAP
    length = draw.textlength  # type: ignore[attr-defined]
    if length(text, font) <= room:
        return text
    while text and length("…" + text, font) > room:
        text = text[1:]
    return "…" + text


def caption(number: int, seconds: float, frame: int, score: float | None) -> tuple[str, str]:
    """What stands below the picture of one kept frame."""
    right = f"frame {frame}" if score is None else f"frame {frame}  {score:.3f}"
    return f"{number}   {format_time(seconds)}", right
