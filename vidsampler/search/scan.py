"""The exact nearest vectors to some queries, by looking at all of them.

One pass over half-precision vectors, at the speed of the memory, gives scores with a known error;
whatever could still be among the K best is scored again in full precision.

Axes: Q queries, V vectors, K results, D channels.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vidsampler.search.entry import Half

Scores = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

BLOCK = 1 << 14
"""Vectors that are converted at once where there are several queries."""

_MOST_SCORES = 1 << 24
"""Scores of the first pass that are held at once."""

HALF_ERROR = 2.0**-10
"""The first pass of one query rounds the query and each score to half precision: for vectors of
length 1, both errors are below 2^-11, and sums are kept in single precision."""

SINGLE_ERROR = 2.0**-18

_GROUP = 256
_WORTH_A_THREAD = 1 << 22
"""Products that take longer than it takes to start a thread."""


class NotFiniteError(ArithmeticError):
    """A score is not a number: the vectors or the query are damaged."""


def nearest(blocks: Sequence[Half], queries_QD: npt.NDArray[Any], k: int) -> tuple[Scores, Rows]:
    """The K best vectors of each query.

    Args:
        blocks: (V_i, D) float16 arrays of vectors of length 1, one after the other.
        queries_QD: (Q, D) of length 1.
        k: K; all vectors where there are fewer.

    Returns:
        (Q, K) scores, float64 products of the stored vectors with the queries, and (Q, K) which
        vectors they are, best first; of equal scores the earlier vector.

    Raises:
        ValueError: K is below 1, or the widths differ.
        NotFiniteError: A score is not a number.
    """
    total = sum(map(len, blocks))
    queries_QD = np.ascontiguousarray(queries_QD, np.float32)
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if any(block.shape[1:] != queries_QD.shape[1:] for block in blocks):
        raise ValueError(f"queries of width {queries_QD.shape[1]} do not fit the vectors")
    k = min(k, total)
    scores_QK = np.empty((len(queries_QD), k))
    rows_QK = np.empty((len(queries_QD), k), np.int64)
    step = max(1, _MOST_SCORES // max(1, total))
    for begin in range(0, len(queries_QD) if k else 0, step):
        some_QD = queries_QD[begin : begin + step]
        first_QV, error = _first_pass(blocks, some_QD, total)
        # By numpy, on one thread: torch's would wait for each other for longer than this takes.
        if not np.isfinite(first_QV.numpy().sum()):  # of one that is not finite, neither is the sum
            raise NotFiniteError
        least_Q = _lower_bound(first_QV, k) - 2 * error
        for query, (first_V, least) in enumerate(zip(first_QV, least_Q, strict=True)):
            rows = np.flatnonzero(first_V.numpy() >= least.item())
            exact = gather(blocks, rows).astype(np.float64) @ some_QD[query].astype(np.float64)
            order = np.lexsort((rows, -exact))[:k]
            scores_QK[begin + query], rows_QK[begin + query] = exact[order], rows[order]
    return scores_QK, rows_QK


def gather(blocks: Sequence[Half], rows: Rows) -> Half:
    """(n, D) some of the vectors; rows ascending."""
    starts = np.cumsum([0, *map(len, blocks)])
    which = np.searchsorted(starts, rows, side="right") - 1
    found = np.empty((len(rows), blocks[0].shape[1]), np.float16)
    for number in np.unique(which):
        inside = which == number
        found[inside] = blocks[number][rows[inside] - starts[number]]
    return found


def _first_pass(
    blocks: Sequence[Half], queries_QD: npt.NDArray[np.float32], total: int
) -> tuple[torch.Tensor, float]:
    """(Q, V) scores, and how far they may be off."""
    queries = torch.from_numpy(queries_QD)
    if len(queries) == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # of this thread
        try:
            scores_V = _one_query(blocks, queries[0].half(), total, threads).float()
        finally:
            torch.set_num_threads(threads)
        return scores_V[None], HALF_ERROR
    at = 0
    scores_QV = torch.empty(len(queries_QD), total)
    for block in blocks:
        for part_VD in torch.from_numpy(block).split(BLOCK):
            end = at + len(part_VD)
            torch.mm(queries, part_VD.float().T, out=scores_QV[:, at:end])
            at = end
    return scores_QV, SINGLE_ERROR


def _one_query(
    blocks: Sequence[Half], query_D: torch.Tensor, total: int, threads: int
) -> torch.Tensor:
    """(V,) float16 products.

    There may be many small segments. Were each of them divided among torch's threads, these would
    wait for each other at every one, which takes longer than the products do, and on a busy machine
    a hundred times as long. Here a thread takes whole pieces until there are none.
    """
    scores_V = torch.empty(total, dtype=torch.float16)
    pieces = []
    at = 0
    for block in blocks:
        for part_VD in torch.from_numpy(block).split(BLOCK):
            pieces.append((part_VD, scores_V[at : at + len(part_VD)]))
            at += len(part_VD)
    waiting = iter(pieces)  # one for all threads

    def work() -> None:
        torch.set_num_threads(1)  # of this thread
        for part_VD, scores in waiting:
            torch.mv(part_VD, query_D, out=scores)

    helpers = [
        threading.Thread(target=work, daemon=True)
        for _ in range(min(threads, len(pieces), total * len(query_D) // _WORTH_A_THREAD) - 1)
    ]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    return scores_V


def _lower_bound(scores_QV: torch.Tensor, k: int) -> torch.Tensor:
    """(Q,) what at least K scores of each query reach.

    The K-th best of the maxima of groups is such a bound, and next to as good as the K-th best of
    all, which takes ten times as long to find.
    """
    queries, total = scores_QV.shape
    groups = total // _GROUP
    if groups >= 4 * k:
        grouped = scores_QV.numpy()[:, : groups * _GROUP].reshape(queries, groups, _GROUP)
        scores_QV = torch.from_numpy(grouped.max(2))
    return torch.topk(scores_QV, k, dim=1, sorted=False).values.amin(1)
