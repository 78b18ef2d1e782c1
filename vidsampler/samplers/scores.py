"""What samplers share that choose by a question: scores brought to one scale, and the best ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vidsampler.samplers.base import (
    Candidates,
    Choice,
    FloatArray,
    IntArray,
    ascending,
    check_arguments,
)


class ChooseByScores(Protocol):
    """The function of a sampler that chooses by a question."""

    def __call__(
        self, scores: FloatArray, features: FloatArray, times: FloatArray, k: int
    ) -> Choice:
        """Chooses frames.

        Args:
            scores: (N,) how well each candidate fits the question, such as cosines; any scale.
            features: (N, D) the candidates' features, of any length but 0.
            times: (N,) seconds, ascending.
            k: How many frames to keep.

        Returns:
            Exactly min(k, N) candidates with their scores as given.
        """
        ...


@dataclass(frozen=True)
class QuerySampler:
    """A sampler that chooses by a question.

    Attributes:
        name: As it is registered.
        choose: Its function.
        candidates: Which frames it chooses from; see `FrameSampler`.
    """

    name: str
    choose: ChooseByScores
    candidates: Candidates = "uniform"


def check_scores(scores: FloatArray, features: FloatArray, times: FloatArray, k: int) -> int:
    """min(k, N), after a look at the arguments.

    Raises:
        UsageError: k is below 1.
        InputError: There is no candidate.
        ValueError: The lengths differ, or numbers are not finite.
    """
    k = check_arguments(times, k)
    if scores.shape != times.shape or features.ndim != 2 or len(features) != len(times):
        raise ValueError(
            f"{len(times)} candidates need (N,) scores and (N, D) features, got {scores.shape} and "
            f"{features.shape}"
        )
    bad = int((~np.isfinite(scores)).sum()) + int((~np.isfinite(features)).sum())
    if bad:
        raise ValueError(f"{bad} of the scores and features are not finite")
    return k


def unit_scale(scores: FloatArray) -> FloatArray:
    """(N,) scores from 0, the worst, to 1, the best; 0 where all are the same."""
    # Divided first: the difference of two numbers near the largest float would be infinite. A
    # power of two changes no digit.
    most = float(np.abs(scores).max(initial=0.0))
    scaled = np.ldexp(scores.astype(np.float64), -int(np.frexp(most)[1]))
    least, span = scaled.min(), np.ptp(scaled)
    unit: FloatArray = (scaled - least) / span if span > 0 else np.zeros(len(scaled))
    return unit


def best(scores: FloatArray, k: int) -> IntArray:
    """(k,) the places of the highest scores, ascending; of equal ones the earlier."""
    return ascending(np.argsort(-scores, kind="stable")[:k].tolist())


def chosen(scores: FloatArray, indices: IntArray) -> Choice:
    """The choice of these candidates, with their scores."""
    return Choice(indices, scores[indices].astype(np.float64))
