"""Places of the kinds, sets of facts, and independence of the sizes of splits."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from vidsampler.datasets.shapes import KindShares, ShapesSettings
from vidsampler.datasets.shapes.plan import VideoPlan, plan_videos

# 0.22 * 16 = 3.52: the videos differ in their numbers of facts.
SETTINGS = ShapesSettings(
    train=3000,
    val=100,
    test=400,
    informative=0.22,
    facts=64,
    kinds=KindShares(unrelated=0.4, frozen=0.2, black=0.1, noisy=0.15, blurred=0.15),
)


@pytest.fixture(scope="module")
def plans() -> list[VideoPlan]:
    return plan_videos(SETTINGS)["train"]


def test_place_says_nothing(plans: list[VideoPlan]) -> None:
    """Each slot is informative as often as any other, within 4 standard deviations."""
    hits = np.zeros(16)
    for plan in plans:
        hits += [slot.kind == "informative" for slot in plan.slots]
    expected = 3000 * 0.22
    assert np.abs(hits - expected).max() < 4 * np.sqrt(expected * (1 - 0.22))


def test_being_repeated_says_nothing(plans: list[VideoPlan]) -> None:
    followed: Counter[tuple[str, bool]] = Counter()
    for plan in plans:
        for slot, after in zip(plan.slots, plan.slots[1:], strict=False):
            followed[slot.kind, after.kind == "frozen"] += 1
    rates = {
        kind: followed[kind, True] / (followed[kind, True] + followed[kind, False])
        for kind in ("informative", "unrelated", "black", "noisy", "blurred")
    }
    assert rates["black"] == rates["noisy"] == rates["blurred"] == 0
    assert rates["informative"] > 0.15
    assert rates["informative"] == pytest.approx(rates["unrelated"], abs=0.04)


def test_shares_of_kinds(plans: list[VideoPlan]) -> None:
    kinds = Counter(slot.kind for plan in plans for slot in plan.slots)
    share = {kind: count / kinds.total() for kind, count in kinds.items()}
    assert share["informative"] == pytest.approx(0.22, abs=0.003)
    assert share["black"] == pytest.approx(0.78 * 0.1, abs=0.003)
    assert share["noisy"] == pytest.approx(0.78 * 0.15, abs=0.003)
    assert share["blurred"] == pytest.approx(0.78 * 0.15, abs=0.003)
    # A frozen slot needs one to repeat; where there is none, it is an unrelated one.
    assert 0.16 * 0.78 < share["frozen"] <= 0.2 * 0.78 + 0.003
    assert {len(plan.facts) for plan in plans} == {3, 4}


def test_slots_say_what_they_show(plans: list[VideoPlan]) -> None:
    repeated = 0
    for plan in plans:
        assert [slot.time for slot in plan.slots] == list(range(16))
        facts = [slot.fact for slot in plan.slots if slot.kind == "informative"]
        assert facts == list(range(len(plan.facts)))
        for place, slot in enumerate(plan.slots):
            if slot.kind == "frozen":
                assert slot.repeats is not None
                assert slot.repeats < place
                assert slot.fact == plan.slots[slot.repeats].fact
                between = plan.slots[slot.repeats + 1 : place]
                assert all(each.kind == "frozen" for each in between)
                assert plan.slots[slot.repeats].kind in ("informative", "unrelated")
                repeated += slot.fact is not None
            else:
                assert slot.repeats is None
                assert (slot.fact is None) == (slot.kind != "informative")
    assert repeated > 1500


def test_no_two_videos_show_the_same_facts() -> None:
    plans = [plan for of_split in plan_videos(SETTINGS).values() for plan in of_split]
    sets = {frozenset(plan.facts) for plan in plans}
    assert len(sets) == len(plans) == 3500
    assert not any(facts - {fact} in sets for facts in sets for fact in facts)
    assert len({plan.video for plan in plans}) == 3500


def test_facts_are_shared_evenly() -> None:
    plans = plan_videos(ShapesSettings())["test"]
    videos = Counter(fact for plan in plans for fact in plan.facts)
    # 500 videos, 4 of 32 facts each: 62.5 videos a fact.
    assert len(videos) == 32
    assert min(videos.values()) > 35
    assert max(videos.values()) < 95


def test_test_videos_do_not_depend_on_the_other_splits() -> None:
    plans = plan_videos(SETTINGS)
    assert plan_videos(replace(SETTINGS, train=10, val=0))["test"] == plans["test"]
    assert plan_videos(replace(SETTINGS, train=10, val=0, test=50))["test"] == plans["test"][:50]
    assert plan_videos(replace(SETTINGS, train=10))["val"] == plans["val"]
    assert plan_videos(replace(SETTINGS, seed=1))["test"] != plans["test"]


def test_kinds_can_be_left_out() -> None:
    small = replace(SETTINGS, train=0, val=0, test=50)
    only = KindShares(unrelated=0, frozen=0, black=1, noisy=0, blurred=0)
    for plan in plan_videos(replace(small, kinds=only))["test"]:
        assert {slot.kind for slot in plan.slots} == {"informative", "black"}
    every = plan_videos(replace(small, informative=1.0, slots=8))["test"]
    assert {slot.kind for plan in every for slot in plan.slots} == {"informative"}
