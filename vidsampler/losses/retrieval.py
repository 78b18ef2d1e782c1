"""The retrieval loss: each text finds its videos, and each video its texts."""

from __future__ import annotations

import torch
from torch import Tensor


def positives(owner_T: Tensor, video_V: Tensor, caption_T: Tensor | None = None) -> Tensor:
    """Which pairs of a batch belong together.

    Text i and video j do if i is a caption of j, or is worded like a caption of j that is in the
    batch. So neither two captions of one video, nor one caption of two videos, count as negatives.

    Args:
        owner_T: (T,) the id of the video that each text belongs to.
        video_V: (V,) the id of each video; a video may occur more than once.
        caption_T: (T,) an id of each text's wording; None: all differ.

    Returns:
        (T, V) booleans.
    """
    belongs_TV = owner_T[:, None] == video_V[None, :]
    if caption_T is None:
        return belongs_TV
    same_TT = caption_T[:, None] == caption_T[None, :]
    # As numbers, because booleans have no matrix product; fp32 counts exactly up to 2^24.
    return (same_TT.float() @ belongs_TV.float()) > 0


def retrieval_loss(
    similarity_TV: Tensor,
    scale: Tensor | float,
    positives_TV: Tensor | None = None,
    *,
    rows: slice | None = None,
    columns: slice | None = None,
) -> Tensor:
    """Symmetric cross entropy, (rows + columns) / 2, with one or more positives a row.

    The loss of a row is minus the mean over its positives of the log softmax of scale * cosine;
    columns alike. With one positive a row this is the usual diagonal loss (Luo et al.,
    CLIP4Clip; several positives: Khosla et al., Supervised Contrastive Learning, equation 2).

    Distributed: every rank has the whole matrix and takes only its own `rows` and `columns`. If
    all have equally many, the mean over ranks is the loss of the whole matrix; with a gather that
    carries gradients and DDP's mean over ranks, so are the gradients.

    Args:
        similarity_TV: (T, V) cosines of the global batch.
        scale: exp(logit scale), by which cosines are multiplied.
        positives_TV: (T, V) booleans; None: the diagonal.
        rows: the texts whose loss is taken; None: all.
        columns: the videos whose loss is taken; None: all.

    Returns:
        A scalar in fp32.

    Raises:
        ValueError: Shapes do not fit, or a text or video has no positive.
    """
    texts_R, videos_C = retrieval_losses(
        similarity_TV, scale, positives_TV, rows=rows, columns=columns
    )
    return (texts_R.mean() + videos_C.mean()) / 2


def retrieval_losses(
    similarity_TV: Tensor,
    scale: Tensor | float,
    positives_TV: Tensor | None = None,
    *,
    rows: slice | None = None,
    columns: slice | None = None,
) -> tuple[Tensor, Tensor]:
    """As `retrieval_loss`, of each text (R,) and of each video (C,)."""
    if positives_TV is None:
        if similarity_TV.ndim != 2 or similarity_TV.shape[0] != similarity_TV.shape[1]:
            raise ValueError(
                f"diagonal targets need a square matrix, got {tuple(similarity_TV.shape)}"
            )
        positives_TV = torch.eye(len(similarity_TV), dtype=torch.bool, device=similarity_TV.device)
    if positives_TV.shape != similarity_TV.shape:
        raise ValueError(
            f"similarity is {tuple(similarity_TV.shape)}, "
            f"but its positives are {tuple(positives_TV.shape)}"
        )
    with torch.autocast(similarity_TV.device.type, enabled=False):
        logits_TV = similarity_TV.float() * scale
        every = slice(None)
        rows, columns = rows or every, columns or every
        return (
            _cross_entropy(logits_TV[rows], positives_TV[rows], "text"),
            _cross_entropy(logits_TV.T[columns], positives_TV.T[columns], "video"),
        )


def _cross_entropy(logits_RC: Tensor, positives_RC: Tensor, what: str) -> Tensor:
    counts_R = positives_RC.sum(1)
    lonely = (counts_R == 0).nonzero().ravel().tolist()
    if lonely:
        raise ValueError(f"{what} {lonely[0]} of the batch belongs to nothing in it")
    log_RC = logits_RC.log_softmax(1)
    return -(log_RC.masked_fill(~positives_RC, 0.0).sum(1) / counts_R)
