"""Similarity matrices with every kind of difficulty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """A matrix and its owners."""

    name: str
    scores: NDArray[Any]
    owners: NDArray[np.int64]


def _cases() -> list[Case]:
    generator = np.random.default_rng(7)
    square = generator.normal(size=(17, 17)).astype(np.float32)
    tall = generator.normal(size=(41, 9)).astype(np.float32)
    wide = generator.normal(size=(8, 23)).astype(np.float32)
    sorted_owners = np.sort(np.concatenate([np.arange(9), generator.integers(0, 9, 32)]))
    tied = generator.integers(-2, 3, (41, 9)).astype(np.float32)
    doubled = np.repeat(generator.normal(size=(9, 5)).astype(np.float32), 2, axis=1)
    return [
        Case("square", square, np.arange(17)),
        Case("permuted", square, generator.permutation(17)),
        Case("captions in a row", tall, sorted_owners),
        Case("captions all over", tall, generator.permutation(sorted_owners)),
        Case("captions in turns", tall[:36], np.tile(np.arange(9), 4)),
        Case("ties", tied, sorted_owners),
        Case("ties all over", tied, generator.permutation(sorted_owners)),
        Case("zeros of both signs", np.where(tied > 0, 0.0, -0.0), sorted_owners),
        Case("all equal", np.zeros((12, 7), np.float32), np.arange(12) % 7),
        Case("twins among the videos", doubled, np.arange(9)),
        Case("twins among the texts", np.repeat(square, 2, axis=0), np.repeat(np.arange(17), 2)),
        Case("videos without captions", wide, generator.permutation(23)[:8]),
        Case("one video", tall[:, :1], np.zeros(41, np.int64)),
        Case("one text", wide[:1], np.array([5])),
        Case("one pair", square[:1, :1], np.array([0])),
        Case("half precision", tall.astype(np.float16), sorted_owners),
        Case(
            "differences that float32 has not",
            1 + np.round(tall.astype(np.float64), 1) * 1e-12,
            sorted_owners,
        ),
        Case("another byte order", tall.astype(">f4"), sorted_owners),
        Case("Fortran order", np.asfortranarray(tall), sorted_owners),
    ]


CASES = _cases()
