"""`bolt`: the better a frame fits the question, the more of the budget falls near it."""

from __future__ import annotations

import numpy as np

from vidsampler.samplers.base import Choice, FloatArray, ascending
from vidsampler.samplers.scores import QuerySampler, check_scores, chosen, unit_scale

POWER = 3.0
"""How much high scores are preferred: 0 is uniform, large is the best frame's surroundings."""


def bolt(
    scores: FloatArray,
    features: FloatArray,
    times: FloatArray,
    k: int,
    *,
    power: float = POWER,
) -> Choice:
    """Inverse transform sampling of the scores.

    With s from 0 to 1, p_i = s_i^power / sum s^power and F its running sum, the kept frames are
    F^-1((j + 1/2) / k) for j = 0 ... k - 1. Frames that this meets more than once are kept once,
    and what is left of the budget is drawn in the same way from the frames that are left.

    Source: Liu et al., "BOLT: Boost Large Vision-Language Model Without Training for Long-form
    Video Understanding", CVPR 2025 (arXiv 2503.21483), its inverse transform sampling.

    Args:
        scores: (N,) fit to the question.
        features: Not used.
        times: (N,) seconds, ascending; only their number counts.
        k: How many frames to keep.
        power: See `POWER`.

    Returns:
        min(k, N) candidates with their scores.
    """
    k = check_scores(scores, features, times, k)
    unit = unit_scale(scores)
    left = np.arange(len(unit))
    kept: list[int] = []
    while len(kept) < k:
        missing = k - len(kept)
        weights = unit[left] ** power
        if not weights.sum() > 0:
            weights = np.ones(len(left))
        running = np.cumsum(weights / weights.sum())
        draws = (np.arange(missing) + 0.5) / missing
        # Rounding may leave the last running sum a little below 1.
        places = np.minimum(np.searchsorted(running, draws, side="right"), len(left) - 1)
        kept += left[np.unique(places)].tolist()
        left = np.delete(left, places)
    return chosen(scores, ascending(kept))


SAMPLER = QuerySampler("bolt", bolt)
