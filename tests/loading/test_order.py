"""Which items a step shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vidsampler.errors import UsageError
from vidsampler.loading.order import Order, Purpose, random_bits, shuffled, uniforms


def test_the_shuffle_is_the_same_for_ever() -> None:
    # Written down once: a run must go on with another version of everything.
    assert shuffled(10, 0, 0).tolist() == FIRST
    assert shuffled(10, 0, 1).tolist() != FIRST
    assert shuffled(10, 1, 0).tolist() != FIRST


FIRST = [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def test_random_bits_are_those_of_philox() -> None:
    # Philox 4x64 with 10 rounds, as its authors publish for counter 0 and key 0; NumPy counts on
    # before it draws, so the counter before is the largest there is.
    largest = np.array([2**64 - 1] * 4, np.uint64)
    raw = np.random.Philox(key=np.zeros(2, np.uint64), counter=largest).random_raw(4)
    assert [hex(word) for word in raw.tolist()] == [
        "0x16554d9eca36314c",
        "0xdb20fe9d672d0fdc",
        "0xd7e772cee186176b",
        "0x7e68b68aec7ba23b",
    ]
    generator = np.random.Philox(
        key=np.array([5, 1], np.uint64), counter=np.array([0, 7, 2, 0], np.uint64)
    )
    expected = [word >> 11 for word in generator.random_raw(3).tolist()]
    assert random_bits(5, 2, 7, Purpose.CAPTION, 3).tolist() == expected
    assert uniforms(5, 2, 7, Purpose.CAPTION, 3) == [bits / 2**53 for bits in expected]


def test_draws_differ_by_all_that_they_depend_on() -> None:
    draws = {
        tuple(uniforms(seed, epoch, item, purpose, 2))
        for seed in range(3)
        for epoch in range(3)
        for item in range(3)
        for purpose in Purpose
    }
    assert len(draws) == 27 * len(Purpose)
    assert all(0 <= each < 1 for pair in draws for each in pair)


def test_a_shuffle_prefers_no_place() -> None:
    places = np.array([shuffled(6, 0, epoch).tolist().index(0) for epoch in range(3000)])
    counts = np.bincount(places, minlength=6)
    # 500 each is expected, with a standard deviation of 20.
    assert counts.min() > 420
    assert counts.max() < 580


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_each_epoch_shows_each_item_once(ranks: int) -> None:
    orders = [Order(23, 6, seed=3, drop_last=False, rank=r, ranks=ranks) for r in range(ranks)]
    whole = Order(23, 6, seed=3, drop_last=False)
    assert {order.steps for order in orders} == {4}
    assert {order.dropped for order in orders} == {0}
    for epoch in range(3):
        seen: list[int] = []
        for step in range(4):
            parts = [order.batch(epoch, step).tolist() for order in orders]
            together = [item for part in parts for item in part]
            assert together == whole.batch(epoch, step).tolist()
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
            seen += together
        assert sorted(seen) == list(range(23))
        assert seen == shuffled(23, 3, epoch).tolist()


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_what_is_dropped_is_said(ranks: int) -> None:
    orders = [Order(23, 6, ranks=ranks, rank=rank) for rank in range(ranks)]
    assert {order.steps for order in orders} == {3}
    assert {order.dropped for order in orders} == {5}
    for epoch in range(3):
        seen = []
        for order in orders:
            for step in range(3):
                own = order.batch(epoch, step).tolist()
                assert len(own) == 6 // ranks
                seen += own
        left = orders[0].left_out(epoch).tolist()
        assert sorted(seen + left) == list(range(23))
        assert len(left) == 5
    assert orders[0].left_out(0).tolist() != orders[0].left_out(1).tolist()


def test_without_shuffle() -> None:
    order = Order(5, 2, shuffle=False, drop_last=False)
    assert [order.batch(4, step).tolist() for step in range(3)] == [[0, 1], [2, 3], [4]]


def test_a_rank_may_have_nothing_of_the_last_batch() -> None:
    orders = [Order(7, 6, shuffle=False, drop_last=False, rank=r, ranks=3) for r in range(3)]
    assert [order.batch(0, 1).tolist() for order in orders] == [[], [], [6]]


def test_orders_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="8 cannot be split evenly over 3 ranks") as caught:
        Order(20, 8, ranks=3)
    assert caught.value.hint == "take a batch size of 6 or 9"
    with pytest.raises(UsageError, match="8 is more than all 7 items"):
        Order(7, 8)
    with pytest.raises(UsageError, match="no items"):
        Order(0, 8)
    wrong: list[dict[str, Any]] = [{"rank": 2, "ranks": 2}, {"batch_size": 0}, {"seed": -1}]
    for bad in wrong:
        with pytest.raises(ValueError, match="out of range"):
            Order(**({"items": 8, "batch_size": 4} | bad))
    with pytest.raises(IndexError, match="step 2 of an epoch of 2"):
        Order(8, 4).batch(0, 2)
