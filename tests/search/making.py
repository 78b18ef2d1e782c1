"""Entries without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vidsampler.search.entry import Entry, Stamp
from vidsampler.search.manifest import Manifest

WIDTH = 16


def entry(source: str, version: int = 0, width: int = WIDTH) -> Entry:
    """An entry that depends on the source and the version alone; it has one to four frames."""
    digest = hashlib.sha256(f"{source} {version}".encode("utf-8", "surrogatepass")).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    frames = int(generator.integers(1, 5))
    vectors = generator.normal(size=(frames, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    video = vectors.mean(0)
    return Entry(
        source,
        Stamp(int(generator.integers(1, 10**6)), version, digest.hex()[:16]),
        float(frames),
        (video / np.linalg.norm(video)).astype(np.float16),
        vectors.astype(np.float16),
        generator.uniform(1, 9, frames).astype(np.float32),
        np.arange(frames) + 0.25,
        np.arange(frames) * 10,
        np.arange(frames),
    )


def empty_manifest(width: int = WIDTH) -> Manifest:
    """The list of an index with nothing in it."""
    return Manifest("videos", "/videos", {}, None, "0" * 16, width, 64)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def equal(one: Entry, other: Entry) -> bool:
    """Whether two entries are the same to the bit."""
    plain = (one.source, one.stamp, one.duration) == (other.source, other.stamp, other.duration)
    return plain and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("video_D", "frames_KD", "norms_K", "times_K", "numbers_K", "slots_K")
    )


def names(numbers: Iterable[int]) -> list[str]:
    """Sources."""
    return [f"v{number:03d}.mp4" for number in numbers]
