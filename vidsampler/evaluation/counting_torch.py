"""`counting` for blocks that lie on an accelerator, where the scores were computed.

Functions, arguments and results are those of `counting`; results are NumPy arrays. Counts are
whole numbers, so they are the same on every device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidsampler.evaluation.counting import Array, Ints


def rank_rows(block_RV: Tensor, owners_R: Ints) -> tuple[Array, Ints, int]:
    """See `counting.rank_rows`."""
    owners_R1 = _put(owners_R, block_RV)[:, None]
    own_R1 = block_RV.gather(1, owners_R1)
    columns_V = torch.arange(block_RV.shape[1], device=block_RV.device)
    before_RV = (block_RV > own_R1) | ((block_RV == own_R1) & (columns_V < owners_R1))
    not_finite = int((~torch.isfinite(block_RV)).sum())
    # To float64 only there: not every accelerator has it.
    own_R: Array = own_R1[:, 0].cpu().double().numpy()
    return own_R, 1 + _take(before_RV.sum(1)), not_finite


def count_before(block_RV: Tensor, best_V: Array, first_V: Ints, start: int) -> Ints:
    """See `counting.count_before`."""
    best = _put(best_V, block_RV)
    first = _put(first_V, block_RV)
    rows_R1 = torch.arange(start, start + len(block_RV), device=block_RV.device)[:, None]
    before_RV = (block_RV > best) | ((block_RV == best) & (rows_R1 < first))
    return _take(before_RV.sum(0))


def groups_before(
    block_RV: Tensor, best_V: Array, owners_R: Ints
) -> Iterator[tuple[Ints, Ints, NDArray[np.bool_]]]:
    """See `counting.groups_before`; the whole block is one tile."""
    best = _put(best_V, block_RV)
    columns_V = torch.arange(block_RV.shape[1], device=block_RV.device)
    owners_R1 = _put(owners_R, block_RV)[:, None]
    before_RV = (block_RV > best) | ((block_RV == best) & (owners_R1 < columns_V))
    groups, which_R, sizes = np.unique(owners_R, return_inverse=True, return_counts=True)
    counts_GV = torch.zeros(
        len(groups), block_RV.shape[1], dtype=torch.int32, device=block_RV.device
    )
    counts_GV.index_add_(0, _put(which_R, block_RV), before_RV.int())
    before_GV: NDArray[np.bool_] = (counts_GV > 0).cpu().numpy()
    yield groups, sizes, before_GV


def _put(array: Array, like: Tensor) -> Tensor:
    """The array beside the block; scores in its precision, which holds them exactly."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return (tensor.to(like.dtype) if tensor.is_floating_point() else tensor).to(like.device)


def _take(counts: Tensor) -> Ints:
    taken: Ints = counts.cpu().numpy()
    return taken
