"""The support-text loss of T-MASS: the edge of a text's ball that faces its video."""

from __future__ import annotations

from torch import Tensor

from vidsampler.losses.retrieval import retrieval_loss


def support_loss(
    support_TV: Tensor,
    scale: Tensor | float,
    positives_TV: Tensor | None = None,
    *,
    weight: float = 0.8,
    rows: slice | None = None,
    columns: slice | None = None,
) -> Tensor:
    """weight * the retrieval loss of cos(support text i, video j pooled for text i).

    Wang et al., T-MASS, CVPR 2024; weight 0.8 on MSRVTT. The head makes `support_TV`; nothing
    in it is detached, so the loss trains the radius, the pooling and both towers.

    Args:
        support_TV: (T, V) cosines.
        scale: as of `retrieval_loss`.
        positives_TV: likewise.
        weight: beside the retrieval loss.
        rows: as of `retrieval_loss`.
        columns: likewise.

    Returns:
        A scalar in fp32.
    """
    return weight * retrieval_loss(support_TV, scale, positives_TV, rows=rows, columns=columns)
