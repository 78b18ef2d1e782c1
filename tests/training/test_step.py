"""One step: draws, what learns, what does not, what stops it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.tiny_run import batch_of, tiny
from vidsampler.backbones.model import MOST_LOGIT_SCALE
from vidsampler.errors import VidsamplerError
from vidsampler.retriever import Retriever
from vidsampler.training.frozen import training_mode
from vidsampler.training.step import NotFiniteError, Stepper, step_seed
from vidsampler.world import World

ALONE = World(0, 1, torch.device("cpu"))


def state(retriever: Retriever) -> dict[str, torch.Tensor]:
    """A copy of all weights and buffers."""
    return {name: each.clone() for name, each in retriever.state_dict().items()}


def changed(before: dict[str, torch.Tensor], retriever: Retriever) -> set[str]:
    """Names of what is not as it was."""
    now = retriever.state_dict()
    return {name for name, each in before.items() if not torch.equal(each, now[name])}


def test_a_frozen_backbone_and_extractor_stay_as_they_are(tmp_path: Path) -> None:
    policy = {"extractor": {"freeze": True}}
    config = tiny(tmp_path, "mmsampler", training={"freeze": ["all"]}, sampler={"policy": policy})
    retriever = Retriever.from_config(config)
    stepper = Stepper(retriever, config.training, ALONE, 4, seed=0)
    before = state(retriever)
    for number in range(2):
        stepper.step(batch_of(retriever, range(6)), number)
    moved = changed(before, retriever)
    assert moved
    assert all(name.startswith("sampler.policy.") for name in moved)
    assert not retriever.backbone.training
    assert retriever.sampler is not None
    assert retriever.sampler.extractor is not None
    assert not retriever.sampler.extractor.network.training
    assert retriever.sampler.training


def test_everything_learns_that_is_not_frozen(tmp_path: Path) -> None:
    config = tiny(tmp_path, "adaclip", training={"freeze": ["patch_conv", "token_embedding"]})
    retriever = Retriever.from_config(config)
    stepper = Stepper(retriever, config.training, ALONE, 4, seed=0)
    before = state(retriever)
    stepper.step(batch_of(retriever, range(6)), 0)
    still = before.keys() - changed(before, retriever)
    frozen = {"backbone.clip.visual.conv1.weight", "backbone.clip.token_embedding.weight"}
    assert frozen <= still
    # Masks are no weights; a bias before a softmax over frames has no gradient but rounding.
    rest = {name for name in still - frozen if "attn_mask" not in name}
    assert rest <= {"head.network.4.bias", "head.score.4.bias"}


def test_rates_follow_the_schedule(tmp_path: Path) -> None:
    config = tiny(tmp_path, "clip4clip", training={"lr_clip": 0.01, "warmup": 0.5})
    retriever = Retriever.from_config(config)
    stepper = Stepper(retriever, config.training, ALONE, 4, seed=0)
    found = [
        stepper.step(batch_of(retriever, range(6)), number).rates["backbone"] for number in range(4)
    ]
    assert found == pytest.approx([0.0, 0.005, 0.01, 0.005])


def test_the_logit_scale_is_clamped(tmp_path: Path) -> None:
    config = tiny(tmp_path, "clip4clip")
    retriever = Retriever.from_config(config)
    with torch.no_grad():
        retriever.backbone.logit_scale.fill_(9.0)
    stepper = Stepper(retriever, config.training, ALONE, 4, seed=0)
    stepper.step(batch_of(retriever, range(6)), 0)
    assert float(retriever.backbone.logit_scale.detach()) == pytest.approx(MOST_LOGIT_SCALE)


def test_a_loss_that_is_no_number_stops_before_the_weights_change(tmp_path: Path) -> None:
    config = tiny(tmp_path, "clip4clip")
    retriever = Retriever.from_config(config)
    stepper = Stepper(retriever, config.training, ALONE, 4, seed=0)
    with torch.no_grad():
        retriever.backbone.clip.get_parameter("visual.proj")[0, 0] = torch.nan
    before = state(retriever)
    with pytest.raises(NotFiniteError, match="the loss is nan"):
        stepper.step(batch_of(retriever, range(6)), 0)
    now = retriever.state_dict()
    assert all(torch.equal(each.nan_to_num(7), now[n].nan_to_num(7)) for n, each in before.items())


@pytest.mark.parametrize("method", ["adaclip", "mmsampler", "tmass", "xpool"])
def test_what_is_drawn_depends_on_seed_epoch_and_step_alone(tmp_path: Path, method: str) -> None:
    config = tiny(tmp_path, method)
    retriever = Retriever.from_config(config)
    training_mode(retriever)
    batch = batch_of(retriever, range(6))

    def loss(seed: int) -> float:
        stepper = Stepper(retriever, config.training, ALONE, 4, seed)
        return float(stepper.losses(batch).total.detach())

    first = loss(1)
    torch.manual_seed(99)
    assert loss(1) == first
    assert loss(2) != first


def test_seeds_of_steps_differ() -> None:
    seeds = {step_seed(s, e, n) for s in range(5) for e in range(5) for n in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_nothing_to_train_is_an_error(tmp_path: Path) -> None:
    config = tiny(tmp_path, "clip4clip", training={"freeze": ["all"]})
    retriever = Retriever.from_config(config)
    with pytest.raises(VidsamplerError, match="nothing is left to train"):
        Stepper(retriever, config.training, ALONE, 4, seed=0)
