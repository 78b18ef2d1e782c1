"""`aks`: the best frames where the answer is plain, and a share for every part where it is not."""

from __future__ import annotations

import numpy as np

from vidsampler.samplers.base import Choice, FloatArray, ascending
from vidsampler.samplers.scores import QuerySampler, best, check_scores, chosen, unit_scale

CLEARLY = 0.5
"""How far the mean of the best k frames of a part must be above the mean of the whole part; scores
of the video lie from 0 to 1."""
DEEPEST = 5
"""Parts are halved at most so often."""


def aks(
    scores: FloatArray,
    features: FloatArray,
    times: FloatArray,
    k: int,
    *,
    clearly: float = CLEARLY,
    deepest: int = DEEPEST,
) -> Choice:
    """Adaptive keyframe sampling: relevance where it stands out, coverage elsewhere.

    A part of the video (at first all of it) gives its k best frames if their mean score is clearly
    above the mean of the part. Otherwise it is halved, and each half gives half of the frames.

    Source: Tang et al., "Adaptive Keyframe Sampling for Long Video Understanding", CVPR 2025
    (arXiv 2502.21271), its strategy ADA. Scores are brought to 0 ... 1 within the video first, so
    that the threshold means the same for all models; an odd frame goes to the half with the best
    single frame.

    Args:
        scores: (N,) fit to the question.
        features: Not used.
        times: (N,) seconds, ascending; only their number counts.
        k: How many frames to keep.
        clearly: See `CLEARLY`.
        deepest: See `DEEPEST`.

    Returns:
        min(k, N) candidates with their scores.
    """
    k = check_scores(scores, features, times, k)
    unit = unit_scale(scores)
    kept: list[int] = []
    parts = [(0, len(unit), k, 0)]
    while parts:
        first, past, share, depth = parts.pop()
        inside = unit[first:past]
        top = best(inside, share)
        stands_out = float(inside[top].mean() - inside.mean()) >= clearly
        if stands_out or depth == deepest or share == len(inside):
            kept += (first + top).tolist()
            continue
        middle = (first + past) // 2
        left, right = _halves(unit[first:middle], unit[middle:past], share)
        parts += [
            (start, end, count, depth + 1)
            for start, end, count in ((first, middle, left), (middle, past, right))
            if count
        ]
    return chosen(scores, ascending(kept))


def _halves(left: FloatArray, right: FloatArray, share: int) -> tuple[int, int]:
    """How many frames each half gives; a half cannot give more than it has."""
    odd_goes_left = bool(np.max(left) >= np.max(right))
    count = share // 2 + (share % 2 if odd_goes_left else 0)
    # The right half is never the shorter one, by one frame at most the longer.
    count = min(max(count, share - len(right)), len(left))
    return count, share - count


SAMPLER = QuerySampler("aks", aks)
