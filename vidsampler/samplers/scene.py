"""`scene`: shots found by their cuts, and the middle of each."""

from __future__ import annotations

import heapq

import numpy as np

from vidsampler.samplers.base import (
    Choice,
    Features,
    FloatArray,
    FrameSampler,
    IntArray,
    ascending,
    check_arguments,
    need,
)
from vidsampler.samplers.features import visual_steps

# In montages of real clips 99% of the steps inside a shot are below 0.75, 95% of those at a cut
# above 0.95 (4 frames a second). Lower values find hardly more cuts, but more false ones.
_SMALLEST_CUT = 0.8
# A cut stands out from the steps within a second around it; a shaking camera has many large steps.
_CUT_RATIO = 2.5
_WINDOW = 4


def scene(times: FloatArray, features: Features | None, k: int, *, seed: int = 0) -> Choice:
    """Keeps the middle frame of each of the K longest shots.

    A shot starts where the step from one candidate to the next is large, and much larger than the
    steps around it. With less than K shots, long ones give several frames: those in the middles of
    2, 3, ... equal parts, so that the longest part is as short as can be.

    Args:
        times: (N,) seconds, ascending, best about 4 a second.
        features: of the N candidates.
        k: how many frames to keep.
        seed: not used.

    Returns:
        min(k, N) candidates; the score of each is the part of the candidates, between 0 and 1,
        that its shot (or its part of the shot) has.
    """
    k = check_arguments(times, k)
    features = need(features, times, "scene")
    starts = shot_starts(features)
    lengths = np.diff(np.append(starts, len(times)))
    if len(starts) > k:
        longest = np.argsort(-lengths, kind="stable")[:k]
        starts, lengths = starts[longest], lengths[longest]
    indices: list[int] = []
    scores: dict[int, float] = {}
    parts = _parts(lengths, k)
    for start, length, count in zip(starts.tolist(), lengths.tolist(), parts, strict=True):
        for i in range(count):
            index = start + (2 * i + 1) * length // (2 * count)
            indices.append(index)
            scores[index] = length / count / len(times)
    kept = ascending(indices)
    return Choice(kept, np.array([scores[i] for i in kept.tolist()]))


def shot_starts(features: Features) -> IntArray:
    """The first candidate of each shot; the first of all is always one."""
    steps = visual_steps(features).astype(np.float64)
    if len(steps) == 0:
        return np.zeros(1, np.int64)
    padded = np.pad(steps, _WINDOW, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _WINDOW + 1)
    others = np.delete(around, _WINDOW, axis=1)
    usual = np.zeros(len(steps))
    if len(steps) > 1:
        # The median, so that a second cut nearby does not hide the first.
        usual = np.nanmedian(others, axis=1)
    cuts = np.flatnonzero((steps >= _SMALLEST_CUT) & (steps >= _CUT_RATIO * usual))
    return np.append(np.zeros(1, np.int64), cuts + 1)


def _parts(lengths: IntArray, k: int) -> list[int]:
    """How many frames each shot gives: at least 1, k in all, never more than it has."""
    counts = [1] * len(lengths)
    # Always split the shot whose parts are longest; of equal ones the first.
    queue = [(-float(length), shot) for shot, length in enumerate(lengths)]
    heapq.heapify(queue)
    for _ in range(k - len(lengths)):
        while True:
            _, shot = heapq.heappop(queue)
            if counts[shot] < lengths[shot]:
                break
        counts[shot] += 1
        heapq.heappush(queue, (-float(lengths[shot]) / counts[shot], shot))
    return counts


SAMPLER = FrameSampler("scene", scene, "dense", needs_features=True)
