"""One sample of a shard, or one folder of frames, into a spool: what a worker of `shard` does."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidsampler.errors import InputError, VidsamplerError
from vidsampler.extraction.video import Stored
from vidsampler.files import to_json_bytes, writing
from vidsampler.shards import Reader
from vidsampler.shards.manifest import Failure
from vidsampler.shards.writer import Member, remove_spool
from vidsampler.video.positions import Positions, uniform_positions

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
"""Endings of files that a folder of frames may hold."""

_PER_FRAME = ("numbers", "pts", "times")
"""Facts that are lists with one entry a frame."""


@dataclass(frozen=True)
class SampleTask:
    """What is to be done with one video whose frames are there.

    Attributes:
        key, source: As in the new commit file.
        origin: A folder of shards, or the folder of the frames.
        spool: The file for what is stored.
        frames: Keep so many; None: all.
        positions: Of them.
        facts: More for ``KEY.json``, such as captions.
        start, end: Drop frames shown before or from these seconds on.
        rate: Pictures a second, of folders that do not say when each is shown.
        found: The key in ``origin``, where it is another one.
    """

    key: str
    source: str
    origin: Path
    spool: Path
    frames: int | None = None
    positions: Positions = "middle"
    facts: dict[str, Any] | None = None
    start: float | None = None
    end: float | None = None
    rate: float | None = None
    found: str | None = None


def store_sample(task: SampleTask) -> Stored:
    """Copies a sample of a folder of shards.

    Raises:
        VidsamplerError: The spool cannot be written.
    """
    return _guarded(task, _copy_sample)


def store_folder(task: SampleTask) -> Stored:
    """Packs a folder of pictures.

    Raises:
        VidsamplerError: The spool cannot be written.
    """
    return _guarded(task, _pack_folder)


def list_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of the numbers in their names."""
    found = [
        Path(entry.path)
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(PICTURES) and not entry.name.startswith(".")
    ]
    return sorted(found, key=lambda path: (_numbers_of(path.name), path.name))


def _numbers_of(name: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", name))


def _guarded(task: SampleTask, store: Any) -> Stored:
    try:
        stored: Stored = store(task)
        return stored
    except InputError as error:
        remove_spool(task.spool)
        message = error.message.replace(f"{task.origin}", task.source, 1)
        return Stored(failure=Failure(task.key, task.source, "open", error.code, message))
    except VidsamplerError:
        remove_spool(task.spool)
        raise


def _copy_sample(task: SampleTask) -> Stored:
    sample = _reader(task.origin)[task.found or task.key]
    frames = list(sample.frames)
    facts = sample.facts
    if not frames and (task.start is not None or task.end is not None):
        raise InputError(
            f"{task.source}: a stored mp4 cannot be cut to a part of the video; "
            "make the shards from the videos themselves",
            code="unsupported",
        )
    others = {
        name: data
        for name, data in sample.members.items()
        if name != "json" and not name.endswith(PICTURES)
    }
    kept = _kept(_inside(task, len(frames), facts), task)
    if len(kept) < len(frames):
        facts = _of_kept(facts, len(frames), kept)
    facts = {**facts, **(task.facts or {})}
    endings = [name[name.rindex(".") :] for name in sample.members if name.endswith(PICTURES)]
    members = _spooled(task, ((endings[i], bytes(frames[i])) for i in kept), len(kept))
    members += [Member(name, len(data), bytes(data)) for name, data in others.items()]
    return Stored((*members, _json(facts)), len(kept) or len(facts.get("numbers", ())))


def _pack_folder(task: SampleTask) -> Stored:
    try:
        paths = list_pictures(task.origin)
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"{task.origin}: cannot be read: {why}", code="unreadable") from error
    if not paths:
        raise InputError(f"{task.origin}: there is no picture in it", code="empty")
    beside = _facts_beside(task.origin.with_name(f"{task.origin.name}.json"))
    kept = _kept(_inside(task, len(paths), beside), task)
    size = (0, 0)

    def pictures() -> Iterator[tuple[str, bytes]]:
        nonlocal size
        for number in kept:
            data = _read(paths[number])
            size = _check_picture(paths[number], data)
            suffix = paths[number].suffix.lower()
            yield ".jpg" if suffix == ".jpeg" else suffix, data

    members = _spooled(task, pictures(), len(kept))
    facts = _of_kept(beside, len(paths), kept)
    if not facts and task.rate is not None:
        facts = {"times": [round(number / task.rate, 6) for number in kept]}
    facts = {
        "source": task.source,
        "width": size[0],
        "height": size[1],
        "frames": len(paths),
        "numbers": list(kept),
        **facts,
        **(task.facts or {}),
    }
    return Stored((*members, _json(facts)), len(kept))


def _spooled(task: SampleTask, pictures: Iterator[tuple[str, bytes]], count: int) -> list[Member]:
    """Writes pictures as they come, so that only one is in memory."""
    digits = max(3, len(str(count - 1)))
    members = []
    offset = 0
    with writing(task.spool), task.spool.open("wb") as file:
        for position, (ending, data) in enumerate(pictures):
            file.write(data)
            members.append(Member(f"{position:0{digits}d}{ending}", len(data), None, offset))
            offset += len(data)
    return members


def _json(facts: dict[str, Any]) -> Member:
    data = to_json_bytes(facts)
    return Member("json", len(data), data)


def _inside(task: SampleTask, count: int, facts: dict[str, Any]) -> list[int]:
    """The frames that are shown between the task's start and end."""
    if task.start is None and task.end is None:
        return list(range(count))
    times = facts.get("times")
    if times is None and task.rate is not None:
        times = [number / task.rate for number in range(count)]
    if times is None or len(times) != count:
        raise InputError(
            f"{task.source}: only a part of it is wanted, and nobody knows when its frames are "
            "shown; say how many there are a second with --rate",
            code="no-times",
        )
    start, end = task.start or 0.0, float("inf") if task.end is None else task.end
    inside = [i for i, time in enumerate(times) if start - 1e-6 <= time < end - 1e-6]
    if not inside:
        raise InputError(
            f"{task.source}: none of its {count} frames is shown from {start:g} s to {end:g} s",
            code="no-video",
        )
    return inside


def _kept(inside: list[int], task: SampleTask) -> list[int]:
    if task.frames is None or task.frames >= len(inside):
        return inside
    return [inside[i] for i in uniform_positions(len(inside), task.frames, task.positions)]


def _of_kept(facts: dict[str, Any], count: int, kept: Sequence[int]) -> dict[str, Any]:
    """Facts with the lists of some frames."""
    some = dict(facts)
    for name in _PER_FRAME:
        if isinstance(facts.get(name), list) and len(facts[name]) == count:
            some[name] = [facts[name][i] for i in kept]
    return some


def _facts_beside(path: Path) -> dict[str, Any]:
    """The commit file of an extracted folder; nothing where it is something else."""
    import json

    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and "numbers" in facts else {}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {why}", code="unreadable") from error


def _check_picture(path: Path, data: bytes) -> tuple[int, int]:
    """(width, height) of a picture that is whole, as far as its two ends tell."""
    import io

    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            size: tuple[int, int] = picture.size
            kind = picture.format
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a picture", code="damaged") from error
    if kind == "JPEG" and b"\xff\xd9" not in data[-64:]:
        raise InputError(f"{path}: the picture is cut", code="truncated")
    return size


@functools.lru_cache(maxsize=4)
def _reader(folder: Path) -> Reader:
    return Reader(folder)
