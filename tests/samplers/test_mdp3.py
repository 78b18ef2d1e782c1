"""`mdp3` against determinants computed one by one, and what it is for."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from vidsampler.samplers.mdp3 import RELEVANCE, mdp3
from vidsampler.samplers.topscore import topscore

FloatArray = npt.NDArray[np.float64]


def kernel_of(features: FloatArray) -> FloatArray:
    """The mean of six Gaussians, with the median of all pairs as their scale."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    count = len(unit)
    squared = np.array([[((a - b) ** 2).sum() for b in unit] for a in unit])
    usual = np.median([squared[i, j] for i, j in itertools.combinations(range(count), 2)])
    parts = [np.exp(-squared / (2 * usual * 2.0**u)) for u in (-3, -2, -1, 0, 1, 2)]
    kernel: FloatArray = sum(parts) / 6 + 1e-6 * np.eye(count)
    return kernel


def worth(kernel: FloatArray, scores: FloatArray, frames: list[int]) -> float:
    """log det of the frames' kernel with relevance; 0 of no frame."""
    if not frames:
        return 0.0
    sign, value = np.linalg.slogdet(kernel[np.ix_(frames, frames)])
    assert sign > 0
    unit = (scores - scores.min()) / np.ptp(scores)
    return float(value + RELEVANCE * unit[frames].sum())


def slow_mdp3(scores: FloatArray, features: FloatArray, k: int, segment: int) -> list[int]:
    """Every way to share the budget, followed from segment to segment."""
    kernel = kernel_of(features)
    ways: dict[int, tuple[float, list[int], list[int]]] = {0: (0.0, [], [])}
    for start in range(0, len(scores), segment):
        inside = list(range(start, min(start + segment, len(scores))))
        new: dict[int, tuple[float, list[int], list[int]]] = {}
        for spent in sorted(ways):
            value, kept, before = ways[spent]
            mine: list[int] = []
            while True:
                total = spent + len(mine)
                added = worth(kernel, scores, before + mine) - worth(kernel, scores, before)
                if total <= k and (total not in new or value + added > new[total][0]):
                    new[total] = (value + added, kept + mine, list(mine))
                free = [i for i in inside if i not in mine]
                if not free or total >= k:
                    break
                mine.append(max(free, key=lambda i: worth(kernel, scores, [*before, *mine, i])))
        ways = new
    return sorted(ways[k][1])


@pytest.mark.parametrize(("count", "segment"), [(7, 32), (12, 5), (15, 4), (20, 8)])
def test_it_is_the_slow_reference(count: int, segment: int) -> None:
    for seed in range(4):
        draw = np.random.default_rng(seed)
        features, scores = draw.normal(size=(count, 6)), draw.uniform(0, 1, count)
        for k in (1, 3, 6):
            found = mdp3(scores, features, np.arange(float(count)), k, segment=segment)
            assert found.indices.tolist() == slow_mdp3(scores, features, k, segment)


def test_the_same_picture_is_not_kept_twice() -> None:
    features = np.eye(6)[[0, 1, 1, 1, 2, 3, 4, 5]]
    scores = np.array([0.2, 0.9, 1.0, 0.9, 0.5, 0.1, 0.0, 0.3])
    times = np.arange(8.0)
    assert topscore(scores, features, times, 3).indices.tolist() == [1, 2, 3]
    assert mdp3(scores, features, times, 3).indices.tolist() == [2, 4, 7]
    # Not even where the segment before it has it: 1 and 2 are the same picture.
    assert mdp3(scores, features, times, 3, segment=2).indices.tolist() == [2, 4, 7]


def test_relevance_alone_is_topscore() -> None:
    draw = np.random.default_rng(5)
    features, scores = draw.normal(size=(50, 8)), draw.uniform(0, 1, 50)
    times = np.arange(50.0)
    found = mdp3(scores, features, times, 8, relevance=1e9).indices.tolist()
    assert found == topscore(scores, features, times, 8).indices.tolist()


def test_a_long_video_is_quick() -> None:
    import time

    draw = np.random.default_rng(6)
    features, scores = draw.normal(size=(1024, 512)), draw.uniform(0, 1, 1024)
    begun = time.perf_counter()
    assert len(mdp3(scores, features, np.arange(1024.0), 64).indices) == 64
    assert time.perf_counter() - begun < 10
