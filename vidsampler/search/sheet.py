"""A picture of what was found: the best frame of each video, with its score and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError
from vidsampler.files import writing
from vidsampler.search.index import Hit, Index
from vidsampler.sheet import Cell, draw_sheet
from vidsampler.timecode import format_time
from vidsampler.video import Video
from vidsampler.video.images import write_image
from vidsampler.video.reader import IndexChangedError

HEIGHT = 360
MOST = 120
"""Frames on one sheet."""
_LONGEST = 24
_MISSING = (60, 62, 68)


def write_sheet(index: Index, hits: Sequence[Hit], title: str, path: Path) -> list[InputError]:
    """Writes a contact sheet of the best moments.

    Args:
        index: Where they were found.
        hits: At least one, in their order; those after the first `MOST` are left out.
        title: One line above all.
        path: The picture.

    Returns:
        Why some frames could not be shown; they are grey.

    Raises:
        UsageError: The file's ending is not that of a picture.
        VidsamplerError: It cannot be written.
    """
    cells: list[Cell] = []
    problems = []
    for number, hit in enumerate(hits[:MOST], 1):
        try:
            picture = _frame(index, hit)
        except InputError as error:
            problems.append(error)
            picture = np.full((HEIGHT, HEIGHT * 16 // 9, 3), _MISSING, np.uint8)
        name = "".join(each if each.isprintable() else "?" for each in Path(hit.source).name)
        name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        moment = format_time(hit.time).removeprefix("0:")
        cells.append(Cell(picture, name, f"{moment}  {hit.score:.3f}", number=number))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, draw_sheet(cells, title), quality=90)
    return problems


def _frame(index: Index, hit: Hit) -> npt.NDArray[np.uint8]:
    if index.manifest.kind == "shards":
        return _stored(Path(index.manifest.folder), hit)
    for trust_index in (True, False):
        try:
            with Video(hit.video, trust_index=trust_index) as video:
                if hit.frame >= video.index.frames:
                    raise InputError(f"{hit.video}: it has changed since it was embedded")
                (frame,) = video.frames([hit.frame], HEIGHT)
                rgb: npt.NDArray[np.uint8] = frame.rgb
                return rgb
        except IndexChangedError:
            if not trust_index:
                raise
    raise AssertionError("the second round returns or raises")


def _stored(folder: Path, hit: Hit) -> npt.NDArray[np.uint8]:
    from vidsampler.loading.augment import central_square
    from vidsampler.loading.pictures import FrameDecoder
    from vidsampler.shards import Reader

    reader = Reader(folder)
    keys = {source: key for key, source in reader.sources.items()}
    if hit.source not in keys:
        raise InputError(f"{hit.source}: it is no longer in {folder}", code="missing")
    sample = reader[keys[hit.source]]

    def choose(there: int) -> npt.NDArray[np.int64]:
        numbers = list(sample.facts.get("numbers", range(there)))
        return np.array([numbers.index(hit.frame) if hit.frame in numbers else 0], np.int64)

    out = np.empty((1, HEIGHT, HEIGHT, 3), np.uint8)
    FrameDecoder().decode(sample, choose, central_square, out)
    picture: npt.NDArray[np.uint8] = out[0]
    return picture
