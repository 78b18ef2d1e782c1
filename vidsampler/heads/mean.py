"""`mean`: the mean of the frames (CLIP4Clip's meanP; no parameters)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vidsampler.heads.base import VectorHead, masked_mean


@dataclass(frozen=True)
class MeanConfig:
    """The mean has no settings."""


class Mean(VectorHead):
    """sum of m f / |f| over the sum of m, then length 1 (Luo et al., CLIP4Clip, 2021)."""

    name = "mean"
    Config = MeanConfig

    def __init__(self, config: MeanConfig | None = None, *, width: int, frames: int) -> None:
        super().__init__()

    def pool(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """See `VectorHead.pool`."""
        return masked_mean(frames_VFD, keep_VF)
