"""How long similarities take, and in how much memory, beside the formulas as they stand.

    python benchmarks/eval.py [--threads 2] [--only NAME]

Random features of 12 frames, D = 512; each case in a process of its own:

- `tmass`: 1,000 texts x 1,000 videos, 20 trials; goal: under 30 s, under 1.5 GB above imports and
  features. Beside it, on a corner of the same matrix and scaled up: the formula in blocks (T-MASS's
  `pair_scores`: project, normalise and compare each pair's pooled video with each trial's text) and
  the straightforward loop over pairs and trials.
- `xpool`: MSVD's size, 27,763 texts x 670 videos, ranks of both directions included; goal: under
  4 GB above imports. Beside it, the formula in blocks on a corner, scaled up.
- `mean`: 10,000 x 10,000, rows streamed into ranks of both directions; goal: under 20 s, under 1 GB
  above imports, features included.

Prints seconds, CPU seconds, peak memory, ratios, and the largest difference of a score from the
formula's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidsampler import registry
from vidsampler.evaluation.ranks import rank_matrix
from vidsampler.evaluation.rows import StreamRows
from vidsampler.heads.base import PairHead, unit
from vidsampler.heads.tmass import TMass

FRAMES, WIDTH = 12, 512
GOALS = {"tmass": (30.0, 1536), "xpool": (None, 4096), "mean": (20.0, 1024)}
"""Seconds and MB."""


def features(texts: int, videos: int) -> tuple[Tensor, Tensor, Tensor]:
    """Texts near to their videos, whose frames are alike, as CLIP's are."""
    generator = torch.Generator().manual_seed(0)
    owners = torch.arange(texts) % videos
    videos_VD = torch.randn(videos, WIDTH, generator=generator)
    frames_VFD = torch.randn(videos, FRAMES, WIDTH, generator=generator)
    frames_VFD.mul_(0.5).add_(videos_VD[:, None]).mul_(10 / WIDTH**0.5)
    texts_TD = torch.randn(texts, WIDTH, generator=generator).mul_(3).add_(videos_VD[owners])
    return texts_TD.mul_(10 / WIDTH**0.5), frames_VFD, owners


def head_of(name: str) -> Any:
    """A head of which no weight is at its published start."""
    torch.manual_seed(0)
    head = registry.load("heads", name)(None, width=WIDTH, frames=FRAMES).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return head


def memory(what: str) -> int:
    """MB of memory of this process: VmRSS, now; VmHWM, at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) // 1024


class Seconds(NamedTuple):
    """How long something took.

    Attributes:
        wall: By the clock.
        cpu: Of all threads together, which a busy machine changes less.
    """

    wall: float
    cpu: float


def timed(run: Callable[[], Any]) -> tuple[Seconds, Any]:
    """Seconds, and what came out."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), found


def formula(head: PairHead, texts_TD: Tensor, frames_VFD: Tensor) -> tuple[Seconds, Tensor]:
    """Seconds and scores of the head's formula: all texts against as many videos at a time."""
    keep_VF = torch.ones(frames_VFD.shape[:2])
    size = len(texts_TD)

    def run() -> Tensor:
        videos = zip(frames_VFD.split(size), keep_VF.split(size), strict=True)
        return torch.cat([head.pair_scores(texts_TD, *each) for each in videos], 1)

    run()
    return timed(run)


def loop(head: TMass, texts_TD: Tensor, frames_VFD: Tensor) -> Tensor:
    """One pair at a time, one trial at a time."""
    keep_1F = torch.ones(1, FRAMES)
    scores_TV = torch.empty(len(texts_TD), len(frames_VFD))
    for t, text_D in enumerate(texts_TD):
        (noise_MD,) = head.points([t], texts_TD)
        for v, frames_FD in enumerate(frames_VFD):
            pooled_D = unit(head.pool_frames(text_D[None], frames_FD[None], keep_1F)[0, 0])
            radius_D = head.radius(unit(frames_FD) @ unit(text_D), keep_1F[0])
            scores_TV[t, v] = max(
                float(unit(text_D + eps_D * radius_D) @ pooled_D) for eps_D in noise_MD
            )
    return scores_TV


def tmass() -> dict[str, Any]:
    """See the module."""
    texts_TD, frames_VFD, _ = features(1000, 1000)
    keep_VF, head = torch.ones(1000, FRAMES), head_of("tmass")
    head.similarity(texts_TD[:64], frames_VFD[:64], keep_VF[:64])
    before = memory("VmRSS")
    seconds, scores = timed(lambda: head.similarity(texts_TD, frames_VFD, keep_VF))
    found: dict[str, Any] = {"seconds": seconds, "mb": memory("VmHWM") - before}
    block_s, block_scores = formula(head, texts_TD[:16], frames_VFD[:256])
    loop_s, loop_scores = timed(lambda: loop(head, texts_TD[:10], frames_VFD[:10]))
    found["beside"] = {
        "the formula in blocks": [each * 1000 * 1000 / (16 * 256) for each in block_s],
        "loop over pairs and trials": [each * 100**2 for each in loop_s],
    }
    found["difference"] = max(
        float((scores[:16, :256] - block_scores).abs().max()),
        float((scores[:10, :10] - loop_scores).abs().max()),
    )
    return found


def xpool() -> dict[str, Any]:
    """See the module."""
    before = memory("VmRSS")
    texts_TD, frames_VFD, owners = features(27_763, 670)
    keep_VF, head = torch.ones(670, FRAMES), head_of("xpool")

    def run() -> Tensor:
        scores_TV: Tensor = head.similarity(texts_TD, frames_VFD, keep_VF)
        rank_matrix(scores_TV, owners.numpy())
        return scores_TV

    seconds, scores = timed(run)
    found = {"seconds": seconds, "mb": memory("VmHWM") - before}
    block_s, block_scores = formula(head, texts_TD[:64], frames_VFD[:640])
    return {
        **found,
        "beside": {"the formula in blocks": [each * 27_763 * 670 / (64 * 640) for each in block_s]},
        "difference": float((scores[:64, :640] - block_scores).abs().max()),
    }


def mean() -> dict[str, Any]:
    """See the module."""
    before = memory("VmRSS")
    texts_TD, frames_VFD, owners = features(10_000, 10_000)
    head = head_of("mean")

    def run() -> Any:
        gallery = head.prepare(frames_VFD, torch.ones(10_000, FRAMES))

        def rows() -> Iterator[Any]:
            for texts in texts_TD.split(500):
                yield head.scores(texts, gallery).numpy()

        return rank_matrix(StreamRows((10_000, 10_000), rows), owners.numpy())

    seconds, ranks = timed(run)
    found = {"seconds": seconds, "mb": memory("VmHWM") - before, "beside": {}}
    vectors = unit(unit(frames_VFD[:100]).mean(1)).double()
    scores = head.similarity(texts_TD[:100], frames_VFD[:100], torch.ones(100, FRAMES))
    slow = unit(texts_TD[:100].double()) @ vectors.T
    return {
        **found,
        "difference": float((scores - slow).abs().max()),
        "recall": float(100 * np.mean(ranks.t2v == 1)),
    }


CASES: dict[str, Callable[[], dict[str, Any]]] = {"tmass": tmass, "xpool": xpool, "mean": mean}
SIZES = {"tmass": "1,000 x 1,000, 20 trials", "xpool": "27,763 x 670", "mean": "10,000 x 10,000"}


def show(name: str, threads: int) -> None:
    """Runs one case apart and prints what it gave."""
    command = [sys.executable, __file__, "--only", name, "--threads", str(threads), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    wall, cpu = found["seconds"]
    goal_s, goal_mb = GOALS[name]
    fits = (goal_s is None or wall < goal_s) and found["mb"] < goal_mb
    goal = f"{'' if goal_s is None else f'{goal_s:g} s, '}{goal_mb:,} MB"
    print(f"{name}, {SIZES[name]}; goal {goal}: {'holds' if fits else 'MISSED'}")
    print(f"  {'vidsampler':28} {wall:9.2f} s {cpu:10.2f} CPU s {found['mb']:6,} MB")
    for what, (slow, slow_cpu) in found["beside"].items():
        ratios = f"{slow / wall:,.1f} x the time, {slow_cpu / cpu:,.1f} x the CPU time"
        print(f"  {what:28} {slow:9.0f} s {slow_cpu:10.0f} CPU s, scaled up: {ratios}")
    print(f"  largest difference of a score: {found['difference']:.1e}", flush=True)


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_grad_enabled(False)
    if given.json:
        print(json.dumps(CASES[given.only]()))
        return
    print(f"torch {torch.__version__}, {given.threads} threads, fp32, {FRAMES} frames, D = {WIDTH}")
    for name in [given.only] if given.only else CASES:
        show(name, given.threads)


if __name__ == "__main__":
    main()
