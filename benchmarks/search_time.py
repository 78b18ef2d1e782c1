"""How long one text takes to search a gallery: one vector a video, or another one for each text.

    python benchmarks/search_time.py [--sizes 1000 10000 100000] [--device cpu]

AdaCLIP's argument for pooling that does not look at the text is search time: it claims to be 142
times (GPU) and 822 times (CPU) quicker than query-dependent scoring. Measured here, for one text
against V videos of 12 frames, D = 512:

- `mean`, `mlp`: a product with V vectors, which were made when the gallery was;
- `qscore`, `xpool`, `tmass`: with a gallery that was prepared (`Head.prepare`), which makes a pair
  cheap; and "as published", where a query pools all frames of all videos anew with all projections;
- `emcl`: EM over the whole gallery for the text, whose frames were encoded before.

Prints the median of several queries, each another text, and its ratio to `mean`: on the CPU, CPU
time of one thread, which a busy machine changes little; on a GPU, time by the clock. Galleries
above 1,000 videos repeat these: the time of a query does not depend on what the videos show.
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
from vidsampler.heads.base import Gallery

FRAMES, WIDTH, DISTINCT = 12, 512, 1000
HEADS = ("mean", "mlp", "qscore", "xpool", "tmass", "emcl")
AS_PUBLISHED = ("qscore", "xpool", "tmass")
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
    # emcl counts texts by its blocks: one; the others videos.
    block = 1 if name == "emcl" else 4096

    def prepared_scores(text: Tensor, gallery: Gallery) -> None:
        head.scores(text, gallery, text_ids_T=ids, block=block)

    def published_scores(text: Tensor, gallery: Gallery) -> None:
        parts = zip(*(each.split(512) for each in gallery), strict=True)
        torch.cat([head.pair_scores(text, *part) for part in parts], 1)

    ways = {"prepared": (prepared, prepared_scores)}
    if name in AS_PUBLISHED:
        ways["as published"] = (plain, published_scores)
    return {
        how: {
            size: seconds(partial(scores, gallery=repeated(videos, size)), device, repeats)
            for size in sizes
        }
        for how, (videos, scores) in ways.items()
    }


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--device", choices=CLAIMS, default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
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
    for name in HEADS:
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
