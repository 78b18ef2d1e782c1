"""Reranked scores beside the formulas in plain loops, in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.evaluation.slow import slow_dsl, slow_inverted_softmax, slow_qb_norm, slow_ranks
from vidsampler.evaluation.ranks import DIRECTIONS, V2T, V2T_CONVENTIONS, Direction, rank_matrix
from vidsampler.evaluation.rerank import Method, Rerank, rank_reranked, rescored
from vidsampler.evaluation.rows import MatrixError, to_numpy

GENERATOR = np.random.default_rng(4)
COSINES = GENERATOR.uniform(-0.2, 0.4, (30, 12)).astype(np.float32)
OWNERS = GENERATOR.permutation(np.arange(30) % 12)
BANK = GENERATOR.uniform(-0.2, 0.4, (8, 12)).astype(np.float32)
VIDEO_BANK = GENERATOR.uniform(-0.2, 0.4, (30, 11)).astype(np.float32)


def read(matrix: Any, rerank: Rerank, direction: Direction, block: int | None = None) -> Any:
    rows = rescored(matrix, rerank, direction, block=block)
    return np.concatenate([to_numpy(each) for each in rows.blocks(block)])


def reference(method: str, direction: str, scores: Any) -> Any:
    """The formula; for v2t on the transposed matrix, whose rows are then the queries."""
    if direction == "v2t":
        if method == "qb-norm":
            return slow_qb_norm(scores.T, VIDEO_BANK.T).T
        return reference(method, "t2v", scores.T).T
    slow = {"dsl": slow_dsl, "inverted-softmax": slow_inverted_softmax}
    return slow_qb_norm(scores, BANK) if method == "qb-norm" else slow[method](scores)


def rerank_of(method: Method) -> Rerank:
    return Rerank(method, BANK, VIDEO_BANK) if method == "qb-norm" else Rerank(method)


METHODS: tuple[Method, ...] = ("dsl", "inverted-softmax", "qb-norm")


@pytest.mark.parametrize("v2t", V2T_CONVENTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_ranks_are_those_of_the_formula(method: Method, v2t: V2T) -> None:
    ranks = rank_reranked(COSINES, OWNERS, rerank_of(method), v2t=v2t)
    owners = OWNERS.tolist()
    t2v, _ = slow_ranks(reference(method, "t2v", COSINES), owners, v2t)
    _, videos = slow_ranks(reference(method, "v2t", COSINES), owners, v2t)
    assert ranks.t2v.tolist() == t2v
    assert ranks.v2t.tolist() == videos
    plain = rank_matrix(COSINES, OWNERS, v2t=v2t)
    assert t2v != plain.t2v.tolist()
    assert videos != plain.v2t.tolist()


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize("method", METHODS)
def test_all_candidates_of_a_query_are_in_the_order_of_the_formula(
    method: Method, direction: Direction
) -> None:
    found = read(COSINES, rerank_of(method), direction)
    true = reference(method, direction, COSINES)
    axis = 1 if direction == "t2v" else 0
    assert (found.argsort(axis) == true.argsort(axis)).all()


def test_inverted_softmax_is_the_logarithm_of_its_formula() -> None:
    found = read(COSINES, Rerank("inverted-softmax"), "t2v")
    assert np.exp(found) == pytest.approx(slow_inverted_softmax(COSINES), rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_blocks_change_no_bit(method: Method) -> None:
    for direction in DIRECTIONS:
        whole = read(COSINES, rerank_of(method), direction, 30)
        for block in (1, 2, 7, 29):
            assert (read(COSINES, rerank_of(method), direction, block) == whole).all()


@pytest.mark.parametrize("shape", [(70, 1), (300, 3), (64, 1000)])
def test_blocks_change_no_bit_of_long_sums(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(8).normal(size=shape)
    for direction in DIRECTIONS:
        whole = read(scores, Rerank("dsl"), direction)
        for block in (1, 3, 64):
            assert (read(scores, Rerank("dsl"), direction, block) == whole).all()


def test_dsl_by_hand() -> None:
    """Two texts like the first video best; the softmax over texts leaves it to the better one."""
    scores = np.array([[0.50, 0.30], [0.48, 0.47]])
    # Shares of the texts: video 0: e^50 to e^48, video 1: e^30 to e^47.
    assert read(scores, Rerank("dsl"), "t2v")[1].argmax() == 1
    assert rank_matrix(scores).t2v.tolist() == [1, 2]
    ranks = rank_reranked(scores, None, Rerank("dsl"))
    assert ranks.t2v.tolist() == [1, 1]


def test_negative_and_zero_scores_follow_the_formula() -> None:
    scores = np.array([[-0.3, 0.0, 0.1, -0.1], [0.3, 0.2, 0.0, 0.02], [-0.01, -0.02, -0.3, 0.0]])
    for direction, axis in zip(DIRECTIONS, (1, 0), strict=True):
        true = reference("dsl", direction, scores)
        found = read(scores, Rerank("dsl"), direction)
        assert (found.argsort(axis, kind="stable") == true.argsort(axis, kind="stable")).all()
        assert ((found == 0) == (scores == 0)).all()


def test_scores_of_any_scale_are_safe() -> None:
    """Logits: exp(S / 0.01) would overflow, and the shares would vanish and tie."""
    scores = 100 * COSINES.astype(np.float64)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        found = read(scores, Rerank("dsl"), "t2v")
    assert np.isfinite(found).all()
    assert len(np.unique(found)) == found.size
    # All of these are positive, so that the order of the formula is that of its logarithm.
    positive = scores + 30
    found = read(positive, Rerank("dsl"), "t2v")
    tall = positive / 0.01
    log_sum = tall.max(0) + np.log(np.exp(tall - tall.max(0)).sum(0))
    assert (found.argsort(1) == (np.log(positive) + tall - log_sum).argsort(1)).all()


def test_twins_still_tie() -> None:
    scores = np.repeat(COSINES, 2, axis=0)
    for method in METHODS[:2]:
        found = read(scores, rerank_of(method), "t2v")
        assert (found[::2] == found[1::2]).all()
    scores = np.repeat(COSINES, 2, axis=1)
    found = read(scores, Rerank("dsl"), "v2t")
    assert (found[:, ::2] == found[:, 1::2]).all()


def test_qb_norm_leaves_queries_alone_whose_best_is_no_hub() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.7]])
    bank = np.array([[0.1, 0.5, 0.3], [0.0, 0.6, 0.1]])
    found = read(scores, Rerank("qb-norm", bank), "t2v")
    assert (found[0] == scores[0]).all()
    sums = np.log(np.exp(20 * bank).sum(0))
    assert found[1] == pytest.approx(20 * scores[1] - sums)
    # Video 1 is a hub, so that video 2 comes first.
    assert found[1].argmax() == 2


def test_without_a_bank_of_videos_v2t_stays_as_it_is() -> None:
    rerank = Rerank("qb-norm", BANK)
    ranks = rank_reranked(COSINES, OWNERS, rerank)
    assert rerank.directions == ("t2v",)
    assert (ranks.v2t == rank_matrix(COSINES, OWNERS).v2t).all()
    assert (ranks.t2v == rank_reranked(COSINES, OWNERS, rerank_of("qb-norm")).t2v).all()


def test_what_uses_the_test_set_says_so() -> None:
    assert [rerank_of(method).transductive for method in METHODS] == [True, True, False]
    assert not Rerank().transductive
    assert Rerank().directions == ()


def test_none_is_the_plain_ranks() -> None:
    plain = rank_matrix(COSINES, OWNERS)
    for rerank in (None, Rerank()):
        ranks = rank_reranked(COSINES, OWNERS, rerank)
        assert (ranks.t2v == plain.t2v).all()
        assert (ranks.v2t == plain.v2t).all()


def test_a_reranking_that_is_not_transductive_does_not_look_at_the_other_queries() -> None:
    rerank = Rerank("qb-norm", BANK)
    whole = read(COSINES, rerank, "t2v")
    alone = [read(COSINES[t : t + 1], rerank, "t2v")[0] for t in range(30)]
    assert (whole == np.array(alone)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rerank("sdl"), "unknown rerank 'sdl'; did you mean 'dsl'"),  # type: ignore[arg-type]
        (lambda: Rerank("qb-norm"), "qb-norm needs a bank"),
        (lambda: Rerank("dsl", BANK), "a bank is for qb-norm, not for dsl"),
        (lambda: Rerank("none", None, BANK), "a bank is for qb-norm, not for none"),
        (
            lambda: rank_reranked(COSINES, OWNERS, Rerank("qb-norm", BANK[:, 1:])),
            "the bank scores 11 videos, the matrix has 12",
        ),
        (
            lambda: rank_reranked(COSINES, OWNERS, Rerank("qb-norm", BANK, VIDEO_BANK[1:])),
            "the video bank scores 29 texts, the matrix has 30",
        ),
        (
            lambda: rank_reranked(np.full((2, 2), np.nan), None, Rerank("dsl")),
            "the matrix: 4 of 4 scores are NaN",
        ),
        (
            lambda: rank_reranked(COSINES, OWNERS, Rerank("qb-norm", np.full((2, 12), np.inf))),
            "the bank: 24 of 24 scores are NaN",
        ),
        (lambda: rank_reranked(COSINES, None, Rerank("dsl")), "30 texts x 12 videos is not square"),
    ],
)
def test_what_cannot_be_reranked(make: Any, message: str) -> None:
    with pytest.raises(MatrixError, match=message):
        make()
