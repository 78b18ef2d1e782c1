"""Time and multiply-adds that a sampler saves when a video is embedded.

    python benchmarks/savings.py [--quick] [--repeats 5] [--json FILE]

A video of N candidate frames passes an extractor, the policy network and, with K of its frames,
ViT-B/32. Beside it stand all N frames through ViT-B/32 without an extractor, in the same precision
and at the batch size at which that is fastest; the two take turns. Weights are random, because
time does not depend on them. N = 16 and 32; K = N, 3N/4, N/2 and N/4; every extractor, `small` at
112 pixels. Medians. Runs on a GPU where there is one, else on the CPU; bf16 where it is the
quicker one. Multiply-adds are counted (`vidsampler flops`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone
from vidsampler.flops import flops
from vidsampler.latency import (
    default_device,
    device_name,
    measure,
    medians,
    quick_backbone,
    random_frames,
    with_k,
)
from vidsampler.retriever_config import RetrieverConfig, SamplerConfig
from vidsampler.samplers.policy_config import EXTRACTORS, ExtractorConfig, PolicyConfig

FRAMES = (16, 32)
SHARES = (1.0, 0.75, 0.5, 0.25)
BATCHES = (1, 2, 4, 8)
"""Videos in a batch, of which the best for all frames is taken."""
GOAL = 0.65
"""Of the time of all frames, on a CPU with `small` at K = N/2."""


@dataclass(frozen=True)
class Cell:
    """One row of the table; times in milliseconds a video."""

    extractor: str
    frames: int
    kept: int
    videos: int
    all_gmacs: float
    gmacs: float
    all_ms: float
    ms: float
    extractor_ms: float
    policy_ms: float
    backbone_ms: float

    @property
    def macs_ratio(self) -> float:
        return self.gmacs / self.all_gmacs

    @property
    def time_ratio(self) -> float:
        return self.ms / self.all_ms


def config_of(extractor: str, frames: int, backbone: BackboneConfig) -> RetrieverConfig:
    """A retriever that looks through an extractor; K is set where it is timed."""
    policy = PolicyConfig(ExtractorConfig(extractor, pretrained=None), frames=frames)
    sampler = SamplerConfig("topk", k=1, policy=policy)
    return RetrieverConfig(backbone, sampler, frames=frames)


def best_batch(frames: int, backbone: Backbone, repeats: int, batches: tuple[int, ...]) -> int:
    """The fewest videos at which encoding all their frames is as quick as it gets, within 3%."""
    device = backbone.logit_scale.device
    everything = with_k(config_of("raw", frames, backbone.config), None, backbone)
    seconds = {}
    for videos in batches:
        pictures = random_frames(videos, frames, backbone.pixel_input.height, device)
        call = {"all": lambda pictures=pictures: everything.embed_videos(pictures)}
        seconds[videos] = medians(call, repeats, device)["all"] / videos
        print(f"all {frames} frames, {videos} videos a batch: {1000 * seconds[videos]:.1f} ms each")
    least = min(seconds.values())
    return next(videos for videos in batches if seconds[videos] <= 1.03 * least)


def cell(
    extractor: str, frames: int, kept: int, videos: int, repeats: int, backbone: Backbone
) -> Cell:
    config = config_of(extractor, frames, backbone.config)
    counted = flops(config, kept=kept)
    timed = measure(config, kept, videos=videos, repeats=repeats, backbone=backbone)
    return Cell(
        extractor=extractor,
        frames=frames,
        kept=kept,
        videos=videos,
        all_gmacs=frames * counted.backbone,
        gmacs=counted.per_video,
        all_ms=timed.all_frames_ms,
        ms=timed.kept_only_ms,
        extractor_ms=timed.parts_ms["extractor"],
        policy_ms=timed.parts_ms["policy"],
        backbone_ms=timed.parts_ms["backbone"],
    )


def show(each: Cell) -> None:
    """One line: what is saved is a share of the work, or time, without a sampler."""
    remark = ""
    if each.macs_ratio < 1 <= each.time_ratio:
        remark = "  fewer MACs, not less time"
    print(
        f"{each.extractor:<19}{each.frames:>3}{each.kept:>4}{each.videos:>4}"
        f"{each.all_gmacs:>8.1f}{each.gmacs:>8.1f}{1 - each.macs_ratio:>+8.0%}"
        f"{each.all_ms:>9.1f}{each.ms:>9.1f}{1 - each.time_ratio:>+8.0%}"
        f"{each.extractor_ms:>9.1f}{each.policy_ms:>8.1f}{each.backbone_ms:>9.1f}{remark}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one cell: small, 8 of 16 frames")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--extractors", nargs="*", help="some of them", metavar="NAME")
    parser.add_argument("--frames", nargs="*", type=int, default=FRAMES, metavar="N")
    parser.add_argument("--backbone", default="ViT-B-32-quickgelu")
    parser.add_argument("--json", type=Path, help="write the cells there")
    options = parser.parse_args()
    device = default_device()
    backbone = quick_backbone(BackboneConfig(options.backbone), device)
    precision = backbone.precision
    print(f"{options.backbone} on {device_name(device)}, {precision}: the quicker of fp32 and bf16")
    every = options.extractors or [name for name in EXTRACTORS if name != "clip"]
    names = ["small"] if options.quick else every
    counts = FRAMES[:1] if options.quick else options.frames
    shares = (0.5,) if options.quick else SHARES
    repeats = min(3, options.repeats) if options.quick else options.repeats
    batches = BATCHES[:1] if options.quick else BATCHES
    best = {frames: best_batch(frames, backbone, repeats, batches) for frames in counts}
    print(
        f"\n{'extractor':<19}{'N':>3}{'K':>4}{'B':>4}{'GMACs':>8}{'GMACs':>8}{'saved':>8}"
        f"{'ms':>9}{'ms':>9}{'saved':>8}{'extract':>9}{'policy':>8}{'ViT':>9}\n"
        f"{'':<30}{'all':>8}{'kept':>8}{'MACs':>8}{'all':>9}{'kept':>9}{'time':>8}"
        f"{'N':>9}{'N':>8}{'K':>9}"
    )
    cells = []
    for name in names:
        for frames in counts:
            for share in shares:
                made = cell(name, frames, int(frames * share), best[frames], repeats, backbone)
                show(made)
                cells.append(made)
    slower = [each for each in cells if each.macs_ratio < 1 <= each.time_ratio]
    print(f"\n{len(slower)} of {len(cells)} cells have fewer MACs and take no less time")
    for each in cells:
        if each.extractor == "small" and 2 * each.kept == each.frames and device.type == "cpu":
            met = "met" if each.time_ratio <= GOAL else "missed"
            print(
                f"small, {each.kept} of {each.frames}: {each.time_ratio:.2f} of the time of all "
                f"frames; the goal of {GOAL} is {met}"
            )
    if options.json:
        facts = {"device": device_name(device), "precision": precision}
        options.json.write_text(
            json.dumps({**facts, "cells": [asdict(each) for each in cells]}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
