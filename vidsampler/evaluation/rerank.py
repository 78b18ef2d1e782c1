"""Scores that take the other queries into account, against candidates that suit everybody.

For t2v the queries are texts and the candidates videos; for v2t it is the other way round, so each
direction has its own scores. S is the score of a pair, q runs over queries, c over candidates:

- `dsl`: S * softmax over the queries of S / 0.01 (Cheng et al., CAMoE, 2021, dual softmax).
- `inverted-softmax`: exp(b S) / sum over the queries of exp(b S), b = 20 (Smith et al., 2017).
- `qb-norm`: the same with the sum over a bank of training queries, and only for queries whose best
  candidate is the best one of some query of the bank; others keep their scores (Bogolin et al.,
  Cross Modal Retrieval with Querybank Normalisation, 2022, dynamic inverted softmax, k = 1, b =
  20). For t2v the bank is of training texts, for v2t of training videos.

The first two use all queries of the test set at once: their results are transductive. What comes
out here are float64 scores in the order that the formula gives, in the log domain: the formula's
own values vanish where b S spans more than some 700, and candidates that differ would tie.
Sums over texts run row by row in the order of the rows, so that blocks do not change them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidsampler.errors import unknown
from vidsampler.evaluation.ranks import (
    DIRECTIONS,
    V2T,
    Direction,
    Ranks,
    checked_owners,
    rank_matrix,
)
from vidsampler.evaluation.rows import Array, MatrixError, Rows, rows_of, to_numpy

Method = Literal["none", "dsl", "inverted-softmax", "qb-norm"]
METHODS: tuple[Method, ...] = get_args(Method)

DSL_SHARPNESS = 100.0
"""1 / 0.01."""
SHARPNESS = 20.0
"""The factor b of inverted softmax and QB-Norm."""

_SMALLEST_LOG = math.log(5e-324)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rerank:
    """A way to rerank, and what it needs.

    Attributes:
        method: One of `METHODS`.
        bank: For `qb-norm`, (B, V) scores of training texts with the videos: anything that
            `rows_of` takes.
        video_bank: For `qb-norm`, (T, B) scores of the texts with training videos; None: v2t keeps
            its scores.
    """

    method: Method = "none"
    bank: Any = None
    video_bank: Any = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise MatrixError(unknown("rerank", self.method, METHODS))
        wants_bank = self.method == "qb-norm"
        if wants_bank and self.bank is None:
            raise MatrixError(
                "qb-norm needs a bank: scores of training texts (rows) with the videos",
                hint="--bank FILE, a .npy file",
            )
        if not wants_bank and not (self.bank is None and self.video_bank is None):
            raise MatrixError(f"a bank is for qb-norm, not for {self.method}")

    @property
    def transductive(self) -> bool:
        """Whether a query's result depends on the other queries of the test set."""
        return self.method in ("dsl", "inverted-softmax")

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions whose scores it changes."""
        if self.method == "none":
            return ()
        if self.method == "qb-norm" and self.video_bank is None:
            return ("t2v",)
        return DIRECTIONS


def rank_reranked(
    matrix: Any,
    owners: ArrayLike | None = None,
    rerank: Rerank | None = None,
    *,
    v2t: V2T = "best",
    block: int | None = None,
) -> Ranks:
    """Ranks the own pairs by reranked scores; arguments and errors as of `rank_matrix`.

    Args:
        matrix: (T, V) scores.
        owners: (T,) the video of each text.
        rerank: None: the scores as they are.
        v2t: The convention.
        block: Rows at a time; it changes no rank.
    """
    rerank = rerank or Rerank()
    rows = rows_of(matrix)
    own = checked_owners(owners, rows)
    if not rerank.directions:
        return rank_matrix(rows, own, v2t=v2t, block=block)
    survey = _Survey(rows, block)
    by_direction = {
        direction: rank_matrix(
            _rescored(rows, rerank, direction, survey, block),
            own,
            v2t=v2t,
            directions=(direction,),
            block=block,
        )
        for direction in DIRECTIONS
    }
    return Ranks(by_direction["t2v"].t2v, by_direction["v2t"].v2t, own, rows.shape[1])


def rescored(
    matrix: Any, rerank: Rerank, direction: Direction, *, block: int | None = None
) -> Rows:
    """The scores by which a direction is ranked.

    Args:
        matrix: (T, V) scores.
        rerank: How.
        direction: "t2v": only scores of one row compare; "v2t": only those of one column.
        block: Rows to look at at a time.

    Returns:
        (T, V) float64 scores, computed when they are read.

    Raises:
        MatrixError: Scores are NaN or infinite, or a bank does not fit.
    """
    rows = rows_of(matrix)
    if direction not in rerank.directions:
        return rows
    return _rescored(rows, rerank, direction, _Survey(rows, block), block)


class _Survey:
    """What one pass over the scores tells.

    Attributes:
        low: The lowest score of all.
        high: The highest.
        max_V: The highest of each column.
        argmax_V: The first row that has it.
    """

    def __init__(self, rows: Rows, block: int | None) -> None:
        videos = rows.shape[1]
        self.low = math.inf
        self.max_V = np.full(videos, -np.inf)
        self.argmax_V = np.zeros(videos, np.int64)
        not_finite = 0
        for start, scores in _doubles(rows, block):
            not_finite += scores.size - int(np.count_nonzero(np.isfinite(scores)))
            self.low = min(self.low, float(scores.min()))
            top = scores.argmax(0)
            best = scores[top, np.arange(videos)]
            better = best > self.max_V
            self.max_V[better] = best[better]
            self.argmax_V[better] = start + top[better]
        if not_finite:
            raise MatrixError(
                f"{rows.name}: {not_finite:,} of {math.prod(rows.shape):,} scores are NaN or "
                "infinite",
                hint="ranks of such scores mean nothing; find out where they come from",
            )
        self.high = float(self.max_V.max())


class _Mapped(Rows):
    """Rows that are computed from other rows, block by block."""

    def __init__(self, rows: Rows, name: str, score: Callable[[slice, Floats], Floats]) -> None:
        super().__init__(rows.shape, f"{rows.name} after {name}")
        self._rows = rows
        self._score = score

    def blocks(self, size: int | None = None) -> Iterator[Array]:
        """See `Rows.blocks`."""
        for start, scores in _doubles(self._rows, size):
            yield self._score(slice(start, start + len(scores)), scores)


def _rescored(
    rows: Rows, rerank: Rerank, direction: Direction, survey: _Survey, block: int | None
) -> Rows:
    if direction not in rerank.directions:
        return rows
    if rerank.method == "qb-norm":
        score = (
            _qb_norm_t2v(rows, rows_of(rerank.bank, "the bank"), block)
            if direction == "t2v"
            else _qb_norm_v2t(rows, rows_of(rerank.video_bank, "the video bank"), survey, block)
        )
        return _Mapped(rows, rerank.method, score)
    sharpness = DSL_SHARPNESS if rerank.method == "dsl" else SHARPNESS
    # The share of a pair among the queries of its candidate, as a logarithm.
    if direction == "t2v":
        log_sum_V = _log_sum_columns(rows, survey.max_V, sharpness, block)

        def log_share(scores: Floats) -> Floats:
            return sharpness * scores - log_sum_V
    else:

        def log_share(scores: Floats) -> Floats:
            return sharpness * scores - _log_sum_rows(scores, sharpness)[:, None]

    if rerank.method == "inverted-softmax":
        return _Mapped(rows, rerank.method, lambda _, scores: log_share(scores))
    # Larger than -log |S * share| can be, whatever S but 0.
    above = (
        1
        - _SMALLEST_LOG
        + sharpness * (survey.high - survey.low)
        + math.log(rows.shape[0 if direction == "t2v" else 1])
    )

    def dual_softmax(_: slice, scores: Floats) -> Floats:
        # sign(S) (log |S * share| + above) is ordered as S * share is, and 0 stays between.
        size = np.zeros_like(scores)
        np.log(np.abs(scores), out=size, where=scores != 0)
        return np.sign(scores) * (size + log_share(scores) + above)

    return _Mapped(rows, rerank.method, dual_softmax)


def _qb_norm_t2v(rows: Rows, bank: Rows, block: int | None) -> Callable[[slice, Floats], Floats]:
    videos = rows.shape[1]
    if bank.shape[1] != videos:
        raise MatrixError(
            f"{bank.name}: the bank scores {bank.shape[1]:,} videos, {rows.name} has {videos:,}"
        )
    hubs_V = np.zeros(videos, bool)
    for _, scores in _doubles(bank, block):
        hubs_V[scores.argmax(1)] = True
    log_sum_V = _log_sum_columns(bank, _Survey(bank, block).max_V, SHARPNESS, block)

    def score(_: slice, scores: Floats) -> Floats:
        at_hub_R1 = hubs_V[scores.argmax(1)][:, None]
        return np.where(at_hub_R1, SHARPNESS * scores - log_sum_V, scores)

    return score


def _qb_norm_v2t(
    rows: Rows, bank: Rows, survey: _Survey, block: int | None
) -> Callable[[slice, Floats], Floats]:
    texts = rows.shape[0]
    if bank.shape[0] != texts:
        raise MatrixError(
            f"{bank.name}: the video bank scores {bank.shape[0]:,} texts, {rows.name} has {texts:,}"
        )
    hubs_T = np.zeros(texts, bool)
    hubs_T[_Survey(bank, block).argmax_V] = True
    log_sum_T = np.concatenate(
        [_log_sum_rows(scores, SHARPNESS) for _, scores in _doubles(bank, block)]
    )
    at_hub_V = hubs_T[survey.argmax_V]

    def score(which: slice, scores: Floats) -> Floats:
        return np.where(at_hub_V, SHARPNESS * scores - log_sum_T[which, None], scores)

    return score


def _log_sum_columns(rows: Rows, max_V: Floats, sharpness: float, block: int | None) -> Floats:
    """(V,) log of the sum over the rows of exp(sharpness * score)."""
    sum_V = np.zeros(rows.shape[1])
    for _, scores in _doubles(rows, block):
        # One row after the other, so that blocks do not change the rounding.
        for row in np.exp(sharpness * (scores - max_V)):
            sum_V += row
    return sharpness * max_V + np.log(sum_V)


def _log_sum_rows(scores: Floats, sharpness: float) -> Floats:
    """(R,) log of the sum over the columns of exp(sharpness * score)."""
    max_R = scores.max(1)
    sum_R = np.exp(sharpness * (scores - max_R[:, None])).sum(1)
    log_sum_R: Floats = sharpness * max_R + np.log(sum_R)
    return log_sum_R


def _doubles(rows: Rows, block: int | None) -> Iterator[tuple[int, Floats]]:
    """(number of the first row, block) in float64, of a block's size and not of a file's."""
    start = 0
    for each in rows.blocks(block):
        scores = to_numpy(each).astype(np.float64)
        yield start, scores
        start += len(scores)
