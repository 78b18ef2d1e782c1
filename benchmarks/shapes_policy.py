"""What a policy learns by each gradient, on towers that have learned already.

    python -m benchmarks.shapes_policy RUN [--seeds 0 1 2]

RUN is a run of adaclip on `shapes`. Its towers and head stay as they are; its policy starts again
from random weights and learns from the retrieval loss for seven epochs of the train split: by the
straight-through gradient (AdaCLIP), by what several draws are worth, and by both. Prints, for the
test split, the share of kept frames that are informative, that only repeat such a frame, and that
show nothing of the caption.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.shapes_limit import policy_inputs
from benchmarks.shapes_training import spread
from vidsampler.retriever import Retriever
from vidsampler.run_folder import BEST
from vidsampler.samplers.learned import gumbel_noise

EPOCHS, BATCH, RATE = 7, 100, 3e-3
GRADIENTS: dict[str, dict[str, Any]] = {
    "straight-through": {"draws": 0, "straight_through": False, "entropy_weight": 0.0},
    "draws": {"draws": 8, "straight_through": False, "entropy_weight": 0.02},
    "both": {"draws": 8, "straight_through": True, "entropy_weight": 0.02},
}


class Encoded(NamedTuple):
    """A split, encoded by the towers of a run.

    Attributes:
        frames_VND: Of all candidates.
        texts_VD: Of the videos' captions.
        informative_VN: 1 where a candidate shows a fact for the first time.
        repeats_VN: 1 where it shows one again.
    """

    frames_VND: Tensor
    texts_VD: Tensor
    informative_VN: Tensor
    repeats_VN: Tensor


class Batch(NamedTuple):
    """What a step is given: of frames and captions the numbers alone, since all is encoded."""

    frames_BNCHW: Tensor
    valid_BN: Tensor
    times_BN: Tensor
    tokens_BL: Tensor
    keys: tuple[str, ...]
    videos_B: Tensor
    wordings_B: Tensor | None = None
    whole_BN: Tensor | None = None


def encoded(run: Path, split: str) -> Encoded:
    """Runs the best weights of a run over a split."""
    frames_VND, retriever, found, truth = policy_inputs(run, split)
    if retriever.sampler is None or retriever.sampler.extractor is not None:
        raise SystemExit(f"{run}: its policy does not look at the towers' own features")
    videos = [truth[key] for key in found.kept_times]
    tokens_VL = retriever.backbone.tokenize([video.captions[0] for video in videos]).ids_TL
    with torch.inference_mode():
        texts = [retriever.backbone.encode_texts(some_BL) for some_BL in tokens_VL.split(200)]
    # One candidate for each slot.
    first = [[slot.kind == "informative" for slot in video.slots] for video in videos]
    again = [
        [slot.kind == "frozen" and slot.fact is not None for slot in video.slots]
        for video in videos
    ]
    return Encoded(
        frames_VND,
        torch.cat(texts).clone(),
        torch.tensor(first).float(),
        torch.tensor(again).float(),
    )


def learned(run: Path, train: Encoded, gradient: dict[str, Any], seed: int) -> Retriever:
    """The retriever of a run with a policy that has learned anew."""
    retriever = Retriever.from_pretrained(run / BEST)
    sampler = replace(retriever.config.sampler, hold_epochs=0, seed=seed, **gradient)
    anew = Retriever.with_backbone(
        replace(retriever.config, sampler=sampler, seed=seed), retriever.backbone
    )
    anew.head.load_state_dict(retriever.head.state_dict())
    assert anew.sampler is not None
    policy = list(anew.sampler.policy.parameters())
    optimizer = torch.optim.AdamW(policy, RATE, (0.9, 0.98), 1e-8, weight_decay=0.2)
    generator = torch.Generator().manual_seed(seed)
    videos, candidates = train.frames_VND.shape[:2]
    batches = videos // BATCH
    steps = EPOCHS * batches
    anew.train()
    for step in range(steps):
        epoch, place = divmod(step, batches)
        if place == 0:
            order_V = torch.randperm(videos, generator=generator)
            anew.set_epoch(epoch)
        rows_B = order_V[place * BATCH : (place + 1) * BATCH]
        # As in a whole run, whose policy begins in the middle of the cosine.
        for group in optimizer.param_groups:
            group["lr"] = RATE / 2 * (1 + math.cos(math.pi * (1 + step / steps) / 2))
        _encodes_nothing(anew, train, rows_B)
        batch = Batch(
            torch.zeros(BATCH, candidates, 3, 1, 1, dtype=torch.uint8),
            torch.ones(BATCH, candidates, dtype=torch.bool),
            torch.zeros(BATCH, candidates),
            torch.zeros(BATCH, 1, dtype=torch.long),
            tuple(map(str, rows_B.tolist())),
            rows_B,
        )
        shape = anew.sampler.noise_shape(BATCH, candidates)
        noise = gumbel_noise(shape, torch.empty(0), generator)
        optimizer.zero_grad()
        anew.losses(batch, noise=noise).total.backward()
        torch.nn.utils.clip_grad_norm_(policy, 1.0)
        optimizer.step()
    return anew.eval()


def _encodes_nothing(retriever: Retriever, train: Encoded, rows_B: Tensor) -> None:
    """Has the towers answer with what they said before."""
    towers: Any = retriever
    towers.encode_candidates = lambda frames, valid: train.frames_VND[rows_B]
    towers.backbone.encode_texts = lambda tokens: train.texts_VD[rows_B]


def kept(retriever: Retriever, test: Encoded) -> tuple[float, float]:
    """Of what it keeps, the shares of informative frames and of repeats of such."""
    assert retriever.sampler is not None
    with torch.inference_mode():
        valid_VN = torch.ones_like(test.informative_VN, dtype=torch.bool)
        chosen_VK = retriever.sampler(test.frames_VND, valid_VN).indices_BK
    informative, repeats = (
        each.gather(1, chosen_VK).mean().item() for each in (test.informative_VN, test.repeats_VN)
    )
    return informative, repeats


def main(words: Sequence[str] | None = None) -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args(words)
    train, test = encoded(options.run, "train"), encoded(options.run, "test")
    print(f"{'':18}{'informative':>18}{'repeats':>18}{'others':>18}")
    for name, gradient in GRADIENTS.items():
        found = [kept(learned(options.run, train, gradient, seed), test) for seed in options.seeds]
        columns = zip(*((first, again, 1 - first - again) for first, again in found), strict=True)
        cells = [f"{spread(column, 3):>18}" for column in columns]
        print(f"{name:18}{''.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
