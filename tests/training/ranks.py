"""What a rank of the distributed tests does; started by torchrun, writes to a folder."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from tests.training.tiny_run import (
    BEFORE_CONVOLUTIONS,
    BOTH,
    CONVOLUTIONS,
    DRAWS,
    METHODS,
    batch_of,
    tiny,
)
from vidsampler.retriever import Retriever
from vidsampler.training.step import Stepper
from vidsampler.world import World, open_world

ITEMS = 6
OF_RANKS = (*METHODS, CONVOLUTIONS, BEFORE_CONVOLUTIONS, DRAWS, BOTH)
Gradients = dict[str, torch.Tensor]


def gradients(folder: Path, method: str, world: World) -> tuple[Gradients, Gradients]:
    """Of the global batch of 6 items, and the batch norms' statistics afterwards."""
    config = tiny(folder, method)
    retriever = Retriever.from_config(config)
    retriever.set_epoch(3)
    stepper = Stepper(retriever, config.training, world, 10, seed=5)
    retriever.train()
    part = ITEMS // world.size
    # The second of two ranks then has no frame to skip.
    short = range(3, ITEMS) if method == BEFORE_CONVOLUTIONS else (4,)
    batch = batch_of(retriever, range(world.rank * part, (world.rank + 1) * part), short=short)
    stepper.losses(batch).total.backward()
    world.average_gradients(retriever.parameters())
    found = {
        name: each.grad for name, each in retriever.named_parameters() if each.grad is not None
    }
    # Masks of attention, which hold infinities, are no statistics.
    buffers = {name: each for name, each in retriever.named_buffers() if "mask" not in name}
    return found, buffers


def compare(folder: Path, world: World) -> dict[str, dict[str, float]]:
    """For each method: its worst tensor's |ours - alone| / |alone|, and that of its buffers."""
    results = {}
    for method in OF_RANKS:
        alone, alone_buffers = gradients(folder, method, World(0, 1, torch.device("cpu")))
        ours, buffers = gradients(folder, method, world)
        assert ours.keys() == alone.keys()
        # A bias that a softmax does not see, or a scale that a batch norm undoes, has a gradient of
        # nothing but rounding; all others count.
        largest = max(float(each.norm()) for each in alone.values())
        there = {name for name, each in alone.items() if float(each.norm()) > 1e-6 * largest}
        apart = {name: float((ours[name] - alone[name]).norm()) for name in alone}
        results[method] = {
            "tensors": len(there),
            "nothing": len(alone) - len(there),
            "noise": max((apart[name] / largest for name in apart.keys() - there), default=0.0),
            "worst": max(apart[name] / float(alone[name].norm()) for name in there),
            "buffers": max(
                (
                    float((buffers[name].double() - each.double()).norm())
                    / max(1e-3, float(each.double().norm()))
                    for name, each in alone_buffers.items()
                ),
                default=0.0,
            ),
        }
    return results


def main() -> None:
    """Compares, and tries what else ranks do together."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with open_world("cpu") as world:
        rows = world.gather_rows(torch.full((world.rank, 2), world.rank))
        flags = [world.agree(world.rank == 1), world.agree(False)]
        linear = torch.nn.Linear(2, 1)
        if world.rank == 0:
            (linear.weight.sum() * 4).backward()
        world.average_gradients(linear.parameters())
        weight, bias = linear.weight.grad, linear.bias.grad
        with torch.no_grad():
            linear.weight.fill_(float(world.rank))
        try:
            world.check_same(linear)
            message = "the same"
        except Exception as error:
            message = str(error)
        world.spread(linear)
        world.check_same(linear)
        results = {
            "rows": rows.tolist(),
            "flags": flags,
            "weight": None if weight is None else weight.tolist(),
            "bias": None if bias is None else bias.tolist(),
            "message": message,
            "methods": compare(folder, world) if ITEMS % world.size == 0 else {},
        }
        (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
