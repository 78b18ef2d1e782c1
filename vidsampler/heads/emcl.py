"""`emcl`: pairs and texts are written in a few shared bases, found by EM (EMCL-Net).

At evaluation EM runs over a whole gallery, so a score depends on the other videos in it: the head
is transductive, and says so. It never depends on other texts, nor on blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from vidsampler.errors import ConfigError
from vidsampler.heads.base import (
    Head,
    TrainingTerms,
    blocks,
    checked_frames,
    checked_texts,
    cosine_to_pooled,
    full_precision,
    masked_softmax,
)
from vidsampler.heads.em import Reduce, em_channels, here, mean_over_rows
from vidsampler.heads.seq import SeqConfig, SequenceEncoder


@dataclass(frozen=True)
class EMConfig:
    """Settings of expectation maximisation.

    Attributes:
        bases: C, how many.
        iterations: I, at least 1.
        temperature: lambda, of the softmax over bases; above 0.
        beta: how much of the reconstruction is added.
        momentum: of the bases that are kept from batch to batch, 0 to 1.
        start: `normal`, bases from N(0, 2 / C); `signs`, each number then divided by its own
            size, as in the published code, which leaves only two different bases.
    """

    bases: int = 32
    iterations: int = 9
    temperature: float = 1.0
    beta: float = 3.0
    momentum: float = 0.9
    start: Literal["normal", "signs"] = "normal"

    def __post_init__(self) -> None:
        for name, value in (("bases", self.bases), ("iterations", self.iterations)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {self.temperature:g}")
        if not 0 <= self.momentum <= 1:
            raise ConfigError(f"momentum must be from 0 to 1, not {self.momentum:g}")

    def first_bases(self, *shape: int) -> Tensor:
        """Bases to start from, drawn with torch's generator."""
        bases: Tensor = torch.randn(shape) * (2 / self.bases) ** 0.5
        return bases.sign() if self.start == "signs" else bases


@dataclass(frozen=True)
class EmclConfig:
    """Settings of the heads with EM.

    Attributes:
        temperature: of the softmax over frames that pools a video for a text.
        sequence: the transformer over frames.
        em: expectation maximisation.
    """

    temperature: float = 3.0
    sequence: SeqConfig = field(default_factory=SeqConfig)
    em: EMConfig = field(default_factory=EMConfig)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {self.temperature:g}")


def pool_for_texts(
    texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor, temperature: float
) -> Tensor:
    """(T, V, D) frames weighted by the softmax of text . frame / temperature, unnormalised."""
    scores_TVF = torch.einsum("td,vfd->tvf", texts_TD, frames_VFD) / temperature
    weights_TVF = masked_softmax(scores_TVF, keep_VF)
    pooled_TVD: Tensor = torch.einsum("tvf,vfd->tvd", weights_TVF, frames_VFD)
    return pooled_TVD


class Emcl(Head):
    """EM over the stacked rows of all pairs and texts. Jin et al., EMCL-Net, NeurIPS 2022.

    Args:
        config: settings.
        width: D.
        frames: F.
        bases_C: (C,) initial bases, instead of a draw.
    """

    name = "emcl"
    Config = EmclConfig
    query_dependent = True
    transductive = True

    bases: Tensor

    def __init__(
        self,
        config: EmclConfig | None = None,
        *,
        width: int,
        frames: int,
        bases_C: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config or EmclConfig()
        self.encoder = SequenceEncoder(self.config.sequence, width, frames)
        first = self.config.em.first_bases(self.config.em.bases) if bases_C is None else bases_C
        # Saved with the weights: without it, nobody could repeat a checkpoint's scores.
        self.register_buffer("bases", first.clone())

    def start_from(self, backbone: Any) -> bool:
        """See `SequenceEncoder.start_from`."""
        return self.encoder.start_from(backbone)

    def rows(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Iterator[Tensor]:
        """The cosines after one EM for each text, over its V pooled rows and itself.

        `frames_VFD` must be the whole gallery, in the order of its ids. Memory is about
        block * V * D numbers, so that `block` counts texts here. See `Head.rows`.
        """
        with full_precision(frames_VFD):
            frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
            texts_TD = checked_texts(texts_TD, frames_VFD)
            frames_VFD = self.encoder.whole_gallery(frames_VFD, keep_VF)
        for r in blocks(len(texts_TD), block):
            with full_precision(frames_VFD):
                pooled_TVD = self._pool(texts_TD[r], frames_VFD, keep_VF)
                rows_TRD = torch.cat([pooled_TVD, texts_TD[r, None]], 1)
                rows_TRD, _ = self._refine(rows_TRD, here)
                scores_TV = cosine_to_pooled(rows_TRD[:, -1], rows_TRD[:, :-1])
            yield scores_TV

    def training_terms(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        own_T: Tensor | None = None,
        reduce: Reduce = here,
    ) -> TrainingTerms:
        """Cosines after one EM over the rows of all pairs and all texts of the batch.

        In training mode the kept bases move: m <- momentum m + (1 - momentum) * mean of M.

        Args:
            texts_TD: as of `Head.training_terms`.
            frames_VFD: likewise.
            keep_VF: likewise.
            own_T: not used.
            reduce: `em.over_ranks`, if each rank gives only its own texts, with the videos of
                all ranks; as it is, if this rank has the whole batch.
        """
        with full_precision(frames_VFD):
            frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
            texts_TD = checked_texts(texts_TD, frames_VFD)
            pooled_TVD = self._pool(texts_TD, self.encoder(frames_VFD, keep_VF), keep_VF)
            rows_RD = torch.cat([pooled_TVD.flatten(0, 1), texts_TD])
            rows_RD, m_RC = self._refine(rows_RD, reduce)
            if self.training:
                momentum = self.config.em.momentum
                moved_C = mean_over_rows(m_RC, reduce)
                self.bases.mul_(momentum).add_(moved_C, alpha=1 - momentum)
            texts = len(texts_TD)
            return TrainingTerms(
                cosine_to_pooled(rows_RD[-texts:], rows_RD[:-texts].reshape(pooled_TVD.shape))
            )

    def _pool(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        return pool_for_texts(texts_TD, frames_VFD, keep_VF, self.config.temperature)

    def _refine(self, rows_BRD: Tensor, reduce: Reduce) -> tuple[Tensor, Tensor]:
        """X + beta M Z^T, and M; the gradient with respect to X is the identity."""
        em = self.config.em
        m_BRC, z_BDC = em_channels(
            rows_BRD,
            self.bases,
            iterations=em.iterations,
            temperature=em.temperature,
            reduce=reduce,
        )
        return rows_BRD + em.beta * (m_BRC @ z_BDC.mT), m_BRC
