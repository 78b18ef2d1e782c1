"""Wording, and the pool of facts that videos share."""

from __future__ import annotations

from collections import Counter

import pytest

from vidsampler.datasets.shapes.facts import FORMS, Fact, Thing, caption, fact_pool

CIRCLE, CROSS = Thing("red", "circle"), Thing("green", "cross")


def test_wording() -> None:
    facts = [
        Fact("above", CIRCLE, CROSS),
        Fact("count", CROSS, word="three"),
        Fact("count", CIRCLE, word="two"),
        Fact("size", CIRCLE, word="small"),
        Fact("inside", CROSS, CIRCLE),
        Fact("beside", CROSS, CIRCLE),
    ]
    assert caption(facts) == (
        "a red circle above a green cross, then three green crosses, then two red circles, "
        "then a small red circle, then a green cross inside a red circle, "
        "then a green cross beside a red circle"
    )


@pytest.mark.parametrize("seed", range(5))
def test_pool_has_all_forms_and_nothing_twice(seed: int) -> None:
    pool = fact_pool(64, seed)
    assert len(pool) == len({str(fact) for fact in pool}) == 64
    counts = Counter(fact.form for fact in pool)
    assert set(counts) == set(FORMS)
    assert max(counts.values()) - min(counts.values()) <= 2
    beside = [frozenset([fact.first, fact.second]) for fact in pool if fact.form == "beside"]
    assert len(beside) == len(set(beside)), "the same picture in two wordings"
    for fact in pool:
        assert fact.second is None or fact.first.colour != fact.second.colour
        assert fact.second is None or fact.first.shape != fact.second.shape


def test_siblings_differ_in_one_respect() -> None:
    pool = fact_pool(200, 0)
    for one, other in zip(pool[::2], pool[1::2], strict=True):
        assert one.form == other.form
        if one.form == "above":
            assert (one.first, one.second) == (other.second, other.first)
            continue
        words = zip(str(one).split(), str(other).split(), strict=True)
        assert sum(a != b for a, b in words) == 1


def test_pool_depends_on_the_seed_and_grows() -> None:
    assert fact_pool(64, 0) == fact_pool(64, 0)
    assert fact_pool(64, 0) != fact_pool(64, 1)
    assert fact_pool(64, 0)[:20] == fact_pool(20, 0)


def test_words_are_few() -> None:
    words = {word for fact in fact_pool(200, 0) for word in str(fact).split()}
    # 6 colours, 6 shapes and their plurals, 3 numbers, 2 sizes, 3 relations and "a".
    assert len(words) == 27
