"""The contact sheet: frames in a grid, the kept ones numbered, with times and scores."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, SOFT = (24, 25, 28), (240, 240, 240), (150, 153, 160)
MARK, TRACK = (255, 196, 0), (60, 62, 68)
GAP, TITLE, LINE = 10, 44, 30
WIDTH, WIDE = 1280, 1920
MANY = 24
"""A sheet of more cells is `WIDE`."""
_DIMMED = 0.45
_BAR = 5


@dataclass(frozen=True, eq=False)
class Cell:
    """One frame of a sheet.

    Attributes:
        picture: (H, W, 3) uint8.
        label: what stands below it on the left, such as its time.
        detail: on the right; None: the frame's number and score.
        frame: its number in the source.
        score: the sampler's, if it has one.
        number: of a kept frame, 1 for the first; None: it is not kept.
        level: where its score lies, from 0 for the worst to 1 for the best; drawn as a bar.
    """

    picture: npt.NDArray[np.uint8]
    label: str
    detail: str | None = None
    frame: int | None = None
    score: float | None = None
    number: int | None = None
    level: float | None = None

    def details(self) -> list[str]:
        """What may stand on the right, from the longest to nothing."""
        if self.detail is not None:
            return [self.detail, self.detail, ""]
        score = "" if self.score is None else f"{self.score:.3f}"
        frame = "" if self.frame is None else f"frame {self.frame}"
        return [f"{frame}  {score}".strip(), score, ""]


def draw_sheet(cells: Sequence[Cell], title: str, subtitle: str = "") -> npt.NDArray[np.uint8]:
    """Lays out frames in time order, left to right and top to bottom.

    Where some are kept and some are not, the kept ones have a frame, and the others are dimmed.

    Args:
        cells: at least one.
        title: one line above all; its end is kept where it is too long.
        subtitle: one line below it, such as the question.

    Returns:
        (H, W, 3) uint8, `WIDTH` or, with more than `MANY` cells, `WIDE` pixels wide.
    """
    total = WIDE if len(cells) > MANY else WIDTH
    shape = max((cell.picture.shape for cell in cells), key=lambda s: s[0] / s[1])
    columns = _columns(len(cells), shape[0] / shape[1])
    width = (total - GAP * (columns + 1)) // columns
    height = max(1, round(width * shape[0] / shape[1]))
    size = max(10, min(17, width // 11))
    bar = _BAR if any(cell.level is not None for cell in cells) else 0
    below = bar + size + 12
    top = TITLE + (LINE if subtitle else 0)
    rows = math.ceil(len(cells) / columns)
    sheet = Image.new("RGB", (total, top + rows * (height + below + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(20), ImageFont.load_default(size)
    draw.text((GAP, TITLE // 2), _end_of(title, draw, large, total - 2 * GAP), INK, large, "lm")
    if subtitle:
        said = _end_of(subtitle, draw, ImageFont.load_default(17), total - 2 * GAP, start=True)
        draw.text((GAP, TITLE + LINE // 2 - 6), said, MARK, ImageFont.load_default(17), "lm")
    details = _fitting_details(draw, cells, width, small)
    mixed = len({cell.number is None for cell in cells}) > 1
    for i, cell in enumerate(cells):
        x = GAP + (i % columns) * (width + GAP)
        y = top + (i // columns) * (height + below + GAP)
        picture = _fitted(cell.picture, width, height)
        if mixed and cell.number is None:
            picture = Image.blend(Image.new("RGB", picture.size, PAPER), picture, _DIMMED)
        left, up = x + (width - picture.width) // 2, y + (height - picture.height) // 2
        sheet.paste(picture, (left, up))
        if mixed and cell.number is not None:
            draw.rectangle((x - 4, y - 4, x + width + 3, y + height + bar + 1), None, MARK, 3)
        if cell.number is not None:
            _badge(draw, left, up, cell.number, size, marked=mixed)
        if bar and cell.level is not None:
            draw.rectangle((x, y + height, x + width - 1, y + height + bar - 2), TRACK)
            filled = round((width - 1) * cell.level)
            draw.rectangle((x, y + height, x + filled, y + height + bar - 2), MARK)
        line = y + height + bar + (below - bar) // 2
        draw.text((x, line), cell.label, INK, small, "lm")
        draw.text((x + width, line), details[i], SOFT, small, "rm")
    return np.asarray(sheet)


def _fitting_details(draw: Any, cells: Sequence[Cell], width: int, font: Any) -> list[str]:
    """What stands on the right of each cell: the same part of all, one that all have room for.

    Otherwise the eye would have to find out why one cell says more than the next.
    """
    rooms = [width - draw.textlength(cell.label, font) - 8 for cell in cells]
    for details in zip(*(cell.details() for cell in cells), strict=True):
        if all(draw.textlength(d, font) <= room for d, room in zip(details, rooms, strict=True)):
            return list(details)
    return [""] * len(cells)


def _badge(draw: Any, x: int, y: int, number: int, size: int, *, marked: bool) -> None:
    """A kept frame's number in the corner of its picture."""
    font = ImageFont.load_default(size + 1)
    wide = max(size + 8, int(draw.textlength(str(number), font)) + 12)
    draw.rectangle((x, y, x + wide, y + size + 8), MARK if marked else PAPER)
    ink = PAPER if marked else INK
    draw.text((x + wide / 2, y + (size + 8) / 2), str(number), ink, font, "mm")


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

    return min(range(1, min(count, 12) + 1), key=badness)


def _fitted(pixels: npt.NDArray[np.uint8], width: int, height: int) -> Image.Image:
    picture = Image.fromarray(pixels)
    scale = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _end_of(text: str, draw: Any, font: Any, room: int, *, start: bool = False) -> str:
    """As much of a line as there is room for, its end or its start."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if draw.textlength(text, font) <= room:
        return text

    def part(letters: int) -> str:
        return f"{text[:letters]}…" if start else f"…{text[len(text) - letters :]}"

    def too_long(letters: int) -> bool:
        return bool(draw.textlength(part(letters), font) > room)

    return part(bisect_left(range(1, len(text)), True, key=too_long))
