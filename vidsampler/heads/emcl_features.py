"""`emcl-features`: EM in the feature space, whose bases are learned and then stay.

Unlike `emcl`, a score depends on its own text and video alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidsampler.heads.base import (
    PairHead,
    TrainingTerms,
    checked_frames,
    checked_texts,
    cosine_to_pooled,
    full_precision,
)
from vidsampler.heads.em import Reduce, em_rows, here, unit_rows
from vidsampler.heads.emcl import EmclConfig, pool_for_texts
from vidsampler.heads.seq import SequenceEncoder


class EmclFeatures(PairHead):
    """x + beta * softmax(x B^T / lambda) B, with bases B (C, D) of length 1.

    In training, EM over the batch's rows moves B first; B itself carries no gradient.

    Args:
        config: settings.
        width: D.
        frames: F.
        bases_CD: (C, D) initial bases, instead of a draw; they get length 1.
    """

    name = "emcl-features"
    Config = EmclConfig

    bases: Tensor

    def __init__(
        self,
        config: EmclConfig | None = None,
        *,
        width: int,
        frames: int,
        bases_CD: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config or EmclConfig()
        self.encoder = SequenceEncoder(self.config.sequence, width, frames)
        em = self.config.em
        first = em.first_bases(em.bases, width) if bases_CD is None else bases_CD
        self.register_buffer("bases", unit_rows(first))

    def start_from(self, backbone: Any) -> bool:
        """See `SequenceEncoder.start_from`."""
        return self.encoder.start_from(backbone)

    def encode(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(V, F, D) frames that know of each other."""
        return self.encoder.whole_gallery(frames_VFD, keep_VF)

    def pair_scores(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """See `PairHead.pair_scores`."""
        pooled_TVD = pool_for_texts(texts_TD, frames_VFD, keep_VF, self.config.temperature)
        return cosine_to_pooled(self._refine(texts_TD), self._refine(pooled_TVD))

    def training_terms(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        own_T: Tensor | None = None,
        reduce: Reduce = here,
    ) -> TrainingTerms:
        """Cosines after the bases have moved; `reduce` as of `Emcl.training_terms`."""
        with full_precision(frames_VFD):
            frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
            texts_TD = checked_texts(texts_TD, frames_VFD)
            frames_VFD = self.encode(frames_VFD, keep_VF)
            pooled_TVD = pool_for_texts(texts_TD, frames_VFD, keep_VF, self.config.temperature)
            if self.training:
                self._move_bases(torch.cat([pooled_TVD.flatten(0, 1), texts_TD]), reduce)
            return TrainingTerms(cosine_to_pooled(self._refine(texts_TD), self._refine(pooled_TVD)))

    @torch.no_grad()
    def _move_bases(self, rows_RD: Tensor, reduce: Reduce) -> None:
        em = self.config.em
        found_CD = em_rows(
            rows_RD,
            self.bases,
            iterations=em.iterations,
            temperature=em.temperature,
            reduce=reduce,
        )
        self.bases.copy_(unit_rows(em.momentum * self.bases + (1 - em.momentum) * found_CD))

    def _refine(self, rows_XD: Tensor) -> Tensor:
        em = self.config.em
        # A copy: the buffer moves in place before the gradient of an earlier batch is taken.
        bases_CD = self.bases.clone()
        weights_XC = (rows_XD @ bases_CD.T / em.temperature).softmax(-1)
        return rows_XD + em.beta * (weights_XC @ bases_CD)
