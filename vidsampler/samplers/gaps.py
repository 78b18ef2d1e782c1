"""Kept frames that are at least so far apart in time."""

from __future__ import annotations

import numpy as np

from vidsampler.samplers.base import FloatArray, IntArray

_ROUNDING = 1e-9


def keep_apart(
    times: FloatArray, wanted: IntArray, scores: FloatArray, k: int, gap: float
) -> IntArray:
    """Replaces frames that are too near each other.

    Of all choices without two frames nearer than ``gap``, the one with the most frames (k at most)
    is kept; of those, the one with the most of the wanted frames; of those, the one with the
    highest sum of scores. Found by dynamic programming.

    Args:
        times: (N,) seconds, ascending.
        wanted: What a sampler chose.
        scores: (N,) from 0 to 1, to choose the others by.
        k: How many frames to keep at most.
        gap: Seconds; 0 leaves the choice as it is.

    Returns:
        The kept candidates, ascending; less than k where no more fit.
    """
    if gap <= 0 or len(times) == 0:
        return wanted
    count = len(times)
    # One wanted frame counts more than all scores together.
    worth = scores.astype(np.float64).copy()
    worth[wanted] += k + 1
    # before[i]: how many candidates are far enough before candidate i.
    before = np.searchsorted(times, times - gap + _ROUNDING, side="right")
    before = np.minimum(before, np.arange(count))
    value = np.full((count + 1, k + 1), -np.inf)
    value[:, 0] = 0.0
    takes = np.zeros((count, k + 1), bool)
    for i in range(count):
        taken = value[before[i], :-1] + worth[i]
        takes[i, 1:] = taken > value[i, 1:]
        value[i + 1, 1:] = np.maximum(value[i, 1:], taken)
    left = int(np.flatnonzero(np.isfinite(value[count])).max())
    kept: list[int] = []
    i = count - 1
    while left:
        if takes[i, left]:
            kept.append(i)
            left -= 1
            i = int(before[i]) - 1
        else:
            i -= 1
    return np.array(kept[::-1], np.int64)
