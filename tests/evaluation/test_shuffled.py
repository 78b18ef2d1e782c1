"""Candidates in another order."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from tests.training.tiny_run import batch_of, tiny, write_shards
from vidsampler.evaluation.shuffled import shuffle_candidates
from vidsampler.retriever import Retriever
from vidsampler.train import evaluation_loader
from vidsampler.training.validation import measure
from vidsampler.world import World


def test_frames_and_times_move_together_and_padding_stays(tmp_path: Path) -> None:
    retriever = Retriever.from_config(tiny(tmp_path))
    batch = batch_of(retriever, range(8))
    batch = replace(batch, keys=[f"v{i}" for i in range(8)])
    found = shuffle_candidates(batch, seed=1)
    orders = found.times_BN.long()  # the time of candidate i is i
    assert orders.sort(1).values.tolist() == batch.times_BN.tolist()
    # Of 24 orders, 8 videos have more than one; item 4 has but 3 frames.
    assert len({tuple(order) for order in orders.tolist()}) > 3
    assert orders[4, 3] == 3
    assert torch.equal(found.valid_BN, batch.valid_BN)
    for row, order in enumerate(orders.tolist()):
        for place, original in enumerate(order):
            assert torch.equal(found.frames_BNCHW[row, place], batch.frames_BNCHW[row, original])
    # The same for the same seed, whatever the batch; another for another seed.
    part = replace(
        batch,
        frames_BNCHW=batch.frames_BNCHW[2:5],
        valid_BN=batch.valid_BN[2:5],
        times_BN=batch.times_BN[2:5],
        keys=batch.keys[2:5],
    )
    assert torch.equal(shuffle_candidates(part, seed=1).times_BN, found.times_BN[2:5])
    assert not torch.equal(shuffle_candidates(batch, seed=2).times_BN, found.times_BN)


def test_a_sampler_by_place_loses_and_one_that_looks_does_not(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", val=7)
    folder = tmp_path / "shards" / "val"
    alone = World(0, 1, torch.device("cpu"))
    shuffled = partial(shuffle_candidates, seed=3)
    kept = {}
    for name in ("looks", "place"):
        config = tiny(tmp_path, "adaclip")
        retriever = Retriever.from_config(config)
        assert retriever.sampler is not None
        policy = retriever.sampler.policy
        positions = next(p for n, p in policy.named_parameters() if "position" in n)
        with torch.no_grad():
            positions.mul_(0 if name == "looks" else 1000)
        loader = evaluation_loader(folder, retriever, config)
        for change in (None, shuffled):
            found = measure(retriever, loader, alone, change)
            times = {key: sorted(times) for key, times in found.kept_times.items()}
            kept[name, change is None] = times
    assert kept["looks", True] == kept["looks", False]
    same = [kept["place", True][key] == kept["place", False][key] for key in kept["place", True]]
    # By chance one video in six keeps the same two of four.
    assert sum(same) < 5
