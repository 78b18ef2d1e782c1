"""`uniform`, `random` and `keyframe` against choices worked out by hand."""

import itertools

import numpy as np

from vidsampler.samplers.keyframe import keyframe
from vidsampler.samplers.random import random
from vidsampler.samplers.uniform import uniform


def seconds(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def test_uniform_takes_the_middles() -> None:
    times = np.arange(16.0)
    assert uniform(times, None, 4).indices.tolist() == [2, 6, 10, 14]
    assert uniform(times, None, 16).indices.tolist() == list(range(16))
    assert uniform(np.arange(10.0), None, 3).indices.tolist() == [1, 5, 8]


def test_random_depends_on_the_seed_alone() -> None:
    times = np.arange(64.0)
    first = random(times, None, 8, seed=1).indices
    assert first.tolist() == random(times * 3, None, 8, seed=1).indices.tolist()
    assert first.tolist() != random(times, None, 8, seed=2).indices.tolist()


def test_random_draws_every_candidate_equally_often() -> None:
    times = np.arange(10.0)
    drawn = np.concatenate([random(times, None, 3, seed=s).indices for s in range(2000)])
    counts = np.bincount(drawn, minlength=10)
    # 600 expected, standard deviation about 20.
    assert counts.min() > 520
    assert counts.max() < 680


def test_keyframe_spreads_over_time_not_over_numbers() -> None:
    # A crowd of keyframes in the first second, then one every ten seconds.
    times = seconds(0, 0.2, 0.4, 0.6, 0.8, 1, 10, 20, 30, 40)
    assert keyframe(times, None, 3).indices.tolist() == [6, 7, 8]
    assert keyframe(times, None, 1).indices.tolist() == [7]


def test_keyframe_is_the_best_of_all_choices() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        count = int(rng.integers(1, 9))
        times = np.sort(rng.uniform(0, 100, count))
        k = int(rng.integers(1, count + 1))
        span = times[-1] - times[0]
        targets = times[0] + span * (2 * np.arange(k) + 1) / (2 * k)

        def cost(
            chosen: tuple[int, ...], times: np.ndarray = times, targets: np.ndarray = targets
        ) -> float:
            return float(((times[list(chosen)] - targets) ** 2).sum())

        best = min(cost(chosen) for chosen in itertools.combinations(range(count), k))
        found = keyframe(times, None, k).indices
        assert (np.diff(found) > 0).all()
        assert abs(cost(tuple(found)) - best) < 1e-9
