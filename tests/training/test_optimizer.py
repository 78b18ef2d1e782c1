"""Groups of weights and their rates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.tiny_run import tiny
from vidsampler.retriever import Retriever
from vidsampler.training.optimizer import parameter_groups, schedule, set_rates


def test_the_schedule_by_hand() -> None:
    # S = 20, S0 = int(0.1 * 20) = 2: 0, 1/2, then (1 + cos(pi (s - 2)/18))/2.
    assert [schedule(s, 20) for s in (0, 1, 2, 11, 20)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert schedule(5, 20) == pytest.approx((1 + 3**0.5 / 2) / 2)
    assert [schedule(s, 4, 0.0) for s in (0, 2)] == pytest.approx([1, 0.5])


def test_groups(tmp_path: Path) -> None:
    retriever = Retriever.from_config(tiny(tmp_path, "adaclip"))
    retriever.backbone.freeze(["token_embedding"])
    groups = parameter_groups(retriever, new_rate=1e-4, backbone_rate=1e-6, decay=0.2)
    facts = {each["name"]: (each["lr"], each["weight_decay"]) for each in groups}
    assert facts == {
        "backbone": (1e-6, 0.2),
        "backbone, no decay": (1e-6, 0.0),
        "new": (1e-4, 0.2),
        "new, no decay": (1e-4, 0.0),
    }
    names = {id(each): name for name, each in retriever.named_parameters()}
    found = {each["name"]: {names[id(p)] for p in each["params"]} for each in groups}
    plain = found["backbone, no decay"] | found["new, no decay"]
    for name in (
        "backbone.clip.logit_scale",
        "backbone.clip.positional_embedding",
        "backbone.clip.visual.positional_embedding",
        "backbone.clip.visual.ln_pre.weight",
        "backbone.clip.visual.transformer.resblocks.0.attn.in_proj_bias",
        "sampler.extractor.network.layers.1.weight",
    ):
        assert name in plain
    assert "backbone.clip.visual.conv1.weight" in found["backbone"]
    assert "backbone.clip.visual.transformer.resblocks.0.attn.in_proj_weight" in found["backbone"]
    assert all(name.startswith(("sampler.", "head.")) for name in found["new"])
    everything = {name for name, each in retriever.named_parameters() if each.requires_grad}
    assert set().union(*found.values()) == everything
    assert "backbone.clip.token_embedding.weight" not in everything
    assert not [name for name in plain if name.endswith("proj.weight")]
    optimizer = torch.optim.AdamW(groups)
    assert set_rates(optimizer, 0.5)["new"] == 5e-5
    assert set_rates(optimizer, 1.0)["new"] == 1e-4


def test_tables_of_positions_in_modules_do_not_decay(tmp_path: Path) -> None:
    retriever = Retriever.from_config(tiny(tmp_path, "emcl"))
    groups = parameter_groups(retriever, new_rate=1.0, backbone_rate=1.0, decay=0.2)
    names = {id(each): name for name, each in retriever.named_parameters()}
    decay = {names[id(p)]: each["weight_decay"] for each in groups for p in each["params"]}
    tables = [name for name in decay if name.endswith("position_embeddings.weight")]
    assert tables
    assert {decay[name] for name in tables} == {0.0}
