"""The exact nearest vectors to some queries, by looking at all of them.

One pass over half-precision vectors, at the speed of the memory, gives scores with a known error;
whatever could still be among the K best is scored again in full precision.

Axes: Q queries, V vectors, K results, D channels.
"""

from __future__ import annotations

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
        least_Q = torch.topk(first_QV, k, dim=1, sorted=False).values.amin(1) - 2 * error
        for query, (first_V, least) in enumerate(zip(first_QV, least_Q, strict=True)):
            rows = (first_V >= least).nonzero().ravel().numpy()
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
    scores_QV = torch.empty(len(queries_QD), total)
    queries = torch.from_numpy(queries_QD)
    at = 0
    for block in blocks:
        vectors_VD = torch.from_numpy(block)
        if len(queries) == 1:
            end = at + len(vectors_VD)
            scores_QV[0, at:end] = torch.mv(vectors_VD, queries[0].half())
            at = end
            continue
        for part_VD in vectors_VD.split(BLOCK):
            end = at + len(part_VD)
            torch.mm(queries, part_VD.float().T, out=scores_QV[:, at:end])
            at = end
    return scores_QV, HALF_ERROR if len(queries) == 1 else SINGLE_ERROR
