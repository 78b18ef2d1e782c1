"""What stands before the own pairs in a block of scores: NumPy, tile by tile.

`counting_torch` has the same functions for tensors. Blocks are (R, V) finite or not; comparisons
are those of the block's dtype, which holds the reference scores exactly because they come from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ints = NDArray[np.int64]

_TILE_SCORES = 1 << 16
"""Scores compared at once: few enough to stay in a processor's cache."""
_TILE_ROWS = 255
"""Rows compared at once at most: as far as one byte counts."""


def rank_rows(block_RV: Array, owners_R: Ints) -> tuple[Array, Ints, int]:
    """(R,) own scores, (R,) ranks of the own videos, and the number of scores not finite."""
    own_R = block_RV[np.arange(len(block_RV)), owners_R]
    rank_R = np.empty(len(block_RV), np.int64)
    finite = 0
    for rows in _tiles(block_RV):
        tile = block_RV[rows]
        own = own_R[rows, None]
        finite += int(np.count_nonzero(np.isfinite(tile)))
        # Row by row: counting along an axis converts every boolean to a whole number first.
        rank_R[rows] = [1 + np.count_nonzero(row) for row in tile > own]
        r, c = _where(tile == own)
        rank_R[rows] += np.bincount(r[c < owners_R[rows][r]], minlength=len(tile))
    return own_R, rank_R, block_RV.size - finite


def count_before(block_RV: Array, best_V: Array, first_V: Ints, start: int) -> Ints:
    """(V,) captions of the block that stand before each video's best own caption.

    Args:
        block_RV: Scores of the captions from number ``start`` on.
        best_V: Score of each video's best own caption.
        first_V: Its number; of equal scores, captions of smaller numbers stand before it.
        start: Number of the first row.
    """
    best_V = best_V.astype(block_RV.dtype)
    before_V = np.zeros(len(best_V), np.int64)
    for rows in _tiles(block_RV):
        tile = block_RV[rows]
        before_V += np.add.reduce((tile > best_V).view(np.uint8), axis=0, dtype=np.uint8)
        r, c = _where(tile == best_V)
        tied = c[start + rows.start + r < first_V[c]]
        if len(tied):
            before_V += np.bincount(tied, minlength=len(best_V))
    return before_V


def groups_before(
    block_RV: Array, best_V: Array, owners_R: Ints
) -> Iterator[tuple[Ints, Ints, NDArray[np.bool_]]]:
    """Groups of captions that stand before each video's own group, tile by tile.

    Yields:
        (G,) groups that have captions in the tile, (G,) how many they have there, and (G, V)
        whether one of these stands before the column's own group. Of equal scores, the group of
        the smaller number stands before.
    """
    best_V = best_V.astype(block_RV.dtype)
    for rows in _tiles(block_RV):
        tile = block_RV[rows]
        owners = owners_R[rows]
        before = tile > best_V
        r, c = _where(tile == best_V)
        before[r, c] = owners[r] < c
        order = np.argsort(owners, kind="stable")
        groups, starts, sizes = np.unique(owners[order], return_index=True, return_counts=True)
        yield groups, sizes, np.logical_or.reduceat(before[order], starts, axis=0)


def _tiles(block_RV: Array) -> Iterator[slice]:
    rows, videos = block_RV.shape
    step = min(_TILE_ROWS, max(1, _TILE_SCORES // videos))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _where(equal_RV: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Rows and columns of the few that are true."""
    r, c = np.divmod(np.flatnonzero(equal_RV), equal_RV.shape[1])
    return r, c
