"""How long one text takes to search a gallery: one vector a video, or another one for each text.

    python benchmarks/search_time.py [--sizes 1000 10000 100000] [--heads xpool] [--device cpu]

AdaCLIP's argument for pooling that does not look at the text is search time: it claims to be 142
times (GPU) and 822 times (CPU) quicker than query-dependent scoring. Measured here, for one text
against V videos of 12 frames, D = 512:

- `mean`, `mlp`: a product with V vectors, which were made when the gallery was;
- `qscore`, `xpool`, `tmass`: with a gallery that was prepared (`Head.prepare`), which makes a pair
  cheap; and "as published", where a query pools all frames of all videos anew with all projections;
- `emcl`: EM over the whole gallery for the text, whose frames were encoded before.

Prints the median of several queries, each another text, and its ratio to `mean`: on the CPU, CPU
time of one thread, which a busy machine changes little; on a GPU, time by the clock. What videos
show changes no time, so that galleries repeat 1,000 of them; where a head compares videos by
blocks, a query goes over 10,000 in memory as often as it takes, and "as published" is scaled up
from 1,000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidsampler import registry
from vidsampler.heads.base import Gallery, PairHead

FRAMES, WIDTH, DISTINCT, IN_MEMORY = 12, 512, 1000, 10_000
VECTORS, PAIRS = ("mean", "mlp"), ("qscore", "xpool", "tmass", "emcl")
CLAIMS = {"cpu": 822, "cuda": 142}


def seconds(query: Callable[[Tensor], None], device: str, repeats: int) -> float:
    """Median time of a query, after two that do not count."""
    generator = torch.Generator().manual_seed(1)
    clock = time.process_time if device == "cpu" else time.perf_counter
    found = []
    for _ in range(repeats + 2):
        text = torch.randn(1, WIDTH, generator=generator).to(device)
        wait(device)
        began = clock()
        query(text)
        wait(device)
        found.append(clock() - began)
    return statistics.median(found[2:])


def wait(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def repeated(gallery: Gallery, videos: int) -> Gallery:
    """The gallery again and again, up to so many videos."""
    rounds = -(-videos // DISTINCT)
    return tuple(each.repeat(rounds, *(1,) * (each.ndim - 1))[:videos] for each in gallery)


def measure(name: str, sizes: list[int], device: str, repeats: int) -> dict[str, dict[int, float]]:
    """Seconds of a query by size, with a prepared gallery and, where they differ, as published."""
    torch.manual_seed(0)
    head: Any = registry.load("heads", name)(None, width=WIDTH, frames=FRAMES).eval().to(device)
    frames_VFD = torch.randn(DISTINCT, FRAMES, WIDTH, device=device)
    plain: Gallery = (frames_VFD, torch.ones(DISTINCT, FRAMES, device=device))
    prepared = head.prepare(*plain)
    ids = torch.zeros(1, dtype=torch.long, device=device)
    by_blocks = isinstance(head, PairHead)

    def prepared_scores(text: Tensor, gallery: Gallery, passes: int) -> None:
        for _ in range(passes):
            # Of heads that look at the whole gallery, a block is of texts.
            block = 4096 if by_blocks else 1
            head.scores(text, gallery, text_ids_T=ids, block=block)

    def published_scores(text: Tensor) -> None:
        parts = zip(*(each.split(500) for each in plain), strict=True)
        torch.cat([head.pair_scores(text, *part) for part in parts], 1)

    found: dict[str, dict[int, float]] = {"prepared": {}}
    for size in sizes:
        there = min(size, IN_MEMORY) if by_blocks else size
        query = partial(prepared_scores, gallery=repeated(prepared, there), passes=size // there)
        found["prepared"][size] = seconds(query, device, repeats)
    if by_blocks:
        once = seconds(published_scores, device, repeats)
        found["as published"] = {size: once * size / DISTINCT for size in sizes}
    return found


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--device", choices=CLAIMS, default="cpu")
    parser.add_argument("--heads", choices=PAIRS, nargs="+", default=PAIRS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    sizes = sorted(given.sizes)
    where = "cpu, one thread" if given.device == "cpu" else torch.cuda.get_device_name()
    print(f"one text, {FRAMES} frames a video, D = {WIDTH}; torch {torch.__version__}, {where}")
    print(f"{'':22}" + "".join(f"{f'{size:,} videos':>24}" for size in sizes))
    print(f"{'':22}" + f"{'ms':>14}{'x mean':>10}" * len(sizes))
    every: dict[str, dict[str, dict[int, float]]] = {}
    for name in (*VECTORS, *given.heads):
        every[name] = measure(name, sizes, given.device, given.repeats)
        for how, times in every[name].items():
            label = name if how == "prepared" else f"{name}, {how}"
            cells = [
                f"{1000 * times[size]:14.3f}{times[size] / every['mean']['prepared'][size]:10.1f}"
                for size in sizes
            ]
            print(f"{label:22}" + "".join(cells), flush=True)
    claim = CLAIMS[given.device]
    reached = [
        f"{name}, {how}, {size:,} videos"
        for name, ways in every.items()
        for how, times in ways.items()
        for size in sizes
        if times[size] >= claim * every["mlp"]["prepared"][size]
    ]
    print(f"{claim} times the time of mlp, as AdaCLIP claims: {'; '.join(reached) or 'nowhere'}")
    if given.json:
        given.json.write_text(json.dumps({"where": where, "seconds": every}, indent=1) + "\n")


if __name__ == "__main__":
    main()
