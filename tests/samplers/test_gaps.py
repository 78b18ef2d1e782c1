"""Frames at least so far apart: beside every choice there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vidsampler.samplers.gaps import keep_apart


def test_without_a_gap_nothing_changes() -> None:
    wanted = np.array([1, 2])
    assert keep_apart(np.arange(5.0), wanted, np.zeros(5), 2, 0.0) is wanted


def test_wanted_frames_that_are_far_enough_apart_stay() -> None:
    wanted = np.array([0, 3, 6])
    found = keep_apart(np.arange(9.0), wanted, np.linspace(0, 1, 9), 3, 3.0)
    assert found.tolist() == [0, 3, 6]


def test_as_many_as_fit() -> None:
    # 1 alone would leave no room for another one.
    found = keep_apart(np.arange(3.0), np.array([1]), np.array([0, 1.0, 0]), 2, 1.5)
    assert found.tolist() == [0, 2]
    assert len(keep_apart(np.arange(10.0), np.arange(5), np.zeros(10), 5, 4.0)) == 3
    assert len(keep_apart(np.zeros(4), np.array([2, 3]), np.zeros(4), 2, 0.1)) == 1


@pytest.mark.parametrize("seed", range(25))
def test_it_is_the_best_of_all_choices(seed: int) -> None:
    draw = np.random.default_rng(seed)
    count, k = int(draw.integers(1, 10)), int(draw.integers(1, 5))
    times = np.sort(draw.uniform(0, 10, count))
    scores = draw.uniform(0, 1, count)
    wanted = np.sort(draw.permutation(count)[:k])
    gap = float(draw.uniform(0.5, 4))

    def value(choice: tuple[int, ...]) -> tuple[int, int, float]:
        shared = len(set(choice) & set(wanted.tolist()))
        return len(choice), shared, float(scores[list(choice)].sum())

    every = [
        choice
        for size in range(1, k + 1)
        for choice in combinations(range(count), size)
        if (np.diff(times[list(choice)]) >= gap).all()
    ]
    found = tuple(keep_apart(times, wanted, scores, k, gap).tolist())
    assert found in every
    best = max(map(value, every))
    assert value(found)[:2] == best[:2]
    assert value(found)[2] == pytest.approx(best[2])
