"""`tmass`: a text is a ball, not a point (T-MASS's stochastic text), on text-conditioned pooling.

The radius of a text's ball depends on the video: log R = W S + b, S the cosines of the text with
the frames. Training draws one point in each ball; inference takes the best of M points that are
drawn once for each text and shared by all videos, so that nothing of the pairing can leak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vidsampler.errors import ConfigError, UsageError
from vidsampler.heads.base import (
    Gallery,
    PairHead,
    TrainingTerms,
    blocks,
    checked_frames,
    checked_texts,
    cosine_to_pooled,
    full_precision,
    own_columns,
    unit,
)
from vidsampler.heads.noise import normal_noise, uniform_noise
from vidsampler.heads.xpool import PoolingConfig, TextPooling

_CACHED_PAIRS = 2048
"""Pairs of a text and a video that are scored at once."""


@dataclass(frozen=True)
class TMassConfig:
    """Settings of stochastic text.

    Attributes:
        radius: `none` (R = 1), `exp-mean` (exp of the mean cosine), `exp-theta-mean` (the same
            with a learned factor) or `linear` (exp of a linear map of the F cosines).
        noise: `uniform` in [0, 1), as published, or `normal` with mean 0.
        std: standard deviation of normal noise (published: 1; LSMDC 0.003).
        trials: M, points for each text at inference.
        seed: of the points at inference.
        support_weight: of the support-text loss; 0 leaves it out (published: 0.8 on MSRVTT).
        pooling: of the frames by the text.
    """

    radius: Literal["none", "exp-mean", "exp-theta-mean", "linear"] = "linear"
    noise: Literal["uniform", "normal"] = "uniform"
    std: float = 1.0
    trials: int = 20
    seed: int = 0
    support_weight: float = 0.8
    pooling: PoolingConfig = field(default_factory=PoolingConfig)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(f"trials must be at least 1, not {self.trials}")
        for name, value in (
            ("std", self.std),
            ("seed", self.seed),
            ("support_weight", self.support_weight),
        ):
            if value < 0:
                raise ConfigError(f"{name} must not be below 0, not {value:g}")


class Radius(nn.Module):
    """R of the ball of a text beside a video, for each channel."""

    def __init__(self, variant: str, width: int, frames: int) -> None:
        super().__init__()
        self.variant = variant
        self.frames = frames
        self.width = width
        if variant == "linear":
            self.linear_proj = nn.Linear(frames, width)
            nn.init.eye_(self.linear_proj.weight)
            nn.init.zeros_(self.linear_proj.bias)
        elif variant == "exp-theta-mean":
            self.theta = nn.Parameter(torch.ones(()))

    def forward(self, cosines_XF: Tensor, keep_XF: Tensor) -> Tensor:
        """(..., D) radii from (..., F) cosines; skipped frames count as 0 or not at all.

        Raises:
            UsageError: The linear map was made for another number of frames.
        """
        kept_XF = cosines_XF * keep_XF
        if self.variant == "linear":
            if cosines_XF.shape[-1] != self.frames:
                raise UsageError(
                    f"the tmass head was made for {self.frames} frames and got "
                    f"{cosines_XF.shape[-1]}: its radius has one weight a frame",
                    hint=f"keep {self.frames} frames, or train it with {cosines_XF.shape[-1]}",
                )
            log_XD: Tensor = self.linear_proj(kept_XF)
            return log_XD.exp()
        if self.variant == "none":
            return kept_XF.new_ones((*kept_XF.shape[:-1], self.width))
        mean_X1 = kept_XF.sum(-1, keepdim=True) / keep_XF.sum(-1, keepdim=True)
        factor = self.theta if self.variant == "exp-theta-mean" else 1.0
        return (factor * mean_X1).exp().expand(*kept_XF.shape[:-1], self.width)


class TMass(PairHead):
    """Stochastic text on text-conditioned pooling. Wang et al., T-MASS, CVPR 2024."""

    name = "tmass"
    Config = TMassConfig

    def __init__(self, config: TMassConfig | None = None, *, width: int, frames: int) -> None:
        super().__init__()
        self.config = config or TMassConfig()
        self.width = width
        self.pool_frames = TextPooling(self.config.pooling, width)
        self.radius = Radius(self.config.radius, width, frames)

    # ---------------------------------------------------------------- inference

    def index(self, frames_VFD: Tensor, keep_VF: Tensor) -> Gallery:
        """See `PairHead.index`: frames of length 1, and what pooling needs."""
        return unit(frames_VFD), *self.pool_frames.index(frames_VFD, keep_VF)

    def scorer(self, texts_TD: Tensor, ids_T: Tensor | None, first: int) -> Callable[..., Tensor]:
        """See `PairHead.scorer`; the points of the block's texts are drawn here, once.

        With p of length 1 and t_s = t + eps R: t_s.p = t.p + eps.(R p) and |t_s|^2 = |t|^2 +
        R.(2 eps t) + R^2.eps^2 (products of D channels), so that no (T, V, M, D) tensor is made.
        """
        ids = range(first, first + len(texts_TD)) if ids_T is None else ids_T.tolist()
        eps_TDM = self.points(ids, texts_TD).mT.contiguous()
        mixed_TDM, squared_TDM = 2 * eps_TDM * texts_TD[..., None], eps_TDM.square()
        lengths_T11 = texts_TD.square().sum(-1)[:, None, None]
        query_TD, units_DT = self.pool_frames.query(texts_TD), unit(texts_TD).T

        def score(
            frames_VFD: Tensor,
            keys_VFD: Tensor,
            keep_VF: Tensor,
            rows_VRD: Tensor,
            *products: Tensor,
        ) -> Tensor:
            cosines_VTF = (frames_VFD @ units_DT).mT
            radius_VTD = self.radius(cosines_VTF, keep_VF[:, None].expand_as(cosines_VTF))
            weights_VRT = self.pool_frames.directions(query_TD, keys_VFD, keep_VF, *products)
            radius_TVD = radius_VTD.transpose(0, 1)
            pooled_TVD = (weights_VRT.mT @ rows_VRD).transpose(0, 1)
            dots_TVM = pooled_TVD @ texts_TD[..., None] + (radius_TVD * pooled_TVD) @ eps_TDM
            squares_TVM = radius_TVD @ mixed_TDM + radius_TVD.square() @ squared_TDM + lengths_T11
            best_TV: Tensor = (dots_TVM / squares_TVM.clamp_min(1e-24).sqrt()).amax(-1)
            return best_TV

        def score_parts(*gallery: Tensor) -> Tensor:
            # Radius and pooled video of a part are to stay in the processor's cache.
            parts = blocks(len(gallery[0]), max(1, _CACHED_PAIRS // max(1, len(texts_TD))))
            return torch.cat([score(*(each[v] for each in gallery)) for v in parts], 1)

        return score_parts

    def points(self, ids: range | list[int], like: Tensor) -> Tensor:
        """(T, M, D) the noise of some texts, which depends on the seed and their ids alone."""
        shape = (len(ids), self.config.trials, self.width)
        draw = uniform_noise if self.config.noise == "uniform" else normal_noise
        rows = [draw(self.config.seed, key, shape[1] * shape[2]) for key in ids]
        noise = torch.from_numpy(np.stack(rows)) if rows else torch.empty(0)
        if self.config.noise == "normal":
            noise = noise * self.config.std
        return noise.reshape(shape).to(like.device)

    def pair_scores(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(T, V) max over m of cos(t + eps_m R(t, v), pool(v | t)), with the ids 0 ... T-1."""
        noise_TMD = self.points(range(len(texts_TD)), texts_TD)
        pooled_TVD = self.pool_frames(texts_TD, frames_VFD, keep_VF)
        radius_TVD = self._radius_of_pairs(texts_TD, frames_VFD, keep_VF)
        points_TVMD = texts_TD[:, None, None] + noise_TMD[:, None] * radius_TVD[:, :, None]
        best_TV: Tensor = torch.einsum("tvmd,tvd->tvm", unit(points_TVMD), unit(pooled_TVD)).amax(
            -1
        )
        return best_TV

    def _radius_of_pairs(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        cosines_TVF = torch.einsum("td,vfd->tvf", unit(texts_TD), unit(frames_VFD))
        radius_TVD: Tensor = self.radius(cosines_TVF, keep_VF.expand_as(cosines_TVF))
        return radius_TVD

    # ---------------------------------------------------------------- training

    def training_terms(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        own_T: Tensor | None = None,
        noise_TD: Tensor | None = None,
    ) -> TrainingTerms:
        """Cosines of one random point of each text, and of its support text.

        The point is t_i + eps_i R_i, with R_i from text i and its own video; frames are pooled
        with the plain text. The support text is t_i + d_i R_i, d_i the direction from t_i to its
        video as the whole batch sees it. Nothing is detached.

        Args:
            texts_TD: as of `Head.training_terms`.
            frames_VFD: likewise.
            keep_VF: likewise.
            own_T: likewise.
            noise_TD: (T, D) eps, instead of a draw.
        """
        with full_precision(frames_VFD):
            frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
            texts_TD = checked_texts(texts_TD, frames_VFD)
            own_T = own_columns(own_T, len(texts_TD), frames_VFD)
            pooled_TVD = self.pool_frames(texts_TD, frames_VFD, keep_VF)
            cosines_TF = torch.einsum("td,tfd->tf", unit(texts_TD), unit(frames_VFD)[own_T])
            radius_TD = self.radius(cosines_TF, keep_VF[own_T])
            if noise_TD is None:
                noise_TD = self._draw(texts_TD)
            similarity_TV = cosine_to_pooled(texts_TD + noise_TD * radius_TD, pooled_TVD)
            if self.config.support_weight == 0:
                return TrainingTerms(similarity_TV)
            towards_TD = unit(pooled_TVD.mean(0)[own_T] - texts_TD)
            support_TV = cosine_to_pooled(texts_TD + towards_TD * radius_TD, pooled_TVD)
            return TrainingTerms(similarity_TV, support_TV, self.config.support_weight)

    def _draw(self, like_TD: Tensor) -> Tensor:
        if self.config.noise == "uniform":
            return torch.rand_like(like_TD)
        return torch.randn_like(like_TD) * self.config.std
