"""`topscore`: the frames that fit the question best."""

from __future__ import annotations

from vidsampler.samplers.base import Choice, FloatArray
from vidsampler.samplers.scores import QuerySampler, best, check_scores, chosen


def topscore(scores: FloatArray, features: FloatArray, times: FloatArray, k: int) -> Choice:
    """Keeps the k highest scores; of equal ones the earlier frame.

    Args:
        scores: (N,) fit to the question.
        features: Not used.
        times: (N,) seconds, ascending; only their number counts.
        k: How many frames to keep.

    Returns:
        min(k, N) candidates with their scores.
    """
    k = check_scores(scores, features, times, k)
    return chosen(scores, best(scores, k))


SAMPLER = QuerySampler("topscore", topscore)
