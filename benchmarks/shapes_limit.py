"""How many informative frames the features of a run on `shapes` would let a policy keep.

    python -m benchmarks.shapes_limit RUN...

A policy learns from the retrieval loss alone. Here a network of its size learns from the truth, on
the same features (those that the run's own policy is given, of the train split), which frames are
informative, and keeps the K that it is surest of on the test split. Prints for each run the share
of informative frames among those that its policy keeps, and among those that this network keeps:
what lies between them is the signal's, what is above the second the features'. Then the facts that
the policy misses in more than a tenth of their videos: what the towers did not learn to tell apart
while they saw it, the policy drops, and they see it no more.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.shapes_training import measured_run
from vidsampler.datasets.shapes import ShapesVideo
from vidsampler.retriever import Retriever
from vidsampler.samplers.policy import process_features
from vidsampler.train import informative_share
from vidsampler.training.validation import Measured

EPOCHS, BATCH, RATE = 15, 100, 3e-3


class Seen(NamedTuple):
    """A split as the policy of a run sees it.

    Attributes:
        features_BND: What it is given.
        informative_BN: 1 where a candidate shows a fact for the first time.
        share: Of the frames that it keeps, the informative ones.
        kept: Frames that it keeps of a video.
        shown: Fact -> in which share of the videos that tell it a kept frame shows it.
    """

    features_BND: Tensor
    informative_BN: Tensor
    share: float
    kept: float
    shown: dict[str, float]


def policy_inputs(
    run: Path, split: str
) -> tuple[Tensor, Retriever, Measured, dict[str, ShapesVideo]]:
    """What the policy of a run is given of a split, (B, N, D), and what `measured_run` returns."""
    given: list[Tensor] = []

    def look(retriever: Retriever) -> None:
        sampler = retriever.sampler
        if sampler is None:
            raise SystemExit(f"{run} has no learned sampler")
        sampler.policy.register_forward_pre_hook(
            lambda _, words: given.append(words[0].float().cpu())
        )

    measured = measured_run(run, split, look=look)
    return torch.cat(given), *measured


def seen(run: Path, split: str) -> Seen:
    """Runs the best weights of a run over a split of `shapes`."""
    features_BND, _, found, truth = policy_inputs(run, split)
    # One candidate for each slot.
    informative_BN = torch.tensor(
        [[slot.kind == "informative" for slot in truth[key].slots] for key in found.kept_times]
    )
    share = informative_share(found, truth)["informative"]
    shown: dict[str, list[bool]] = {}
    for key, times in found.kept_times.items():
        there = truth[key].facts_shown(times)
        for number, fact in enumerate(truth[key].facts):
            shown.setdefault(fact, []).append(number in there)
    shares = {fact: sum(each) / len(each) for fact, each in shown.items()}
    return Seen(features_BND, informative_BN.float(), share, found.kept, shares)


def by_truth(train: Seen, test: Seen, seed: int = 0) -> float:
    """The share of informative frames that a network trained on the truth keeps."""
    torch.manual_seed(seed)
    inputs, targets = _inputs(train.features_BND), train.informative_BN
    network = nn.Sequential(nn.Linear(inputs.shape[-1], 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs)).split(BATCH):
            loss = functional.binary_cross_entropy_with_logits(
                network(inputs[rows])[..., 0], targets[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        scores_BN = network(_inputs(test.features_BND))[..., 0]
    best_BK = scores_BN.topk(round(test.kept), dim=1).indices
    return test.informative_BN.gather(1, best_BK).mean().item()


def _inputs(features_BND: Tensor) -> Tensor:
    both = process_features(features_BND, "concat")
    return functional.layer_norm(both, both.shape[-1:])


def main(words: Sequence[str] | None = None) -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    print("run                        its policy   by the truth")
    for run in parser.parse_args(words).runs:
        train, test = seen(run, "train"), seen(run, "test")
        print(f"{str(run)[-24:]:24}  {test.share:11.3f}  {by_truth(train, test):13.3f}", flush=True)
        for fact, share in sorted(test.shown.items(), key=lambda each: each[1]):
            if share < 0.9:
                print(f"  shown in {share:.2f} of its videos: {fact}")


if __name__ == "__main__":
    main()
