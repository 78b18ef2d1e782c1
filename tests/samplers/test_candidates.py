"""Training-free samplers on the frames of a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.samplers.learning import chosen
from vidsampler import registry
from vidsampler.samplers.candidates import choose_candidates, seed_of

VALID = torch.arange(8) < torch.tensor([8, 5, 1])[:, None]


def frames(size: int = 200) -> torch.Tensor:
    """Three videos of two pictures each: four frames of the one, then four of the other."""
    generator = torch.Generator().manual_seed(1)
    shape = (3, 2, 3, 10, 10)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    large = pictures.repeat_interleave(size // 10, -1).repeat_interleave(size // 10, -2)
    return large.repeat_interleave(4, 1)


def test_uniform_takes_the_middles_of_the_real_candidates() -> None:
    kept = choose_candidates(
        registry.load("samplers", "uniform"), frames(), VALID, None, 3, [0, 0, 0]
    )
    # floor((2i + 1) n / 6) of n = 8, 5 and 1.
    assert chosen(kept) == [[1, 4, 6], [0, 2, 4], [0]]


@pytest.mark.parametrize("name", ["coverage", "scene"])
def test_those_that_look_find_both_pictures(name: str) -> None:
    sampler = registry.load("samplers", name)
    rows = chosen(choose_candidates(sampler, frames(), VALID, None, 2, [0, 0, 0]))
    assert [row[0] < 4 <= row[1] for row in rows[:2]] == [True, True]
    assert rows[2] == [0]
    # A picture that is small already is looked at as it is.
    small = chosen(choose_candidates(sampler, frames(60), VALID, None, 2, [0, 0, 0]))
    assert [row[0] < 4 <= row[1] for row in small[:2]] == [True, True]


def test_times_count() -> None:
    seen: list[list[float]] = []
    sampler = registry.load("samplers", "uniform")

    def choose(times: Any, features: Any, k: int, *, seed: int = 0) -> Any:
        seen.append(times.tolist())
        return sampler.choose(times, features, k, seed=seed)

    times = torch.arange(24, dtype=torch.float64).view(3, 8) / 2
    spy = replace(sampler, choose=choose)
    choose_candidates(spy, frames(), VALID, times, 2, [0, 0, 0])
    assert seen == [times[0].tolist(), times[1, :5].tolist(), [8.0]]
    with pytest.raises(ValueError, match=r"times must be \(3, 8\) for these frames, \(3, 2\)"):
        choose_candidates(spy, frames(), VALID, times[:, :2], 2, [0, 0, 0])


def test_seeds_depend_on_all_three() -> None:
    assert seed_of(0, "a") == seed_of(0, "a")
    others = [seed_of(1, "a"), seed_of(0, "b"), seed_of(0, "a", 0), seed_of(0, "a", 1)]
    assert len({seed_of(0, "a"), *others}) == 5
    assert 0 <= seed_of(0, "\udcff") < 2**64
