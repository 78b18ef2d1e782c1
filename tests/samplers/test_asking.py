"""What every sampler that chooses by a question must do, whatever it is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from vidsampler import registry
from vidsampler.errors import InputError, UsageError
from vidsampler.samplers.base import Choice
from vidsampler.samplers.scores import QuerySampler

FloatArray = npt.NDArray[np.float64]
COUNTS = (1, 2, 3, 7, 31, 32, 33, 64, 65, 97)
BUDGETS = (1, 2, 5, 8, 64, 100)


@pytest.fixture(params=registry.asking_samplers())
def sampler(request: pytest.FixtureRequest) -> QuerySampler:
    chosen: QuerySampler = registry.load("samplers", request.param)
    return chosen


def features_of(count: int, seed: int = 0, width: int = 16) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(count, width))


def scores_of(count: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(0.2, 0.05, count)


def check(choice: Choice, scores: FloatArray, k: int) -> None:
    indices = choice.indices
    assert indices.dtype == np.int64
    assert len(indices) == min(k, len(scores))
    assert (np.diff(indices) > 0).all()
    assert indices[0] >= 0
    assert indices[-1] < len(scores)
    assert choice.scores is not None
    assert choice.scores.tolist() == scores[indices].tolist()


def test_the_registered_ones() -> None:
    assert registry.asking_samplers() == ("aks", "bolt", "mdp3", "topscore")


def test_it_is_registered_under_its_name(sampler: QuerySampler) -> None:
    assert registry.load("samplers", sampler.name) is sampler
    assert sampler.choose.__name__ == sampler.name


@pytest.mark.parametrize("count", COUNTS)
def test_exactly_as_many_as_wanted(sampler: QuerySampler, count: int) -> None:
    scores = scores_of(count)
    for k in BUDGETS:
        check(sampler.choose(scores, features_of(count), np.arange(count) * 0.5, k), scores, k)


@pytest.mark.parametrize("value", [0.0, -1.0, 0.3, 1e308, -1e308, 5e-324])
def test_constant_scores(sampler: QuerySampler, value: float) -> None:
    scores = np.full(40, value)
    for k in (1, 5, 39, 40):
        check(sampler.choose(scores, features_of(40), np.arange(40.0), k), scores, k)


@pytest.mark.parametrize(
    "scores",
    [
        np.where(np.arange(40) == 7, 1e308, -1e308),
        np.where(np.arange(40) % 2, 5e-324, 0),
        10.0 ** np.linspace(-300, 300, 40),
        np.r_[np.zeros(39), 1.0],
        np.linspace(1, 1 + 1e-15, 40),
    ],
    ids=["peak", "denormal", "decades", "last", "nearly constant"],
)
def test_extreme_scores(sampler: QuerySampler, scores: FloatArray) -> None:
    with np.errstate(invalid="raise", divide="raise"):
        for k in (1, 3, 17, 39):
            check(sampler.choose(scores, features_of(40), np.arange(40.0), k), scores, k)


@pytest.mark.parametrize(
    "features",
    [
        np.ones((40, 8)),
        np.zeros((40, 8)),
        np.repeat(np.eye(4), 10, axis=0),
        features_of(40) * 1e300,
        features_of(40) * 1e-300,
        features_of(40).astype(np.float16),
        features_of(40, width=1),
    ],
    ids=["the same", "zero", "four pictures", "huge", "tiny", "half", "one number"],
)
def test_odd_features(sampler: QuerySampler, features: FloatArray) -> None:
    scores = scores_of(40)
    with np.errstate(invalid="raise", divide="raise"):
        for k in (1, 8, 39):
            check(sampler.choose(scores, features, np.arange(40.0), k), scores, k)


def test_the_best_frame_is_kept(sampler: QuerySampler) -> None:
    for seed in range(20):
        scores = scores_of(64, seed)
        # Well ahead of the rest, as what was asked for is.
        scores[seed * 3] = scores.max() + 0.5
        choice = sampler.choose(scores, features_of(64, seed), np.arange(64.0), 4)
        assert seed * 3 in choice.indices


def test_the_same_again_and_arguments_left_alone(sampler: QuerySampler) -> None:
    given = (scores_of(64), features_of(64), np.linspace(0, 30, 64))
    before = [each.copy() for each in given]
    one, two = (sampler.choose(*given, 8).indices.tolist() for _ in range(2))
    assert one == two
    assert all(np.array_equal(a, b) for a, b in zip(before, given, strict=True))


def test_scale_and_offset_of_scores_do_not_count(sampler: QuerySampler) -> None:
    features, times = features_of(64), np.arange(64.0)
    # Powers of two, so that nothing is rounded.
    scores = np.round(scores_of(64) * 1024) / 1024
    plain = sampler.choose(scores, features, times, 6).indices.tolist()
    assert sampler.choose(scores * 8 - 16, features, times, 6).indices.tolist() == plain


def test_wrong_arguments(sampler: QuerySampler) -> None:
    with pytest.raises(UsageError, match="at least 1, got 0"):
        sampler.choose(np.ones(3), np.ones((3, 2)), np.arange(3.0), 0)
    with pytest.raises(InputError, match="no frame"):
        sampler.choose(np.empty(0), np.empty((0, 2)), np.empty(0), 1)
    with pytest.raises(ValueError, match="not finite"):
        sampler.choose(np.array([1, np.nan]), np.ones((2, 2)), np.arange(2.0), 1)
