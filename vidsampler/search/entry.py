"""What an index holds of one video. No torch here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Half = npt.NDArray[np.float16]
Floats = npt.NDArray[Any]
Ints = npt.NDArray[Any]

PART = 1 << 16
"""Bytes at either end of a file that tell it from another."""


@dataclass(frozen=True)
class Stamp:
    """What a file looked like when it was embedded.

    Attributes:
        size: Bytes.
        mtime: When it was changed last, nanoseconds; 0 for samples of shards.
        digest: 16 hexadecimal digits of the SHA-256 of both its ends; of a sample its place in a
            shard of known content.
    """

    size: int
    mtime: int
    digest: str

    def to_json(self) -> list[Any]:
        """As an index holds it."""
        return [self.size, self.mtime, self.digest]

    @classmethod
    def from_json(cls, data: Any) -> Stamp:
        """The opposite of `to_json`."""
        size, mtime, digest = data
        return cls(int(size), int(mtime), str(digest))


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        facts = path.stat()
        ends = hashlib.sha256(file.read(PART))
        if facts.st_size > PART:
            file.seek(max(PART, facts.st_size - PART))
            ends.update(file.read(PART))
    return Stamp(facts.st_size, facts.st_mtime_ns, ends.hexdigest()[:16])


@dataclass(frozen=True, eq=False)
class Entry:
    """One video: K kept frames of D channels.

    Attributes:
        source: Its path below the folder of videos; of shards, as it was when they were made.
        stamp: What its file looked like.
        duration: Seconds.
        video_D: (D,) its vector, of length 1; products with unit texts are scores.
        frames_KD: (K, D) vectors of the kept frames, of length 1, in time order.
        norms_K: (K,) float32, the frames' lengths before.
        times_K: (K,) float64, when they are shown, seconds.
        numbers_K: (K,) int64, which frames of the video they are.
        slots_K: (K,) int64, at which place a head sees them.
    """

    source: str
    stamp: Stamp
    duration: float
    video_D: Half
    frames_KD: Half
    norms_K: Floats
    times_K: Floats
    numbers_K: Ints
    slots_K: Ints
