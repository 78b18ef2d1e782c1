"""What every sampler without training must do, whatever it is given."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.samplers.synthetic import black, features_of, scene, shots
from vidsampler import registry
from vidsampler.errors import InputError, UsageError
from vidsampler.samplers.base import Choice, Features, FrameSampler
from vidsampler.samplers.features import light_features

SAMPLERS: list[FrameSampler] = [
    registry.load("samplers", name) for name in registry.training_free_samplers()
]
COUNTS = (1, 2, 3, 7, 8, 63, 64, 65)


@pytest.fixture(scope="module")
def varied() -> Features:
    """65 candidates: shots of uneven lengths, black, noise, one colour, repetitions."""
    noise = np.random.default_rng(0).integers(0, 256, black().shape, dtype=np.uint8)
    white = np.full_like(black(), 255)
    pictures = shots(1, 20, 2, 3, 9) + [black()] * 4 + [noise, white] + [scene(7)] * 8 + shots(16)
    assert len(pictures) == 65
    return features_of(pictures)


def first(features: Features, count: int) -> Features:
    rows = {f.name: getattr(features, f.name)[:count] for f in dataclasses.fields(features)}
    return Features(**rows)


def check(choice: Choice, count: int, k: int) -> None:
    indices, scores = choice
    assert indices.dtype == np.int64
    assert len(indices) == min(k, count)
    assert (np.diff(indices) > 0).all()
    assert indices[0] >= 0
    assert indices[-1] < count
    if scores is not None:
        assert scores.shape == indices.shape
        assert np.isfinite(scores).all()


@pytest.fixture(params=SAMPLERS, ids=lambda sampler: str(sampler.name))
def sampler(request: pytest.FixtureRequest) -> FrameSampler:
    chosen: FrameSampler = request.param
    return chosen


def test_it_is_registered_under_its_name(sampler: FrameSampler) -> None:
    assert registry.load("samplers", sampler.name) is sampler
    assert sampler.choose.__name__ == sampler.name


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("k", [1, 2, 8, 64, 100])
def test_exactly_as_many_as_wanted(
    sampler: FrameSampler, varied: Features, count: int, k: int
) -> None:
    choice = sampler.choose(np.arange(count) * 0.5, first(varied, count), k)
    check(choice, count, k)


def test_all_of_them_when_k_is_n(sampler: FrameSampler, varied: Features) -> None:
    choice = sampler.choose(np.arange(65.0), varied, 65)
    assert choice.indices.tolist() == list(range(65))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_one_colour_all_over(sampler: FrameSampler, level: int) -> None:
    features = light_features(np.full((32, 96, 160, 3), level, np.uint8))
    for k in (1, 5, 31, 32):
        check(sampler.choose(np.arange(32.0), features, k), 32, k)


def test_pure_noise(sampler: FrameSampler) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    check(sampler.choose(np.arange(20.0), light_features(frames), 6), 20, 6)


@pytest.mark.parametrize(
    "times",
    [
        np.zeros(10),  # a broken file in which all frames share one time
        np.arange(10) * 1e-6,
        np.arange(10) * 1e9 + 1e12,
        np.cumsum(10.0 ** np.arange(10)),
        -np.arange(10.0)[::-1],
    ],
    ids=["equal", "tiny", "huge", "uneven", "negative"],
)
def test_odd_times(sampler: FrameSampler, varied: Features, times: np.ndarray) -> None:
    for k in (1, 3, 10):
        check(sampler.choose(times, first(varied, 10), k), 10, k)


def test_the_same_again(sampler: FrameSampler, varied: Features) -> None:
    times = np.linspace(0, 30, 65)
    one, two = (sampler.choose(times, varied, 8, seed=3) for _ in range(2))
    assert one.indices.tolist() == two.indices.tolist()
    if one.scores is not None and two.scores is not None:
        assert one.scores.tolist() == two.scores.tolist()


def test_arguments_are_left_alone(sampler: FrameSampler, varied: Features) -> None:
    times = np.linspace(0, 30, 65)
    before = [times.copy(), *(getattr(varied, f.name).copy() for f in dataclasses.fields(varied))]
    sampler.choose(times, varied, 8)
    after = [times, *(getattr(varied, f.name) for f in dataclasses.fields(varied))]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("k", [0, -1])
def test_less_than_one_frame_is_an_error(sampler: FrameSampler, varied: Features, k: int) -> None:
    with pytest.raises(UsageError, match=f"at least 1, got {k}"):
        sampler.choose(np.arange(65.0), varied, k)


def test_no_candidates_is_an_error(sampler: FrameSampler, varied: Features) -> None:
    with pytest.raises(InputError, match="no frame"):
        sampler.choose(np.empty(0), first(varied, 0), 4)


def test_features_must_fit(sampler: FrameSampler, varied: Features) -> None:
    if not sampler.needs_features:
        check(sampler.choose(np.arange(65.0), None, 4), 65, 4)
        return
    with pytest.raises(ValueError, match="needs features of its 64 candidates"):
        sampler.choose(np.arange(64.0), varied, 4)
    with pytest.raises(ValueError, match="got none"):
        sampler.choose(np.arange(64.0), None, 4)
