"""The nearest vectors are the nearest, to the last bit and tie."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from vidsampler.search.scan import _GROUP, BLOCK, NotFiniteError, gather, nearest

Array = npt.NDArray[Any]


def unit(vectors: Array) -> Array:
    scaled: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def slow(vectors_VD: Array, queries_QD: Array, k: int) -> tuple[Array, Array]:
    """All scores in double precision, sorted."""
    scores, rows = [], []
    for query in queries_QD.astype(np.float32).astype(np.float64):
        all_scores = [float(vector.astype(np.float64) @ query) for vector in vectors_VD]
        order = sorted(range(len(vectors_VD)), key=lambda row: (-all_scores[row], row))[:k]
        rows.append(order)
        scores.append([all_scores[row] for row in order])
    return np.array(scores), np.array(rows)


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("sizes", [[500], [1, 0, 7, 300, 192], [3]])
def test_as_the_slow_way(sizes: list[int], queries: int) -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(sum(sizes), 40))).astype(np.float16)
    asked = unit(rng.normal(size=(queries, 40)))
    blocks = np.split(vectors, np.cumsum(sizes)[:-1])
    scores, rows = nearest(blocks, asked, 10)
    wanted_scores, wanted_rows = slow(vectors, asked, 10)
    assert rows.tolist() == wanted_rows.tolist()
    np.testing.assert_allclose(scores, wanted_scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("queries", [1, 2])
def test_scores_that_half_precision_cannot_tell_apart(queries: int) -> None:
    """Vectors that differ in one channel by one step of half precision, in a random order."""
    rng = np.random.default_rng(1)
    base = unit(rng.normal(size=(1, 64))).astype(np.float16)
    vectors = np.repeat(base, 400, axis=0)
    steps = rng.integers(0, 200, 400)
    place = int(np.abs(base[0]).argmax())
    step = np.spacing(base[0, place])
    vectors[:, place] = base[0, place] + np.float16(step) * steps.astype(np.float16)
    asked = np.repeat(base.astype(np.float64), queries, axis=0)
    _, rows = nearest([vectors[:150], vectors[150:]], asked, 25)
    assert rows.tolist() == slow(vectors, asked, 25)[1].tolist()


def test_equal_scores_stand_in_the_order_of_the_index() -> None:
    one = unit(np.ones((1, 8))).astype(np.float16)
    vectors = np.concatenate([-one, np.repeat(one, 6, axis=0)])
    _, rows = nearest([vectors[:3], vectors[3:]], one, 4)
    assert rows.tolist() == [[1, 2, 3, 4]]


def test_several_conversions_of_one_block() -> None:
    rng = np.random.default_rng(2)
    vectors = unit(rng.normal(size=(2 * BLOCK + 5, 4))).astype(np.float16)
    asked = vectors[[0, BLOCK, 2 * BLOCK + 4]].astype(np.float32)
    scores, rows = nearest([vectors], asked, 1)
    exact = vectors.astype(np.float64) @ asked.T.astype(np.float64)
    assert rows[:, 0].tolist() == exact.argmax(0).tolist()
    np.testing.assert_allclose(scores[:, 0], exact.max(0), rtol=0, atol=1e-12)


def test_many_queries_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(50, 8))).astype(np.float16)
    asked = unit(rng.normal(size=(9, 8)))
    whole = nearest([vectors], asked, 5)
    monkeypatch.setattr("vidsampler.search.scan._MOST_SCORES", 100)
    parts = nearest([vectors], asked, 5)
    assert parts[1].tolist() == whole[1].tolist()
    np.testing.assert_allclose(parts[0], whole[0], rtol=0, atol=1e-12)


def test_gather() -> None:
    blocks = [np.arange(6, dtype=np.float16).reshape(3, 2), np.full((2, 2), 9, np.float16)]
    assert gather(blocks, np.array([0, 2, 4])).tolist() == [[0, 1], [4, 5], [9, 9]]


@pytest.mark.parametrize("queries", [1, 2])
def test_scores_that_are_no_numbers(queries: int) -> None:
    vectors = np.ones((3, 4), np.float16)
    vectors[1, 2] = np.nan
    with pytest.raises(NotFiniteError):
        nearest([vectors], np.ones((queries, 4)), 1)


@pytest.mark.parametrize("k", [1, 7, 40])
def test_groups_do_not_hide_what_is_close(k: int) -> None:
    """The best stand together in one group, and the last ones are in none."""
    rng = np.random.default_rng(4)
    vectors = unit(rng.normal(size=(_GROUP * 41 + 9, 12))).astype(np.float16)
    asked = unit(rng.normal(size=(1, 12)))
    close = unit(asked + 0.01 * rng.normal(size=(60, 12))).astype(np.float16)
    vectors[100:150], vectors[-10:] = close[:50], close[50:]
    _, rows = nearest([vectors[:9000], vectors[9000:]], asked, k)
    assert rows.tolist() == slow(vectors, asked, k)[1].tolist()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    rng = np.random.default_rng(6)
    vectors = unit(rng.normal(size=(700, 16))).astype(np.float16)
    asked = unit(rng.normal(size=(1, 16)))
    monkeypatch.setattr("vidsampler.search.scan._WORTH_A_THREAD", 100)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        _, rows = nearest(np.array_split(vectors, 30), asked, 9)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert rows.tolist() == slow(vectors, asked, 9)[1].tolist()


def test_misuse() -> None:
    vectors = np.ones((3, 4), np.float16)
    with pytest.raises(ValueError, match="k must be at least 1"):
        nearest([vectors], np.ones((1, 4)), 0)
    with pytest.raises(ValueError, match="width 5"):
        nearest([vectors], np.ones((1, 5)), 1)
    assert nearest([vectors], np.ones((1, 4)), 7)[1].shape == (1, 3)
    assert nearest([vectors[:0]], np.ones((1, 4)), 7)[1].shape == (1, 0)
