"""Seconds of a training step on a CPU with memory that is kept, and with memory given back.

    python -m benchmarks.allocator [--repeats 3] [--steps 8] [--batch-size 100]

A step is that of `train --dataset shapes --method adaclip --top-k 4`, on random frames and with
decoding left out. The two ways take turns, each in a process of its own: `given back` is glibc as
it is, `kept` is what `train` sets (`vidsampler.allocator`). Prints the seconds of each run, their
medians, the ratio, and the most memory that each took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

WAYS = ("given back", "kept")


def measure(way: str, steps: int, videos: int | None) -> dict[str, float]:
    """Seconds a step, and the most memory in MiB, of this process."""
    import torch

    from benchmarks.train import Case, batch_of
    from vidsampler.allocator import keep_freed_memory
    from vidsampler.retriever import Retriever
    from vidsampler.training.settings import train_config
    from vidsampler.training.step import Stepper
    from vidsampler.world import World

    if way == "kept" and not keep_freed_memory():
        raise SystemExit("the allocator is not glibc's own")
    cpu = torch.device("cpu")
    config = train_config(method="adaclip", dataset="shapes")
    retriever = Retriever.from_config(config)
    retriever.set_epoch(config.sampler.hold_epochs)
    case = Case(
        config.frames, config.sampler.k or config.frames, videos or config.training.batch_size
    )
    batch = batch_of(retriever, case, retriever.frame_size, cpu)
    stepper = Stepper(retriever, config.training, World(0, 1, cpu), steps, 0)
    for number in range(2):
        stepper.step(batch, number)
    begun = time.perf_counter()
    for number in range(steps):
        stepper.step(batch, number)
    seconds = (time.perf_counter() - begun) / steps
    return {
        "seconds": seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main(words: Sequence[str] | None = None) -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-size", type=int, help="videos of a step [the recipe's]")
    parser.add_argument("--way", choices=WAYS, help="measure this one here, and print JSON")
    options = parser.parse_args(words)
    if options.way:
        print(json.dumps(measure(options.way, options.steps, options.batch_size)))
        return
    others = ("MALLOC_", "LD_PRELOAD", "GLIBC_TUNABLES")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.allocator", "--way", way]
            command += ["--steps", str(options.steps)]
            if options.batch_size is not None:
                command += ["--batch-size", str(options.batch_size)]
            done = subprocess.run(command, env=plain, stdout=subprocess.PIPE, check=True)
            found[way].append(json.loads(done.stdout))
    medians = {}
    for way, runs in found.items():
        each = " ".join(f"{run['seconds']:.3f}" for run in runs)
        medians[way] = statistics.median(run["seconds"] for run in runs)
        peak = max(run["peak"] for run in runs)
        print(f"{way:10}  {medians[way]:.3f} s a step (runs {each}), peak {peak:.0f} MiB")
    print(f"given back / kept: {medians['given back'] / medians['kept']:.2f}")


if __name__ == "__main__":
    main()
