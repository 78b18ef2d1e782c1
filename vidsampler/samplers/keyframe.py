"""`keyframe`: the frames that the encoder stored whole, the cheapest ones to decode."""

from __future__ import annotations

import numpy as np

from vidsampler.samplers.base import Choice, Features, FloatArray, FrameSampler, check_arguments


def keyframe(times: FloatArray, features: Features | None, k: int, *, seed: int = 0) -> Choice:
    """Keeps K keyframes, spread evenly over time.

    The time from the first to the last keyframe is cut into K equal segments. Of all choices of K
    frames in time order, the one with the least squared distance to the segments' middles is kept
    (found by dynamic programming), so that a crowd of keyframes does not draw more than its share.

    Args:
        times: (N,) seconds of the keyframes, ascending.
        features: not used.
        k: how many frames to keep.
        seed: not used.

    Returns:
        min(k, N) candidates, without scores.
    """
    k = check_arguments(times, k)
    count = len(times)
    start, span = float(times[0]), float(times[-1] - times[0])
    targets = start + span * (2 * np.arange(k) + 1) / (2 * k)
    cost = (times[None, :] - targets[:, None]) ** 2
    # best[n]: least cost of the targets so far with the last one at or before candidate n.
    best = np.zeros(count + 1)
    came = np.zeros((k, count), np.int64)
    for i in range(k):
        reached = np.full(count + 1, np.inf)
        total = best[:-1] + cost[i]
        total[:i] = np.inf  # as many candidates lie before as targets
        # The running least, and where it was reached.
        least = np.minimum.accumulate(total)
        fresh = np.concatenate([[True], total[1:] < least[:-1]])
        came[i] = np.maximum.accumulate(np.where(fresh, np.arange(count), 0))
        reached[1:] = least
        best = reached
    indices = np.empty(k, np.int64)
    end = count - 1
    for i in reversed(range(k)):
        indices[i] = came[i, end]
        end = int(indices[i]) - 1
    return Choice(indices)


SAMPLER = FrameSampler("keyframe", keyframe, "keyframes", needs_features=False)
