"""One video in, its stored frames out: what a worker process of `extract` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError, VidsamplerError
from vidsampler.extraction.numbers import frame_numbers
from vidsampler.extraction.settings import Recipe
from vidsampler.extraction.spool import FileSpool, FolderSpool, Mp4Spool
from vidsampler.files import to_json_bytes
from vidsampler.shards.manifest import Failure
from vidsampler.shards.writer import Member, remove_spool
from vidsampler.video import Video
from vidsampler.video.decode import FrameConverter, upright_turn
from vidsampler.video.reader import IndexChangedError

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VideoTask:
    """What is to be done with one video.

    Attributes:
        key, source: As in the commit file.
        path: The file.
        recipe: What to store.
        spool: Where to put it: a file, or with ``folders`` a folder.
        folders: Store frames as files of a folder.
        timeout: Seconds.
        facts: More for ``KEY.json``, such as captions.
        start, end: Only frames shown between these seconds.
    """

    key: str
    source: str
    path: Path
    recipe: Recipe
    spool: Path
    folders: bool = False
    timeout: float | None = None
    facts: dict[str, Any] | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Stored:
    """What became of a video: frames in a spool, or a failure.

    Attributes:
        members: The files of the sample; of a folder only ``json``.
        frames: How many frames were stored.
        failure: Why there are none.
    """

    members: tuple[Member, ...] = ()
    frames: int = 0
    failure: Failure | None = None


class Spool(Protocol):
    """Takes frames as they are decoded."""

    def put(self, number: int, rgb: npt.NDArray[np.uint8]) -> None:
        """One decoded frame; each number once, in any order."""

    def finish(self, numbers: Sequence[int]) -> list[Member]:
        """The members, once all is there; ``numbers`` are the frames to keep, in order."""

    def close(self) -> None:
        """Ends it, whole or not."""


def store_video(task: VideoTask) -> Stored:
    """Decodes what a recipe wants of a video into a spool.

    Raises:
        VidsamplerError: The spool cannot be written. A fault of the video is no exception but the
            result's ``failure``.
    """
    stage = "open"
    try:
        for trust_index in (True, False):
            try:
                stage = "open"
                with Video(
                    task.path,
                    threads=1,
                    timeout=task.timeout,
                    salvage=task.recipe.salvage,
                    trust_index=trust_index,
                ) as video:
                    stage = "decode"
                    return _store(video, task)
            except IndexChangedError:
                if not trust_index:
                    raise
    except InputError as error:
        remove_spool(task.spool)
        failure = Failure(task.key, task.source, stage, error.code, _named(error.message, task))
        return Stored(failure=failure)
    except VidsamplerError:
        remove_spool(task.spool)
        raise
    raise AssertionError("the second round returns or raises")


def _store(video: Video, task: VideoTask) -> Stored:
    numbers = frame_numbers(video, task.recipe, task.start, task.end)
    spool = _spool(task, numbers)
    converter = FrameConverter(task.recipe.size)
    rotation = 0

    def take(number: int, pts: int, frame: Any) -> None:
        nonlocal rotation
        rotation = upright_turn(frame)
        spool.put(number, converter(frame))

    try:
        missing = set(video.decode_into(numbers, lambda: take))
        if missing and not task.recipe.salvage:
            at = float(video.times([min(missing)])[0])
            raise InputError(
                f"{video.path}: {len(missing)} of {len(np.unique(numbers))} frames cannot be "
                f"decoded, the first at {at:.2f} s",
                code="damaged",
            )
        there = np.array([n for n in numbers.tolist() if n not in missing], np.int64)
        if not len(there):
            raise InputError(f"{video.path}: none of its frames can be decoded", code="damaged")
        members = spool.finish(there.tolist())
    finally:
        spool.close()
    facts = to_json_bytes(_facts(video, task, there, rotation))
    json = Member("json", len(facts), facts)
    return Stored((*members, json), len(there))


def _spool(task: VideoTask, numbers: IntArray) -> Spool:
    if task.recipe.store == "mp4":
        assert task.recipe.fps is not None
        return Mp4Spool(task.spool, numbers.tolist(), task.recipe.fps, task.recipe.crf)
    if task.folders:
        return FolderSpool(task.spool, numbers.tolist(), task.recipe.quality)
    return FileSpool(task.spool, task.recipe.quality)


def _facts(video: Video, task: VideoTask, numbers: IntArray, rotation: int) -> dict[str, Any]:
    """``KEY.json``."""
    info = video.info(rotation)
    return {
        "source": task.source,
        "bytes": info.size,
        "container": info.container,
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "rotation": info.rotation,
        "fps": round(info.fps, 6),
        "duration": round(info.duration, 6),
        "time_base": str(info.time_base),
        "frames": info.frames,
        "numbers": numbers.tolist(),
        "pts": video.pts(numbers).tolist(),
        "times": [round(time, 6) for time in video.times(numbers).tolist()],
        "recipe": task.recipe.to_json(),
        **(task.facts or {}),
    }


def _named(message: str, task: VideoTask) -> str:
    """The message with the path as the user knows it, the same on every machine."""
    for path in (task.path, task.spool):
        message = message.replace(str(path), task.source)
    return message
