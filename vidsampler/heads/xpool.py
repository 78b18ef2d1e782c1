"""`xpool`: the text says which frames count (X-Pool's text-conditioned pooling)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidsampler.errors import ConfigError, UsageError
from vidsampler.heads.base import PairHead, cosine_to_pooled, masked_softmax


@dataclass(frozen=True)
class PoolingConfig:
    """Settings of text-conditioned pooling.

    Attributes:
        heads: attention heads, a divisor of the joint width.
        dropout: 0 to 1; the papers use 0.3, and 0.4 for MSRVTT-7k, MSVD and DiDeMo.
    """

    heads: int = 1
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ConfigError(f"heads must be at least 1, not {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be from 0 to below 1, not {self.dropout:g}")


class TextPooling(nn.Module):
    """Attention from a text to the frames, without a residual round it (X-Pool).

    All linears start as the identity, so that pooling starts as attention on the plain features.
    1,316,352 parameters at D = 512.
    """

    def __init__(self, config: PoolingConfig, width: int) -> None:
        super().__init__()
        if width % config.heads:
            raise UsageError(f"{config.heads} pooling heads do not divide the width {width}")
        self.heads = config.heads
        self.q_proj = _identity(width)
        self.k_proj = _identity(width)
        self.v_proj = _identity(width)
        self.out_proj = _identity(width)
        self.linear_proj = _identity(width)
        self.layer_norm1 = nn.LayerNorm(width)
        self.layer_norm2 = nn.LayerNorm(width)
        self.layer_norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(T, V, D) each video as each text sees it; features are not normalised."""
        split = (self.heads, -1)
        texts_TD, frames_VFD = self.layer_norm1(texts_TD), self.layer_norm1(frames_VFD)
        query_THE = self.q_proj(texts_TD).unflatten(-1, split)
        key_VFHE = self.k_proj(frames_VFD).unflatten(-1, split)
        value_VFHE = self.v_proj(frames_VFD).unflatten(-1, split)
        scores_TVHF = torch.einsum("the,vfhe->tvhf", query_THE, key_VFHE)
        scores_TVHF = scores_TVHF / math.sqrt(query_THE.shape[-1])
        weights_TVHF = masked_softmax(scores_TVHF, keep_VF[:, None])
        mixed_TVHE = torch.einsum("tvhf,vfhe->tvhe", weights_TVHF, value_VFHE)
        y_TVD = self.layer_norm2(self.out_proj(mixed_TVHE.flatten(-2)))
        out: Tensor = self.layer_norm3(y_TVD + self.dropout(self.linear_proj(y_TVD)))
        return out


class XPool(PairHead):
    """cos(text, the video pooled for that text). Gorti et al., X-Pool, CVPR 2022."""

    name = "xpool"
    Config = PoolingConfig

    def __init__(self, config: PoolingConfig | None = None, *, width: int, frames: int) -> None:
        super().__init__()
        self.pool_frames = TextPooling(config or PoolingConfig(), width)

    def pair_scores(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """See `PairHead.pair_scores`."""
        return cosine_to_pooled(texts_TD, self.pool_frames(texts_TD, frames_VFD, keep_VF))


def _identity(width: int) -> nn.Linear:
    linear = nn.Linear(width, width)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
