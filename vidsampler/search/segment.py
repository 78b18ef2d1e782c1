"""A segment: one immutable file with the vectors and facts of some videos, read in place.

The file is a safetensors file, whose layout is known and simple: eight bytes with the length of a
JSON header, the header, the numbers. Axes: V videos, F kept frames of all of them, D channels.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError
from vidsampler.files import to_json_bytes
from vidsampler.search.entry import Entry, Floats, Half, Ints, Stamp
from vidsampler.search.manifest import Manifest, Part

Bytes = npt.NDArray[np.uint8]

SUFFIX = ".safetensors"
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "|u1"}
_LONGEST_HEADER = 1 << 16


@dataclass(frozen=True)
class Fact:
    """What a segment says of a video beside its vectors; see `Entry`."""

    source: str
    stamp: Stamp
    duration: float


def to_bytes(entries: Sequence[Entry]) -> bytes:
    """The file of some videos; the same videos give the same bytes.

    Args:
        entries: At least one.
    """
    from safetensors.numpy import save

    counts = [len(entry.times_K) for entry in entries]
    facts = b"".join(
        to_json_bytes([entry.source, entry.stamp.to_json(), entry.duration]) for entry in entries
    )
    return save(
        {
            "videos": np.stack([entry.video_D for entry in entries]),
            "frames": np.concatenate([entry.frames_KD for entry in entries]),
            "norms": np.concatenate([entry.norms_K for entry in entries]).astype(np.float32),
            "times": np.concatenate([entry.times_K for entry in entries]).astype(np.float64),
            "numbers": np.concatenate([entry.numbers_K for entry in entries]).astype(np.int64),
            "slots": np.concatenate([entry.slots_K for entry in entries]).astype(np.int64),
            "starts": np.cumsum([0, *counts], dtype=np.int64),
            "facts": np.frombuffer(facts, np.uint8),
        }
    )


class Segment:
    """A segment, opened. Its numbers are those of the file: nothing is read before it is used.

    Args:
        path: The file.
        videos: How many it should hold.
        width: D, as the index says.

    Raises:
        InputError: The file is missing, damaged, or of another index.

    Attributes:
        videos_VD: (V, D) float16.
        frames_FD: (F, D) float16.
        norms_F, times_F, numbers_F, slots_F: (F,), see `Entry`.
        starts: (V + 1,) where the frames of each video begin.
    """

    def __init__(self, path: Path, videos: int, width: int) -> None:
        self.path = path
        data = _mapped(path)
        try:
            parts = _views(data)
            self.videos_VD: Half = parts["videos"]
            self.frames_FD: Half = parts["frames"]
            self.norms_F: Floats = parts["norms"]
            self.times_F: Floats = parts["times"]
            self.numbers_F: Ints = parts["numbers"]
            self.slots_F: Ints = parts["slots"]
            self.starts: Ints = parts["starts"]
            self._facts = parts["facts"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged(path, f"its header cannot be read ({error})") from error
        frames = len(self.frames_FD)
        rows = (self.norms_F, self.times_F, self.numbers_F, self.slots_F)
        if (
            self.videos_VD.shape != (videos, width)
            or self.frames_FD.shape != (frames, width)
            or any(each.shape != (frames,) for each in rows)
            or self.starts.shape != (videos + 1,)
            or (self.starts[0], self.starts[-1]) != (0, frames)
            or bool((np.diff(self.starts) < 1).any())
        ):
            raise _damaged(path, "its numbers are not those of the index")

    def __len__(self) -> int:
        """V."""
        return len(self.videos_VD)

    @cached_property
    def facts(self) -> list[Fact]:
        """Of each video.

        Raises:
            InputError: They are damaged.
        """
        try:
            found = [
                Fact(str(source), Stamp.from_json(stamp), float(duration))
                for source, stamp, duration in map(json.loads, bytes(self._facts).splitlines())
            ]
        except (ValueError, TypeError) as error:
            raise _damaged(self.path, "its list of videos cannot be read") from error
        if len(found) != len(self):
            raise _damaged(self.path, f"it lists {len(found)} videos, not {len(self)}")
        return found

    def frames_of(self, row: int) -> slice:
        """Where the kept frames of a video are."""
        return slice(int(self.starts[row]), int(self.starts[row + 1]))

    def entry(self, row: int) -> Entry:
        """A video."""
        own, fact = self.frames_of(row), self.facts[row]
        return Entry(
            fact.source,
            fact.stamp,
            fact.duration,
            self.videos_VD[row],
            self.frames_FD[own],
            self.norms_F[own],
            self.times_F[own],
            self.numbers_F[own],
            self.slots_F[own],
        )


def open_part(folder: Path, part: Part, width: int) -> Segment:
    """A segment that an index lists.

    Raises:
        InputError: It is damaged.
    """
    segment = Segment(folder / f"{part.name}{SUFFIX}", part.videos, width)
    if len(segment.frames_FD) != part.frames:
        raise _damaged(segment.path, "its numbers are not those of the index")
    return segment


def facts_of(folder: Path, manifest: Manifest) -> Iterator[Fact]:
    """What an index says of all its videos.

    Raises:
        InputError: A segment is damaged.
    """
    for part in manifest.parts:
        yield from open_part(folder, part, manifest.width).facts


def check_content(segment: Segment, part: Part) -> None:
    """Compares a segment with its SHA-256, which reads all of it.

    Raises:
        InputError: It is another.
    """
    with segment.path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
            raise _damaged(segment.path, "its content has changed")


def _mapped(path: Path) -> Bytes:
    """A file's bytes, which are read as they are looked at.

    By torch and not by mmap, which keeps a descriptor for each map: of an index with a thousand
    segments the system would open no more.

    Raises:
        InputError: It is missing or empty, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
        if not size:
            raise _damaged(path, "it is empty")
        import torch

        name: Any = os.fsencode(path)  # as bytes: it need not be text
        # Not shared: copied when written to, which nobody does.
        mapped = torch.from_file(name, shared=False, size=size, dtype=torch.uint8)
    except FileNotFoundError:
        raise _damaged(path, "it is missing") from None
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read: {why}", code="unreadable") from error
    data: Bytes = mapped.numpy()
    return data


def _views(data: Bytes) -> dict[str, Any]:
    """The arrays of a safetensors file, in place.

    Raises:
        ValueError, KeyError, TypeError: It is none.
    """
    size = int.from_bytes(data[:8].tobytes(), "little")
    if not 2 <= size <= _LONGEST_HEADER:
        raise ValueError("no header")
    header = json.loads(data[8 : 8 + size].tobytes())
    views = {}
    for name, facts in header.items():
        begin, end = (8 + size + int(each) for each in facts["data_offsets"])
        if not 8 + size <= begin <= end <= len(data):
            raise ValueError("the file is cut")
        kind = np.dtype(_TYPES[facts["dtype"]])
        flat = np.frombuffer(data, kind, (end - begin) // kind.itemsize, begin)
        views[name] = flat.reshape(facts["shape"])
    return views


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"the index {path.parent} is damaged: {path.name}: {why}",
        hint="copy it again, or make it again: vidsampler embed VIDEOS INDEX --overwrite",
        code="damaged",
    )
