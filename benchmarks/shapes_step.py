"""What the time of a step on `shapes` is made of, and what this processor could do at best.

    python -m benchmarks.shapes_step [--method adaclip] [--repeats 7]

Random frames of the size and number of `shapes`; rendering, decoding and validation are left out.
Prints the seconds (medians) of a whole step, and of the image tower alone, there and back; the
FLOPs of the latter, counted; and how many a second of them, beside those of a large matrix product
in the precision that training computes in here. The last line is what all steps of a run would
take if the tower ran at the rate of that product and everything else took no time: no program on
this processor is faster with these settings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from vidsampler.config import Layer
from vidsampler.latency import device_name, random_frames
from vidsampler.loading.batch import Batch
from vidsampler.retriever import Retriever
from vidsampler.training.settings import train_config
from vidsampler.training.step import Stepper
from vidsampler.world import World

VIDEOS, PRODUCT = 3600, 2048


def seconds(action: Callable[[], object], repeats: int) -> float:
    """The median; the first time does not count."""
    taken = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def main(words: Sequence[str] | None = None) -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", default="adaclip")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(words)

    device = torch.device("cpu")
    config = train_config(
        [Layer("{key}", {"run": {"device": "cpu"}})], method=options.method, dataset="shapes"
    )
    settings = config.training
    steps = settings.epochs * (VIDEOS // settings.batch_size)
    retriever = Retriever.from_config(config)
    retriever.set_epoch(settings.epochs - 1)
    stepper = Stepper(retriever, settings, World(0, 1, device), steps, config.seed)
    shape = (settings.batch_size, config.frames)
    numbers = torch.arange(settings.batch_size)
    batch = Batch(
        frames_BNCHW=random_frames(*shape, retriever.frame_size, device),
        valid_BN=torch.ones(shape, dtype=torch.bool),
        times_BN=torch.arange(config.frames).double().expand(shape),
        tokens_BL=retriever.backbone.tokenize([f"number {i}" for i in numbers.tolist()]).ids_TL,
        keys=[str(i) for i in numbers.tolist()],
        videos_B=numbers,
        captions_B=numbers,
        wordings_B=numbers,
        epoch=0,
        step=0,
    )
    retriever.train()

    def tower() -> None:
        retriever.encode_candidates(batch.frames_BNCHW, batch.valid_BN).sum().backward()
        retriever.zero_grad()

    done = iter(range(10**6))
    whole = seconds(lambda: stepper.step(batch, next(done)), options.repeats)
    alone = seconds(tower, options.repeats)
    with FlopCounterMode(display=False) as counter:
        tower()
    work = counter.get_total_flops()
    dtype = torch.bfloat16 if retriever.backbone.precision == "bf16" else torch.float32
    one = torch.rand(PRODUCT, PRODUCT, dtype=dtype)
    best = 2 * PRODUCT**3 / seconds(lambda: one @ one, options.repeats)

    print(f"{device_name(device)}, {dtype}".replace("torch.", ""))
    print(f"a step                    {whole:6.2f} s")
    print(f"its image tower           {alone:6.2f} s, {alone / whole:.0%}")
    print(f"FLOPs of that             {work / 1e9:6.0f} G, {work / alone / 1e9:.0f} G a second")
    print(f"a product of {PRODUCT} x {PRODUCT}           {best / 1e9:.0f} G a second")
    print(f"{steps} steps as they are     {steps * whole / 60:6.1f} min")
    print(f"{steps} steps at the most     {steps * work / best / 60:6.1f} min")


if __name__ == "__main__":
    main()
