"""Small retrievers, videos and batches to try them on."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.retriever import Retriever
from vidsampler.retriever_config import HeadConfig, RetrieverConfig, SamplerConfig
from vidsampler.samplers.policy_config import ExtractorConfig, PolicyConfig

FRAMES = 6
SAMPLERS = ("gate", "topk", "uniform", "random", "coverage", "scene")
"""All that a retriever takes."""


@cache
def _tiny() -> Backbone:
    return load_backbone(BackboneConfig("tiny"))


def config_of(
    sampler: str = "uniform",
    head: str = "mean",
    *,
    k: int | None = None,
    frames: int = FRAMES,
    settings: Any = None,
    extractor: str = "raw",
    **others: Any,
) -> RetrieverConfig:
    """The tiny backbone with a small policy network; `topk` keeps 4 where K is not said."""
    policy = PolicyConfig(ExtractorConfig(extractor, pretrained=None), width=16, heads=2, hidden=12)
    if sampler == "topk" and k is None:
        k = 4
    return RetrieverConfig(
        BackboneConfig("tiny"),
        SamplerConfig(sampler, k=k, policy=policy, **others),
        HeadConfig(head, settings),
        frames=frames,
    )


def retriever_of(*args: Any, **settings: Any) -> Retriever:
    """A retriever of its own with `config_of`, in eval mode."""
    return Retriever.with_backbone(config_of(*args, **settings), copy.deepcopy(_tiny()))


def shared_retriever_of(*args: Any, **settings: Any) -> Retriever:
    """The same around a backbone that others use too: not to be changed."""
    return Retriever.with_backbone(config_of(*args, **settings), _tiny())


@dataclass(frozen=True, eq=False)
class Trial:
    """A batch as the loader gives it."""

    frames_BNCHW: Tensor
    valid_BN: Tensor
    times_BN: Tensor
    tokens_BL: Tensor
    keys: list[str]
    videos_B: Tensor
    wordings_B: Tensor
    whole_BN: Tensor | None = None

    def pick(self, items: list[int]) -> Trial:
        """Some of the items, in this order."""
        return Trial(
            self.frames_BNCHW[items],
            self.valid_BN[items],
            self.times_BN[items],
            self.tokens_BL[items],
            [self.keys[i] for i in items],
            self.videos_B[items],
            self.wordings_B[items],
        )


def trial(counts: tuple[int, ...] = (6, 6, 5, 2), size: int = 64, seed: int = 0) -> Trial:
    """Videos of so many frames: patches of colour that differ from frame to frame."""
    generator = torch.Generator().manual_seed(seed)
    videos = len(counts)
    shape = (videos, FRAMES, 3, 8, 8)
    patches = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    frames = patches.repeat_interleave(size // 8, -1).repeat_interleave(size // 8, -2)
    valid = torch.arange(FRAMES) < torch.tensor(counts)[:, None]
    captions = [f"a picture of number {i} in colours" for i in range(videos)]
    return Trial(
        frames * valid[..., None, None, None],
        valid,
        torch.arange(FRAMES, dtype=torch.float64).expand(videos, -1) * 0.5 * valid,
        _tiny().tokenize(captions).ids_TL,
        [f"video{i}" for i in range(videos)],
        torch.arange(videos),
        torch.arange(videos),
    )
