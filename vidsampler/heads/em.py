"""Expectation maximisation on features, as pure functions (EMCL-Net).

`em_channels` is the published form: X is (R rows, N channels), its bases describe the channels,
and each base has one number a row. `em_rows` is the usual form: bases are directions of the
feature space. Neither lets a gradient through: what is added to X is a constant.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, distributed

Reduce = Callable[[Tensor], Tensor]
"""Adds up a sum over rows that lie on several ranks; the same shape on every rank."""


def here(total: Tensor) -> Tensor:
    """The sum as it is: all rows are here."""
    return total


def over_ranks(total: Tensor) -> Tensor:
    """The sum over all ranks; as it is where torch.distributed is not initialised."""
    if distributed.is_available() and distributed.is_initialized():
        total = total.clone()
        distributed.all_reduce(total)
    return total


@torch.no_grad()
def em_channels(
    rows_BRN: Tensor,
    bases_C: Tensor,
    *,
    iterations: int,
    temperature: float = 1.0,
    reduce: Reduce = here,
) -> tuple[Tensor, Tensor]:
    """Runs EM in which every base has one number for each row.

    M starts as the same bases on every row. Each iteration: Z = softmax over bases of
    (X^T M / temperature), columns divided by (1e-6 + their sum); M = X Z, columns divided by
    (1e-6 + their L2 norm). X + beta * M Z^T is what to use.

    Args:
        rows_BRN: (..., R, N) features; each leading index is an EM of its own.
        bases_C: (C,) what each base starts from on every row.
        iterations: at least 1.
        temperature: lambda of the paper.
        reduce: adds up sums over rows, if each rank has only some of them.

    Returns:
        M (..., R, C) and Z (..., N, C), both constants.
    """
    rows_BRN = rows_BRN.float()
    m_BRC = bases_C.float().expand(*rows_BRN.shape[:-1], -1)
    for _ in range(iterations):
        z_BNC = (reduce(rows_BRN.mT @ m_BRC) / temperature).softmax(-1)
        z_BNC = z_BNC / (1e-6 + z_BNC.sum(-2, keepdim=True))
        m_BRC = rows_BRN @ z_BNC
        norms_B1C = reduce(m_BRC.square().sum(-2, keepdim=True)).sqrt()
        m_BRC = m_BRC / (1e-6 + norms_B1C)
    return m_BRC, z_BNC


@torch.no_grad()
def mean_over_rows(rows_RC: Tensor, reduce: Reduce = here) -> Tensor:
    """(C,) the mean over rows, which may lie on several ranks."""
    count = reduce(rows_RC.new_tensor(float(len(rows_RC))))
    return reduce(rows_RC.sum(0)) / count


@torch.no_grad()
def em_rows(
    rows_RD: Tensor,
    bases_CD: Tensor,
    *,
    iterations: int,
    temperature: float = 1.0,
    reduce: Reduce = here,
) -> Tensor:
    """(C, D) bases after EM in the feature space, each of length 1.

    Each iteration: Z = softmax over bases of (X B^T / temperature), columns divided by (1e-6 +
    their sum); B = Z^T X, rows divided by (1e-6 + their L2 norm).

    Args:
        rows_RD: (R, D) features.
        bases_CD: (C, D) to start from.
        iterations: at least 1.
        temperature: lambda.
        reduce: adds up sums over rows, if each rank has only some of them.
    """
    rows_RD, bases_CD = rows_RD.float(), bases_CD.float()
    for _ in range(iterations):
        z_RC = (rows_RD @ bases_CD.T / temperature).softmax(-1)
        sums_1C = reduce(z_RC.sum(0, keepdim=True))
        bases_CD = reduce((z_RC / (1e-6 + sums_1C)).T @ rows_RD)
        bases_CD = unit_rows(bases_CD)
    return bases_CD


def unit_rows(rows_CD: Tensor) -> Tensor:
    """Rows divided by (1e-6 + their L2 norm)."""
    lengths_C1: Tensor = torch.linalg.vector_norm(rows_CD, dim=-1, keepdim=True)
    return rows_CD / (1e-6 + lengths_C1)
