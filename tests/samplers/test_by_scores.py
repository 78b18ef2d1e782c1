"""`topscore`, `aks` and `bolt`: values worked by hand, and slow references."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from vidsampler.samplers.aks import aks
from vidsampler.samplers.base import Choice
from vidsampler.samplers.bolt import bolt
from vidsampler.samplers.topscore import topscore
from vidsampler.video.positions import uniform_positions

FloatArray = npt.NDArray[np.float64]


def kept(choice: Choice) -> list[int]:
    indices: list[int] = choice.indices.tolist()
    return indices


def rest(count: int) -> tuple[FloatArray, FloatArray]:
    """Features and times, which none of the three looks at."""
    return np.ones((count, 2)), np.arange(float(count))


def test_topscore() -> None:
    scores = np.array([0.1, 0.9, 0.3, 0.9, 0.2])
    assert kept(topscore(scores, *rest(5), 2)) == [1, 3]
    assert kept(topscore(scores, *rest(5), 1)) == [1]
    assert kept(topscore(scores, *rest(5), 3)) == [1, 2, 3]


# aks


def test_aks_takes_the_best_where_they_stand_out() -> None:
    scores = np.zeros(16)
    scores[8:12] = 1
    # 1 - 1/4 is more than 1/2.
    assert kept(aks(scores, *rest(16), 4)) == [8, 9, 10, 11]


def test_aks_halves_the_video_where_nothing_stands_out() -> None:
    scores = np.array([1, 0.9, 0.8, 0.9, 0.8, 1, 0.9, 0])
    # 1 - 0.7875 is less than 1/2: one frame of each half.
    assert kept(aks(scores, *rest(8), 2)) == [0, 5]
    # The halves' best two: 0.95 - 0.9 and 0.95 - 0.675; then one of each quarter.
    assert kept(aks(scores, *rest(8), 4)) == [0, 3, 5, 6]
    assert kept(aks(scores, *rest(8), 2, clearly=0.2)) == [0, 5]
    assert kept(aks(scores, *rest(8), 4, deepest=0)) == [0, 1, 3, 5]


def test_aks_gives_the_odd_frame_to_the_half_with_the_best_one() -> None:
    scores = np.array([0.5, 0.4, 0.5, 0.4, 1.0, 0.4, 0.5, 0.0])
    assert kept(aks(scores, *rest(8), 1, clearly=2)) == [4]
    assert kept(aks(scores, *rest(8), 3, clearly=2)) == [0, 4, 6]


def slow_aks(scores: list[Fraction], k: int, clearly: Fraction, depth: int) -> list[int]:
    """The rule, word by word, with places relative to the part."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    if k == 0:
        return []
    mean = sum(scores) / len(scores)
    if sum(scores[i] for i in order) / k - mean >= clearly or depth == 0 or k == len(scores):
        return sorted(order)
    middle = len(scores) // 2
    left, right = scores[:middle], scores[middle:]
    share = k // 2 + (k % 2 if max(left) >= max(right) else 0)
    while k - share > len(right):
        share += 1
    while share > len(left):
        share -= 1
    return slow_aks(left, share, clearly, depth - 1) + [
        middle + i for i in slow_aks(right, k - share, clearly, depth - 1)
    ]


@pytest.mark.parametrize("seed", range(30))
def test_aks_is_the_slow_reference(seed: int) -> None:
    draw = np.random.default_rng(seed)
    count = int(draw.integers(2, 70))
    # Sixteenths from 0 to 1, which are exact in both.
    scores = draw.integers(0, 17, count)
    scores[[0, -1]] = 0, 16
    exact = [Fraction(int(each), 16) for each in scores]
    for k in (1, 3, 4, 8, count - 1):
        if k >= 1:
            found = kept(aks(scores / 16, *rest(count), k))
            assert found == slow_aks(exact, min(k, count), Fraction(1, 2), 5)


# bolt


def test_bolt_draws_evenly_along_the_running_sum() -> None:
    assert kept(bolt(np.array([0.0, 1, 1, 0]), *rest(4), 2, power=1)) == [1, 2]
    # Weights 0, 1/8, 1: the sum is 9/8; draws at 1/4 and 3/4 of it both meet the last frame, and
    # what is left of the budget goes to the only other frame with a weight.
    assert kept(bolt(np.array([0, 0.5, 1]), *rest(3), 2)) == [1, 2]
    # All weight on one frame: the others are taken as if they were equal.
    assert kept(bolt(np.array([0.0, 0, 1, 0]), *rest(4), 2)) == [1, 2]


def test_bolt_of_equal_scores_is_uniform() -> None:
    for count, k in ((64, 8), (10, 3), (7, 7)):
        found = kept(bolt(np.full(count, 0.3), *rest(count), k))
        assert found == uniform_positions(count, k).tolist()


def slow_bolt(scores: list[Fraction], k: int, power: int) -> list[int]:
    """Frames one by one: which piece of the sum does a draw lie in?"""
    left, taken = list(range(len(scores))), set[int]()
    while len(taken) < k:
        missing = k - len(taken)
        weights = [scores[i] ** power for i in left]
        if not sum(weights):
            weights = [Fraction(1)] * len(left)
        met = set()
        for j in range(missing):
            draw = (j + Fraction(1, 2)) / missing * sum(weights)
            before = Fraction(0)
            for i, weight in zip(left, weights, strict=True):
                if before <= draw < before + weight:
                    met.add(i)
                before += weight
        taken |= met
        left = [i for i in left if i not in met]
    return sorted(taken)


@pytest.mark.parametrize("seed", range(20))
def test_bolt_is_the_slow_reference(seed: int) -> None:
    draw = np.random.default_rng(seed)
    count = int(draw.integers(2, 60))
    # Primes keep draws away from the borders between frames, where rounding would decide.
    scores = draw.integers(0, 14, count)
    scores[[0, -1]] = 0, 13
    exact = [Fraction(int(each), 13) for each in scores]
    for k in (1, 4, 7):
        k = min(k, count)
        total = sum(each**3 for each in exact)
        edges = {sum(each**3 for each in exact[:i]) / total for i in range(count)}
        if not edges & {Fraction(2 * j + 1, 2 * k) for j in range(k)}:
            assert kept(bolt(scores / 13, *rest(count), k)) == slow_bolt(exact, k, 3)
