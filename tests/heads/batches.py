"""Features to try heads on."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vidsampler import registry
from vidsampler.heads.base import Head

WIDTH, FRAMES = 64, 5


class Batch(NamedTuple):
    """T texts, V videos of F slots."""

    texts: Tensor
    frames: Tensor
    keep: Tensor


def batch(texts: int = 4, videos: int = 4, seed: int = 0, width: int = WIDTH) -> Batch:
    """Random features, 3 times as long as a unit vector is; some slots are skipped."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        scaled: Tensor = torch.randn(*shape, width, generator=generator) * (3 / width**0.5)
        return scaled

    keep = (torch.rand(videos, FRAMES, generator=generator) < 0.6).float()
    keep[torch.arange(videos), torch.arange(videos) % FRAMES] = 1.0
    if videos > 1:
        keep[0], keep[1] = 1.0, torch.eye(FRAMES)[2]  # all frames, and a single one
    return Batch(draw(texts), draw(videos, FRAMES), keep)


def make(name: str, config: Any = None, *, width: int = WIDTH, seed: int = 0) -> Head:
    """A registered head with weights from a seed, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head: Head = registry.load("heads", name)(config, width=width, frames=FRAMES)
    return head.eval()
