"""What tests of the learned samplers share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidsampler.samplers.kept import Kept
from vidsampler.samplers.policy_config import ExtractorConfig, PolicyConfig

WIDTH = 6
"""Numbers a frame of the random features below."""


def tiny_policy(**settings: Any) -> PolicyConfig:
    """A small policy network on features that are given (`clip` builds no extractor)."""
    defaults: dict[str, Any] = {"width": 8, "heads": 2, "hidden": 10, "frames": 7}
    return PolicyConfig(extractor=ExtractorConfig("clip"), **{**defaults, **settings})


def videos(count: int = 5, frames: int = 7, seed: int = 0) -> Tensor:
    """(count, frames, WIDTH) float64 random features."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, frames, WIDTH, dtype=torch.float64, generator=generator)


def lengths(*counts: int, frames: int = 7) -> Tensor:
    """(B, frames) bool: so many real candidates of each video."""
    return torch.arange(frames) < torch.tensor(counts)[:, None]


def chosen(kept: Kept) -> list[list[int]]:
    """The kept candidates of each video."""
    pairs = zip(kept.indices_BK.tolist(), kept.mask_BK.tolist(), strict=True)
    return [[i for i, used in zip(*pair, strict=True) if used] for pair in pairs]
