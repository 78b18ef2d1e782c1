"""Videos a second in training, beside the published way: encode every frame, mask afterwards.

    python benchmarks/train.py [--repeats 5] [--json FILE]
    python benchmarks/train.py --device cpu --backbone tiny --cases 4/2/4   # does it run?

A step is the project's own: AdaCLIP on random frames of MSR-VTT's shape, captions of its length;
losses, gradients, clipping, AdamW; bf16 autocast over fp32 weights; decoding is left out. `kept`
encodes the K kept frames with gradient and the others, whose numbers the straight-through gradient
needs, without. With `--extractor clip` the policy looks at the backbone's own features: `kept`
encodes all N without gradient, then the K with, where K is less than two thirds of N. `all` encodes
all N with gradient and multiplies by the selection, as mmSampler and AdaCLIP were released. Both
give the same gradients (`tests/benchmarks/test_train.py`). The two take turns.

`of peak`: multiply-adds that a way needs (counted; three times the forward pass where there is a
gradient), two FLOPs each, over the seconds and the peak of the device: its data sheet's where it is
known (dense bf16), else that of a large matrix product here and now. Memory: the most that was
allocated on the GPU, weights and optimiser included; a CPU has no such counter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidsampler.config import Layer
from vidsampler.flops import flops
from vidsampler.latency import default_device, device_name, random_frames
from vidsampler.loading.batch import Batch
from vidsampler.retriever import Retriever
from vidsampler.samplers.candidates import checked_candidates
from vidsampler.samplers.kept import Kept
from vidsampler.training.settings import TrainConfig, train_config
from vidsampler.training.step import Stepper
from vidsampler.world import World

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bf16 FLOPs a second, of the makers' data sheets."""
CASES = ("16/12/128", "64/32/48")
"""N, K and videos a batch: AdaCLIP's MSR-VTT with its batch for two thirds, and ActivityNet."""


@dataclass(frozen=True)
class Case:
    """N candidates, K kept frames, B videos a batch."""

    frames: int
    kept: int
    videos: int


@dataclass(frozen=True)
class Row:
    """What a way came to; memory in GiB, None on a CPU."""

    way: str
    frames: int
    kept: int
    videos: int
    seconds: float
    videos_per_second: float
    of_peak: float
    memory: float | None


class EncodesAll(Retriever):
    """Every candidate passes the image tower with gradient, and is selected afterwards."""

    def encode_kept(
        self,
        frames_BNCHW: Tensor,
        valid_BN: Tensor | None,
        times_BN: Tensor | None,
        ids: Sequence[str] | None,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        encoded_BND: Tensor | None = None,
    ) -> tuple[Kept, Tensor, Tensor]:
        """As of `Retriever`, for `topk` in training."""
        valid_BN = checked_candidates(frames_BNCHW, valid_BN, self.config.frames)
        all_BND = self.encode_candidates(frames_BNCHW, valid_BN)
        if self.sampler is not None and self.sampler.extractor is None:
            return super().encode_kept(
                frames_BNCHW,
                valid_BN,
                times_BN,
                ids,
                noise=noise,
                generator=generator,
                encoded_BND=all_BND,
            )
        kept = self.choose(frames_BNCHW, valid_BN, times_BN, ids, noise=noise, generator=generator)
        assert kept.selection_BKN is not None
        features_BKD = kept.selection_BKN @ all_BND
        return kept, features_BKD, kept.mask_BK.to(features_BKD.dtype)


def config_of(case: Case, backbone: str, precision: str, extractor: str) -> TrainConfig:
    """AdaCLIP with random weights: time does not depend on them."""
    policy = {"extractor": {"name": extractor, "pretrained": None, "freeze": True}}
    values = {
        "backbone": {"name": backbone, "pretrained": "none", "precision": precision},
        "frames": case.frames,
        "sampler": {"k": case.kept, "policy": policy},
        "training": {"batch_size": case.videos},
    }
    return train_config([Layer("{key}", values)], method="adaclip", dataset="msrvtt")


def batch_of(retriever: Retriever, case: Case, size: int, device: torch.device) -> Batch:
    """Random frames, and captions of ten words."""
    captions = [f"video number {i} shows a man who talks to his dog" for i in range(case.videos)]
    shape = (case.videos, case.frames)
    numbers = torch.arange(case.videos, device=device)
    return Batch(
        frames_BNCHW=random_frames(case.videos, case.frames, size, device),
        valid_BN=torch.ones(shape, dtype=torch.bool, device=device),
        times_BN=torch.zeros(shape, device=device),
        tokens_BL=retriever.backbone.tokenize(captions).ids_TL.to(device),
        keys=[str(i) for i in range(case.videos)],
        videos_B=numbers,
        captions_B=numbers,
        wordings_B=numbers,
        epoch=0,
        step=0,
    )


def needed(config: TrainConfig, way: str) -> float:
    """FLOPs of a step for each video: three times the forward pass where there is a gradient."""
    counted = flops(config, kept=config.sampler.k)
    kept, frames = counted.kept, counted.frames
    clip = config.sampler.policy.extractor.name == "clip"
    image = 3 * frames
    if way == "kept":
        image = min(image, 3 * kept + (frames if clip else frames - kept))
    policy = frames * (counted.extractor + 3 * (counted.temporal + counted.policy_head))
    return 2e9 * (image * counted.backbone + policy + 3 * counted.text)


def matrix_peak(device: torch.device, precision: str) -> float:
    """FLOPs a second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        finish(device)
        begun = time.perf_counter()
        one @ other
        finish(device)
        seconds.append(time.perf_counter() - begun)
    return float(2 * size**3 / min(seconds))


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Way:
    """One of the two, ready to take steps."""

    def __init__(self, name: str, config: TrainConfig, device: torch.device) -> None:
        self.name = name
        self.config = config
        self.device = device
        kind = EncodesAll if name == "all" else Retriever
        retriever = kind.from_config(config).to(device)
        world = World(0, 1, device)
        self.stepper = Stepper(retriever, config.training, world, 1000, seed=0)
        self.retriever = retriever

    def steps(self, batch: Batch, count: int) -> list[float]:
        """Seconds of each of some steps."""
        seconds = []
        for number in range(count):
            finish(self.device)
            begun = time.perf_counter()
            self.stepper.step(batch, 100 + number)
            finish(self.device)
            seconds.append(time.perf_counter() - begun)
        return seconds


def run(
    case: Case, backbone: str, precision: str, extractor: str, device: torch.device, repeats: int
) -> tuple[list[Row], TrainConfig]:
    """Both ways by turns; memory from a first step of each alone."""
    config = config_of(case, backbone, precision, extractor)
    size = Retriever.from_config(config).pixels.size
    seconds: dict[str, list[float]] = {"kept": [], "all": []}
    memory: dict[str, float | None] = {"kept": None, "all": None}
    for name in memory:
        way = Way(name, config, device)
        batch = batch_of(way.retriever, case, size, device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        way.steps(batch, 2)  # the optimiser has its moments now
        if device.type == "cuda":
            memory[name] = torch.cuda.max_memory_allocated(device) / 2**30
        del way, batch
    ways = {name: Way(name, config, device) for name in memory}
    batch = batch_of(ways["kept"].retriever, case, size, device)
    for way in ways.values():
        way.steps(batch, 2)
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name] += way.steps(batch, 3)
    rows = []
    for name in memory:
        took = statistics.median(seconds[name])
        rate = case.videos / took
        work = needed(config, name) * rate
        what = name, case.frames, case.kept, case.videos
        rows.append(Row(*what, took, rate, work, memory[name]))
    return rows, config


def main(words: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", nargs="*", default=CASES, metavar="N/K/B")
    parser.add_argument("--backbone", default="ViT-B-32-quickgelu")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--extractor", default="mobilenet_v3_large")
    parser.add_argument("--device", default=default_device().type)
    parser.add_argument("--repeats", type=int, default=5, help="turns of three steps")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args(words)
    device = torch.device(options.device)
    name = device_name(device)
    measured = matrix_peak(device, options.precision)
    sheet = next((peak for chip, peak in PEAKS.items() if chip in name), None)
    peak = measured if sheet is None or options.precision != "bf16" else sheet
    source = "data sheet" if peak == sheet else "matrix product"
    print(f"{options.backbone}, {options.precision}, {name}, torch {torch.__version__}")
    print(
        f"peak {peak / 1e12:.3g} TFLOP/s ({source}); a matrix product reaches {measured / 1e12:.3g}"
    )
    heads = f"{'N':>4}{'K':>4}{'B':>5}  {'way':<6}"
    print(f"{heads}{'ms a step':>10}{'videos/s':>10}{'of peak':>9}{'GiB':>8}")
    found: list[Row] = []
    for text in options.cases:
        case = Case(*(int(number) for number in text.split("/")))
        rows, _ = run(
            case, options.backbone, options.precision, options.extractor, device, options.repeats
        )
        for row in rows:
            share = row.of_peak / peak
            memory = "-" if row.memory is None else f"{row.memory:.1f}"
            line = f"{row.frames:>4}{row.kept:>4}{row.videos:>5}  {row.way:<6}"
            line += f"{1000 * row.seconds:>10.1f}{row.videos_per_second:>10.1f}"
            print(f"{line}{share:>9.1%}{memory:>8}", flush=True)
            found.append(Row(**{**asdict(row), "of_peak": share}))
        ratio = rows[0].videos_per_second / rows[1].videos_per_second
        print(f"{'':>15}kept alone: {ratio:.2f} times the videos a second", flush=True)
    if options.json:
        facts: dict[str, Any] = {"device": name, "precision": options.precision}
        facts |= {"peak": peak, "matrix product": measured, "torch": torch.__version__}
        facts["rows"] = [asdict(row) for row in found]
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
