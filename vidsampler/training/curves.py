"""The learning curves of a run, and where its kept frames lie, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from vidsampler.files import whole_file, writing
from vidsampler.training.journal import read_log

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 240, 80, 30, 36, 40
_INK, _GRID = (40, 40, 40), (225, 225, 225)
_COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14))

Points = Sequence[tuple[float, float]]


def draw_curves(run: Path, picture: Path) -> None:
    """Draws loss, validation R@1 and kept frames of a run's log; nothing where it has no lines.

    Raises:
        VidsamplerError: The picture cannot be written.
    """
    lines = read_log(run)
    steps = [line for line in lines if "loss" in line]
    if not steps:
        return
    panels = [("loss", _curves(steps)), ("R@1 of validation, percent", _recalls(lines))]
    panels.append(
        ("share of candidates kept", {"": [(x["epoch"], x["keep_ratio"]) for x in steps]})
    )
    panels = [(title, curves) for title, curves in panels if curves]
    image = Image.new("RGB", (_WIDTH, _HEIGHT * (len(panels) + 1)), "white")
    pen = ImageDraw.Draw(image)
    last = max(line["epoch"] for line in steps)
    for number, (title, curves) in enumerate(panels):
        _panel(pen, number * _HEIGHT, title, curves, last)
    _bars(pen, len(panels) * _HEIGHT, steps)
    with writing(picture), whole_file(picture) as (handle, temporary):
        with open(handle, "wb") as file:
            image.save(file, "PNG", optimize=True)
        Path(temporary).replace(picture)


def _curves(steps: Sequence[dict[str, Any]]) -> dict[str, Points]:
    names = sorted({name for line in steps for name in line["terms"]})
    curves: dict[str, Points] = {}
    for name in names:
        curves[name] = [(x["epoch"], x["terms"][name]) for x in steps if name in x["terms"]]
    return curves


def _recalls(lines: Sequence[dict[str, Any]]) -> dict[str, Points]:
    curves: dict[str, Points] = {}
    for split in ("val", "test"):
        points = [(x["epoch"], x[split]["t2v"]["R@1"]) for x in lines if split in x]
        if points:
            curves[split] = points
    return curves


def _panel(
    pen: ImageDraw.ImageDraw, top: int, title: str, curves: dict[str, Points], last: float
) -> None:
    most = max(y for points in curves.values() for _, y in points)
    most = most * 1.05 if most > 0 else 1.0
    _frame(pen, top, title, most)
    for tick in range(5):
        _text(pen, _x(tick / 4), top + _HEIGHT - _BOTTOM + 6, f"{last * tick / 4:.3g}", "mt")
    _text(pen, _WIDTH - _RIGHT, top + _HEIGHT - 14, "epochs", "rt")
    place = _LEFT + 300
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dots = [(_x(x / last), _y(top, y / most)) for x, y in points]
        if len(dots) > 1:
            pen.line(dots, fill=colour, width=2)
        for x, y in dots if len(dots) < 60 else ():
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        if name:
            pen.rectangle((place, top + 12, place + 12, top + 22), fill=colour)
            _text(pen, place + 18, top + 10, name, "lt")
            place += 130


def _bars(pen: ImageDraw.ImageDraw, top: int, steps: Sequence[dict[str, Any]]) -> None:
    """Where kept frames lie among the candidates, in the last epoch."""
    last = [line for line in steps if line["epoch"] > steps[-1]["epoch"] - 1] or steps[-1:]
    shares = [sum(each) / len(last) for each in zip(*(x["kept_at"] for x in last), strict=True)]
    most = max(max(shares), 1 / len(shares)) * 1.1
    _frame(pen, top, "where kept frames lie, last epoch (line: evenly)", most)
    for place, share in enumerate(shares):
        left, right = _x(place / len(shares)) + 1, _x((place + 1) / len(shares)) - 1
        pen.rectangle((left, _y(top, share / most), right, _y(top, 0)), fill=_COLOURS[0])
        if len(shares) <= 32:
            _text(pen, (left + right) / 2, top + _HEIGHT - _BOTTOM + 6, str(place), "mt")
    even = _y(top, 1 / len(shares) / most)
    pen.line((_LEFT, even, _WIDTH - _RIGHT, even), fill=_COLOURS[1])
    _text(pen, _WIDTH - _RIGHT, top + _HEIGHT - 14, "candidate", "rt")


def _frame(pen: ImageDraw.ImageDraw, top: int, title: str, most: float) -> None:
    _text(pen, _LEFT, top + 10, title, "lt")
    for tick in range(5):
        y = _y(top, tick / 4)
        pen.line((_LEFT, y, _WIDTH - _RIGHT, y), fill=_GRID if tick else _INK)
        _text(pen, _LEFT - 8, y, f"{most * tick / 4:.3g}", "rm")


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(top: int, share: float) -> float:
    return top + _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _text(pen: ImageDraw.ImageDraw, x: float, y: float, text: str, anchor: str) -> None:
    pen.text((x, y), text, fill=_INK, anchor=anchor, font=ImageFont.load_default(13))
