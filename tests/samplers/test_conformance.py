"""What every training-free sampler promises, on ordinary and on extreme candidates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vidsampler import registry
from vidsampler.errors import InputError, UsageError
from vidsampler.samplers.base import Features, FrameSampler
from vidsampler.samplers.features import light_features

NAMES = registry.names("samplers")


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 24, 32, 3), dtype=np.uint8)


def constant(value: int) -> Callable[[int], np.ndarray]:
    return lambda count: np.full((count, 24, 32, 3), value, np.uint8)


def two_pictures(count: int) -> np.ndarray:
    pictures = noise(2)
    return pictures[np.arange(count) % 2]


def drifting(count: int) -> np.ndarray:
    ramp = np.linspace(0, 255, 32)[None, None, :, None] * np.ones((1, 24, 1, 3))
    return np.clip(ramp + np.arange(count)[:, None, None, None], 0, 255).astype(np.uint8)


PICTURES = {
    "noise": noise,
    "black": constant(0),
    "white": constant(255),
    "two pictures": two_pictures,
    "drifting": drifting,
}


def candidates(kind: str, count: int) -> Features:
    return light_features(PICTURES[kind](count))


@pytest.fixture(params=NAMES)
def sampler(request: pytest.FixtureRequest) -> FrameSampler:
    loaded: FrameSampler = registry.load("samplers", request.param)
    assert loaded.name == request.param
    return loaded


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("count", [1, 2, 3, 17, 64])
def test_exactly_min_k_n_sorted_unique_and_in_range(
    sampler: FrameSampler, kind: str, count: int
) -> None:
    features = candidates(kind, count)
    times = np.arange(count) / 4
    for k in (1, 2, 3, 8, count, count + 5):
        choice = sampler.choose(times, features, k, seed=3)
        indices = choice.indices
        assert indices.dtype == np.int64
        assert len(indices) == min(k, count)
        assert (np.diff(indices) > 0).all()
        assert indices.min() >= 0
        assert indices.max() < count
        if choice.scores is not None:
            assert choice.scores.shape == indices.shape
            assert np.isfinite(choice.scores).all()


@pytest.mark.parametrize("kind", PICTURES)
def test_deterministic_and_without_side_effects(sampler: FrameSampler, kind: str) -> None:
    features = candidates(kind, 40)
    times = np.arange(40) / 25
    copies = {name: value.copy() for name, value in vars(features).items()}
    first = sampler.choose(times, features, 7, seed=5)
    again = sampler.choose(times.copy(), features, 7, seed=5)
    np.testing.assert_array_equal(first.indices, again.indices)
    if first.scores is not None and again.scores is not None:
        np.testing.assert_array_equal(first.scores, again.scores)
    for name, value in copies.items():
        np.testing.assert_array_equal(getattr(features, name), value)


@pytest.mark.parametrize(
    "times",
    [
        np.zeros(12),
        np.arange(12) * 1e9,
        np.arange(12) * 1e-9,
        np.concatenate([np.arange(11), [1e12]]),
        np.arange(12) - 5.0,
    ],
    ids=["all equal", "years", "nanoseconds", "one far away", "below zero"],
)
def test_any_times(sampler: FrameSampler, times: np.ndarray) -> None:
    for kind in PICTURES:
        indices = sampler.choose(times.astype(np.float64), candidates(kind, 12), 5).indices
        assert len(set(indices.tolist())) == 5


def test_extreme_features(sampler: FrameSampler) -> None:
    """Values that no picture has: all zero, and very large."""
    times = np.arange(20.0)
    plain = candidates("noise", 20)
    for scale in (0.0, 1e6):
        features = Features(**{name: value * scale for name, value in vars(plain).items()})
        with np.errstate(invalid="raise", divide="raise"):
            choice = sampler.choose(times, features, 6)
        assert len(choice.indices) == 6
        assert choice.scores is None or np.isfinite(choice.scores).all()


def test_nothing_asked_and_nothing_there(sampler: FrameSampler) -> None:
    features = candidates("noise", 3)
    with pytest.raises(UsageError, match="at least 1"):
        sampler.choose(np.arange(3.0), features, 0)
    with pytest.raises(InputError, match="no frame"):
        sampler.choose(np.zeros(0), None, 3)


def test_missing_features_are_a_bug_of_the_caller(sampler: FrameSampler) -> None:
    if not sampler.needs_features:
        assert len(sampler.choose(np.arange(5.0), None, 2).indices) == 2
        return
    with pytest.raises(ValueError, match="needs features"):
        sampler.choose(np.arange(5.0), None, 2)
    with pytest.raises(ValueError, match="needs features"):
        sampler.choose(np.arange(5.0), candidates("noise", 4), 2)
