"""Scores on one scale, and the best of them."""

from __future__ import annotations

import numpy as np
import pytest

from vidsampler.samplers.scores import best, check_scores, unit_scale


@pytest.mark.parametrize(
    ("scores", "unit"),
    [
        ([2.0, 4.0, 3.0], [0, 1, 0.5]),
        ([-1.0, -3.0], [1, 0]),
        ([0.25, 0.25], [0, 0]),
        ([0.0], [0]),
        ([1e308, -1e308, 0.0], [1, 0, 0.5]),
        ([5e-324, 0.0], [1, 0]),
    ],
)
def test_unit_scale(scores: list[float], unit: list[float]) -> None:
    assert unit_scale(np.array(scores)).tolist() == unit


def test_unit_scale_of_float32_is_float64() -> None:
    assert unit_scale(np.array([0.1, 0.2], np.float32)).dtype == np.float64


def test_best_is_ascending_and_of_equal_ones_the_earlier() -> None:
    scores = np.array([1.0, 3.0, 2.0, 3.0, 3.0])
    assert best(scores, 1).tolist() == [1]
    assert best(scores, 2).tolist() == [1, 3]
    assert best(scores, 4).tolist() == [1, 2, 3, 4]


def test_what_does_not_fit_is_refused() -> None:
    times, features = np.arange(3.0), np.ones((3, 2))
    assert check_scores(np.ones(3), features, times, 9) == 3
    with pytest.raises(ValueError, match="3 candidates need"):
        check_scores(np.ones(2), features, times, 1)
    with pytest.raises(ValueError, match="3 candidates need"):
        check_scores(np.ones(3), features[:2], times, 1)
    with pytest.raises(ValueError, match="2 of the scores and features are not finite"):
        check_scores(np.array([0, np.nan, np.inf]), features, times, 1)
