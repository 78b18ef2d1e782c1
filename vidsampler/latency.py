"""How long embedding a video takes on this machine: kept frames alone, beside all of them.

Fewer multiply-adds are not always less time. Weights are random: time does not depend on them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.backbones.precision import Computed, has_bf16
from vidsampler.retriever import Retriever
from vidsampler.retriever_config import RetrieverConfig, SamplerConfig


@dataclass(frozen=True)
class Latency:
    """Milliseconds a video, medians.

    Attributes:
        device: Such as `cpu (2 threads)`.
        precision: Of the backbone, the quicker one here.
        videos: In a batch.
        repeats: Of each measurement, kept frames and all frames by turns.
        frames, kept: N and K.
        parts_ms: `extractor` (all candidates), `policy` (temporal model and head) and `backbone`
            (kept frames, or all where the policy looks at its features), each alone.
        kept_only_ms: The whole: look at N frames, choose K, encode these.
        all_frames_ms: Encode N frames, no sampler.
    """

    device: str
    precision: str
    videos: int
    repeats: int
    frames: int
    kept: int
    parts_ms: dict[str, float]
    kept_only_ms: float
    all_frames_ms: float

    @property
    def ratio(self) -> float:
        """Time with the sampler over time without it: below 1 where it saves time."""
        return self.kept_only_ms / self.all_frames_ms

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {**asdict(self), "ratio": self.ratio}


def measure(
    config: RetrieverConfig,
    kept: int,
    *,
    videos: int = 4,
    repeats: int = 5,
    backbone: Backbone | None = None,
) -> Latency:
    """Times a retriever that keeps exactly K frames of each video.

    Args:
        config: Its settings. A `gate` is timed as `topk`: one output less of the same network,
            and exactly K frames.
        kept: K, from 1 to N.
        videos: In a batch.
        repeats: Of each measurement.
        backbone: With weights in the precision to time; None: built, in the quicker precision.
    """
    if backbone is None:
        backbone = quick_backbone(config.backbone, default_device())
    device = backbone.logit_scale.device
    chooses, everything = with_k(config, kept, backbone), with_k(config, None, backbone)
    size = backbone.pixel_input.height
    frames = random_frames(videos, config.frames, size, device)
    valid = torch.ones(frames.shape[:2], dtype=torch.bool, device=device)
    chosen = frames[:, :kept].flatten(0, 1)
    parts: dict[str, Callable[[], Any]] = {
        "backbone": lambda: backbone.encode_frames(chooses.pixels(chosen)),
    }
    sampler = chooses.sampler
    if sampler is not None:
        if sampler.extractor is None:
            # The policy looks at the features of all candidates.
            chosen = frames.flatten(0, 1)
            features = torch.zeros(*valid.shape, backbone.width, device=device)
        else:
            features = sampler.extract(frames, valid)
            parts["extractor"] = lambda: sampler.extract(frames, valid)
        parts["policy"] = lambda: sampler(features, valid)
    calls: dict[str, Callable[[], Any]] = {
        "kept": lambda: chooses.embed_videos(frames, valid, ids=list(map(str, range(videos)))),
        "all": lambda: everything.embed_videos(frames, valid),
        **parts,
    }
    seconds = medians(calls, repeats, device)
    each = {name: 1000 * value / videos for name, value in seconds.items()}
    return Latency(
        device=device_name(device),
        precision=backbone.precision,
        videos=videos,
        repeats=repeats,
        frames=config.frames,
        kept=kept,
        parts_ms={name: each[name] for name in sorted(parts)},
        kept_only_ms=each["kept"],
        all_frames_ms=each["all"],
    )


def with_k(config: RetrieverConfig, k: int | None, backbone: Backbone) -> Retriever:
    """A retriever with random weights that keeps K frames, or all of them without a sampler.

    It shares the backbone; its head is `mean`, since embedding a video does not run it.
    """
    settings = config.sampler
    if k is None:
        sampler = SamplerConfig("uniform")
    elif settings.learned:
        extractor = replace(settings.policy.extractor, pretrained=None)
        policy = replace(settings.policy, extractor=extractor, frames=config.frames)
        sampler = replace(settings, name="topk", k=k, warmup_epochs=0, policy=policy)
    else:
        sampler = replace(settings, k=k)
    small = RetrieverConfig(backbone=backbone.config, sampler=sampler, frames=config.frames)
    retriever = Retriever.with_backbone(small, backbone)
    return retriever.to(backbone.logit_scale.device)


def quick_backbone(config: BackboneConfig, device: torch.device) -> Backbone:
    """The backbone with random weights in fp32 or bf16, whichever encodes frames faster here."""
    found: dict[str, tuple[float, Backbone]] = {}
    # Without instructions for it, bf16 is slower by far, and finding that out takes minutes.
    precisions: tuple[Computed, ...] = ("fp32", "bf16") if has_bf16(device.type) else ("fp32",)
    for precision in precisions:
        backbone = backbone_in(replace(config, precision=precision), device)
        pixels = backbone.pixel_input
        frames = torch.randn(8, 3, pixels.height, pixels.width, device=device)
        call = {"frames": _encoding(backbone, frames)}
        found[precision] = medians(call, 3, device)["frames"], backbone
    return min(found.values(), key=lambda each: each[0])[1]


def backbone_in(config: BackboneConfig, device: torch.device) -> Backbone:
    """The backbone with random weights, held in the precision that it computes in."""
    backbone = load_backbone(replace(config, pretrained="none")).to(device)
    backbone.cast_for_inference()
    return backbone


def medians(
    calls: dict[str, Callable[[], Any]], repeats: int, device: torch.device
) -> dict[str, float]:
    """Median seconds of each call; they take turns, so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for call in calls.values():
            call()
        for _ in range(repeats):
            for name, call in calls.items():
                _finish(device)
                begun = time.perf_counter()
                call()
                _finish(device)
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) for name, each in seconds.items()}


def random_frames(videos: int, frames: int, size: int, device: torch.device) -> Tensor:
    """(B, N, 3, S, S) uint8 in the order of memory that the loader gives: colours last."""
    generator = torch.Generator().manual_seed(0)
    shape = (videos, frames, size, size, 3)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return pictures.to(device).permute(0, 1, 4, 2, 3)


def default_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Such as `cpu (2 threads)` or the name of a graphics card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)"


def _encoding(backbone: Backbone, frames: Tensor) -> Callable[[], Tensor]:
    return lambda: backbone.encode_frames(frames)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
