"""Random numbers that depend on a seed and an id alone, not on order, blocks or device."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Noise = npt.NDArray[np.floating[Any]]


def uniform_noise(seed: int, key: int, count: int) -> Noise:
    """(count,) float32 in [0, 1), the same for the same (seed, key) everywhere.

    The raw words of NumPy's Philox 4x64 are turned into numbers here, because NumPy promises to
    keep those words, but not its distributions.
    """
    return ((_words(seed, key, count) >> np.uint64(40)) * 2.0**-24).astype(np.float32)


def normal_noise(seed: int, key: int, count: int) -> Noise:
    """(count,) float32 from N(0, 1) by Box and Muller, the same for the same (seed, key)."""
    half = (count + 1) // 2
    words = _words(seed, key, 2 * half) >> np.uint64(11)
    radius = np.sqrt(-2.0 * np.log((words[:half] + np.uint64(1)) * 2.0**-53))
    angle = 2.0 * np.pi * (words[half:] * 2.0**-53)
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return both[:count].astype(np.float32)


def _words(seed: int, key: int, count: int) -> npt.NDArray[np.uint64]:
    # Modulo 2^64, so that an id may be any integer.
    generator = np.random.Philox(key=np.array([each % 2**64 for each in (seed, key)], np.uint64))
    words: npt.NDArray[np.uint64] = generator.random_raw(count)
    return words
