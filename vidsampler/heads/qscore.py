"""`qscore`: frames weighted by how well they fit the query; no parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from vidsampler.heads.base import PairHead, cosine_to_pooled, masked_softmax, unit
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
