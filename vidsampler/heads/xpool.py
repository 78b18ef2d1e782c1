"""`xpool`: the text says which frames count (X-Pool's text-conditioned pooling)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidsampler.errors import ConfigError, UsageError
from vidsampler.heads.base import (
    Gallery,
    PairHead,
    cosine_to_pooled,
    masked_softmax,
    softmax_over_kept,
    squared_lengths,
    unit,
)


@dataclass(frozen=True)
class PoolingConfig:
    """Settings of text-conditioned pooling.

    Attributes:
        heads: attention heads, a divisor of the joint width.
        dropout: 0 to 1; the papers use 0.3, and 0.4 for MSRVTT-7k, MSVD and DiDeMo.
        temperature: scores are divided by it, beside the square root of their channels; above 0.
            The papers have 1. Towers that start from random weights want more: each text else
            looks at one frame before it knows which, and learns its video by heart by that.
    """

    heads: int = 1
    dropout: float = 0.3
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ConfigError(f"heads must be at least 1, not {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be from 0 to below 1, not {self.dropout:g}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {self.temperature:g}")


class TextPooling(nn.Module):
    """Attention from a text to the frames, without a residual round it (X-Pool).

    All linears start as the identity, so that pooling starts as attention on the plain features.
    1,316,352 parameters at D = 512.

    At inference (`index` and `directions`), a pair costs 2 N D multiply-adds in place of
    2 D^2 + 2 N D, N = heads * F: between its layer norms pooling is linear, so that what a text
    sees is a combination of N + 2 rows that the video has once and for all. With weights w_n over
    the rows o_n = Wo u_n (and its bias), c_n these less their mean over channels, s the deviation
    of their sum and r that of what the last layer norm is given:

        y = LN2(sum_n w_n o_n) = g2 (sum_n w_n c_n) / s + b2
        y + Wl y + bl          = sum_n (w_n / s) a_n + a,    a_n = g2 c_n + Wl (g2 c_n)
        r LN3(y + Wl y + bl)   = sum_n (w_n / s) g3 (a_n - mean) + g3 (a - mean) + r b3

    s, r and the length of the last line follow from products of such rows with each other.
    """

    def __init__(self, config: PoolingConfig, width: int) -> None:
        super().__init__()
        if width % config.heads:
            raise UsageError(f"{config.heads} pooling heads do not divide the width {width}")
        self.heads = config.heads
        self.temperature = config.temperature
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
        scores_TVHF = scores_TVHF / (self.temperature * math.sqrt(query_THE.shape[-1]))
        weights_TVHF = masked_softmax(scores_TVHF, keep_VF[:, None])
        mixed_TVHE = torch.einsum("tvhf,vfhe->tvhe", weights_TVHF, value_VFHE)
        y_TVD = self.layer_norm2(self.out_proj(mixed_TVHE.flatten(-2)))
        out: Tensor = self.layer_norm3(y_TVD + self.dropout(self.linear_proj(y_TVD)))
        return out

    def index(self, frames_VFD: Tensor, keep_VF: Tensor) -> Gallery:
        """What `directions` needs of some videos.

        Returns:
            Keys (V, F, D), the mask (V, F), the rows (V, N + 2, D), and products of rows: of c_n
            (V, N, N), of a_n and a (V, N + 1, N + 1), both over D, and of the rows.
        """
        frames_VFD = self.layer_norm1(frames_VFD)
        keys_VFD = self.k_proj(frames_VFD)
        values_VFHE = self.v_proj(frames_VFD).unflatten(-1, (self.heads, -1))
        out_HED = self.out_proj.weight.T.unflatten(0, (self.heads, -1))
        mixed_VHFD = torch.einsum("vfhe,hed->vhfd", values_VFHE, out_HED)
        # The weights of each head add up to 1, those of all to H.
        mixed_VND = (mixed_VHFD + self.out_proj.bias / self.heads).flatten(1, 2)
        mixed_VND = mixed_VND - mixed_VND.mean(-1, keepdim=True)
        scaled_VND = self.layer_norm2.weight * mixed_VND
        change = self.linear_proj.weight.T
        base_D = self.layer_norm2.bias + self.linear_proj(self.layer_norm2.bias)
        rows_VMD = torch.cat(
            [scaled_VND + scaled_VND @ change, base_D.expand(len(frames_VFD), 1, -1)], 1
        )
        rows_VMD = rows_VMD - rows_VMD.mean(-1, keepdim=True)
        last_D = self.layer_norm3.bias
        rows_VRD = torch.cat(
            [self.layer_norm3.weight * rows_VMD, last_D.expand(len(frames_VFD), 1, -1)], 1
        )
        width = frames_VFD.shape[-1]
        return (
            *(keys_VFD, keep_VF, rows_VRD),
            mixed_VND @ mixed_VND.mT / width,
            rows_VMD @ rows_VMD.mT / width,
            rows_VRD @ rows_VRD.mT,
        )

    def query(self, texts_TD: Tensor) -> Tensor:
        """(T, D) what `directions` needs of some texts."""
        query_TD: Tensor = self.q_proj(self.layer_norm1(texts_TD))
        return query_TD / (self.temperature * math.sqrt(query_TD.shape[-1] // self.heads))

    def directions(
        self,
        query_TD: Tensor,
        keys_VFD: Tensor,
        keep_VF: Tensor,
        mixed_VNN: Tensor,
        rows_VMM: Tensor,
        all_VRR: Tensor,
    ) -> Tensor:
        """(V, N + 2, T) how much of each row a text sees of a video; the sum has length 1.

        Args:
            query_TD: of `query`.
            keys_VFD: of `index`, as all that follow.
            keep_VF: likewise.
            mixed_VNN: likewise.
            rows_VMM: likewise.
            all_VRR: likewise.
        """
        split = (self.heads, -1)
        scores_VHFT = torch.einsum(
            "vfhe,the->vhft", keys_VFD.unflatten(-1, split), query_TD.unflatten(-1, split)
        )
        weights_VNT = softmax_over_kept(scores_VHFT, keep_VF[:, None]).flatten(1, 2)
        spread_V1T = squared_lengths(mixed_VNN, weights_VNT) + self.layer_norm2.eps
        weights_VNT = weights_VNT / spread_V1T.sqrt()
        weights_VMT = torch.cat([weights_VNT, torch.ones_like(spread_V1T)], 1)
        last_V1T = (squared_lengths(rows_VMM, weights_VMT) + self.layer_norm3.eps).sqrt()
        weights_VRT = torch.cat([weights_VMT, last_V1T], 1)
        lengths_V1T = squared_lengths(all_VRR, weights_VRT).sqrt()
        return weights_VRT / lengths_V1T.clamp_min(1e-12)


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

    def index(self, frames_VFD: Tensor, keep_VF: Tensor) -> Gallery:
        """See `PairHead.index`."""
        return self.pool_frames.index(frames_VFD, keep_VF)

    def scorer(self, texts_TD: Tensor, ids_T: Tensor | None, first: int) -> Callable[..., Tensor]:
        """See `PairHead.scorer`."""
        query_TD, units_DT = self.pool_frames.query(texts_TD), unit(texts_TD).T

        def score(keys_VFD: Tensor, keep_VF: Tensor, rows_VRD: Tensor, *products: Tensor) -> Tensor:
            weights_VRT = self.pool_frames.directions(query_TD, keys_VFD, keep_VF, *products)
            return (weights_VRT * (rows_VRD @ units_DT)).sum(1).T

        return score


def _identity(width: int) -> nn.Linear:
    linear = nn.Linear(width, width)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
