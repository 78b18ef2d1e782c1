"""One video in, the frames that a retriever is to see out: what a worker process of `embed` does.

No torch for video files; the pictures of shards are decoded as in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vidsampler import registry
from vidsampler.errors import InputError
from vidsampler.search.entry import Stamp, stamp_of
from vidsampler.search.manifest import Failed, Kind
from vidsampler.shards.manifest import Failure
from vidsampler.video.positions import uniform_positions

if TYPE_CHECKING:
    from vidsampler.shards import Reader
    from vidsampler.video import Video

RGB = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ReadTask:
    """What is wanted of one video.

    Attributes:
        key, source: As in ``errors.jsonl``.
        kind: Whether it is a file or a sample of shards.
        path: The file, or the folder of the shards.
        frames: N, candidates, evenly spread; all there are where there are fewer.
        size: Pixels of the square that is cut out of the middle of each frame.
        blind: A sampler that chooses without a look at the frames, so that only the frames that it
            keeps are decoded; None: all candidates are wanted.
        k: How many it keeps; None: all.
        seed: Of `random`.
        timeout: Seconds.
        salvage: Take what decodes of a damaged file.
        stamp: Of a sample; of a file it is taken when it is read.
    """

    key: str
    source: str
    kind: Kind
    path: Path
    frames: int
    size: int
    blind: str | None
    k: int | None
    seed: int
    timeout: float | None
    salvage: bool
    stamp: Stamp | None = None


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one video.

    Attributes:
        stamp: What the file looked like before it was read.
        duration: Seconds.
        rgb_NHWC: (N, S, S, 3) uint8 squares.
        numbers_N: (N,) which frames of the video they are.
        times_N: (N,) when they are shown, seconds.
    """

    stamp: Stamp
    duration: float
    rgb_NHWC: RGB
    numbers_N: npt.NDArray[np.int64]
    times_N: npt.NDArray[np.float64]


def read_frames(task: ReadTask) -> Frames | Failed:
    """Decodes what a retriever is to see of a video; a fault of the video is a result too."""
    stamp = task.stamp
    stage = "open"
    try:
        if task.kind == "shards":
            stage = "decode"
            return _read_sample(task)
        try:
            stamp = stamp_of(task.path)
        except OSError:
            stamp = None  # whatever is wrong, the reader has the words for it
        return _read_file(task, stamp)
    except InputError as error:
        stage = stage if error.code in ("missing", "empty", "not-video", "no-video") else "decode"
        message = error.message.replace(str(task.path), task.source)
        return Failed(stamp, Failure(task.key, task.source, stage, error.code, message))


def _read_file(task: ReadTask, stamp: Stamp | None) -> Frames:
    from vidsampler.video import Video
    from vidsampler.video.reader import IndexChangedError

    for trust_index in (True, False):
        try:
            with Video(
                task.path,
                threads=1,
                timeout=task.timeout,
                salvage=task.salvage,
                trust_index=trust_index,
            ) as video:
                return _decode(video, task, stamp or stamp_of(task.path))
        except IndexChangedError:
            if not trust_index:
                raise
    raise AssertionError("the second round returns or raises")


def _decode(video: Video, task: ReadTask, stamp: Stamp) -> Frames:
    there = video.index.frames
    numbers = uniform_positions(there, min(there, task.frames))
    numbers = numbers[_chosen(task, video.times(numbers))]
    decoded = video.frames(numbers, task.size)
    if not decoded:
        raise InputError(f"{video.path}: none of its frames can be decoded", code="damaged")
    numbers = np.array([frame.number for frame in decoded], np.int64)
    return Frames(
        stamp,
        round(video.duration, 6),
        _squares([frame.rgb for frame in decoded]),
        numbers,
        video.times(numbers),
    )


def _read_sample(task: ReadTask) -> Frames:
    from vidsampler.loading.augment import central_square
    from vidsampler.loading.pictures import FrameDecoder, times_of

    assert task.stamp is not None
    sample = _reader(task.path)[task.key]
    facts = sample.facts
    times = np.zeros(0)

    def choose(there: int) -> npt.NDArray[np.int64]:
        nonlocal times
        times = times_of(facts, there, task.key)
        places = uniform_positions(there, min(there, task.frames))
        return places[_chosen(task, times[places])]

    out = np.empty((task.frames, task.size, task.size, 3), np.uint8)
    places = FrameDecoder().decode(sample, choose, central_square, out)
    numbers = np.array(facts.get("numbers", range(len(times))), np.int64)
    duration = float(facts.get("duration", times[-1]))
    return Frames(task.stamp, duration, out[: len(places)], numbers[places], times[places])


@lru_cache(1)
def _reader(folder: Path) -> Reader:
    from vidsampler.shards import Reader

    return Reader(folder)


def _chosen(task: ReadTask, times_N: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Which candidates are wanted."""
    if task.blind is None:
        return np.arange(len(times_N))
    sampler = registry.load("samplers", task.blind)
    kept: npt.NDArray[np.int64] = sampler.choose(
        times_N, None, task.k or task.frames, seed=task.seed
    ).indices
    return kept


def _squares(pictures: list[RGB]) -> RGB:
    """(N, S, S, 3) the middle of each; a stream may change its size midway."""
    squares = []
    for rgb in pictures:
        height, width = rgb.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        squares.append(rgb[top : top + side, left : left + side])
    side = len(squares[0])
    return np.stack([each if len(each) == side else _resized(each, side) for each in squares])


def _resized(rgb: RGB, side: int) -> RGB:
    from PIL import Image

    picture = Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture)
