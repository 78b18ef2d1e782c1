"""`qscore`: frames weighted by how well they fit the query; no parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidsampler.heads.base import (
    Gallery,
    PairHead,
    cosine_to_pooled,
    masked_softmax,
    softmax_over_kept,
    squared_lengths,
    unit,
)
from vidsampler.heads.mlp import ScoreConfig


class QueryScore(PairHead):
    """Weights are the softmax over frames of cos(text, frame) / temperature.

    They weight the unnormalised frames; the score is the text's cosine with that sum.
    """

    name = "qscore"
    Config = ScoreConfig

    def __init__(self, config: ScoreConfig | None = None, *, width: int, frames: int) -> None:
        super().__init__()
        self.config = config or ScoreConfig()

    def pair_scores(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """See `PairHead.pair_scores`."""
        cosines_TVF = torch.einsum("td,vfd->tvf", unit(texts_TD), unit(frames_VFD))
        weights_TVF = masked_softmax(cosines_TVF / self.config.temperature, keep_VF)
        return cosine_to_pooled(texts_TD, torch.einsum("tvf,vfd->tvd", weights_TVF, frames_VFD))

    def index(self, frames_VFD: Tensor, keep_VF: Tensor) -> Gallery:
        """Frames, their lengths, their mask and their products with each other."""
        lengths_VF = torch.linalg.vector_norm(frames_VFD, dim=-1)
        return frames_VFD, lengths_VF, keep_VF, frames_VFD @ frames_VFD.mT

    def scorer(self, texts_TD: Tensor, ids_T: Tensor | None, first: int) -> Callable[..., Tensor]:
        """See `PairHead.scorer`.

        The weighted sum of frames is never made: its product with the text is the weighted sum of
        the frames' products, and its length follows from the products of frames.
        """
        units_DT = unit(texts_TD).T

        def score(
            frames_VFD: Tensor, lengths_VF: Tensor, keep_VF: Tensor, products_VFF: Tensor
        ) -> Tensor:
            dots_VFT = frames_VFD @ units_DT
            cosines_VFT = dots_VFT / lengths_VF.clamp_min(1e-12)[..., None]
            weights_VFT = softmax_over_kept(cosines_VFT / self.config.temperature, keep_VF)
            squares_V1T = squared_lengths(products_VFF, weights_VFT)
            scores_VT = (weights_VFT * dots_VFT).sum(1) / squares_V1T[:, 0].sqrt().clamp_min(1e-12)
            return scores_VT.T

        return score
