"""The text tower alone gives what the whole model gives."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.backbones.trying import variant
from tests.cli.running import CHECKOUT
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.search.text import load_text_tower, store_text_tower, tower_of, tower_path

TEXTS = ["a dog on a beach", "", "größe 视频 🎬", "a very long one " * 30]


@pytest.fixture(autouse=True)
def fresh_cache(use_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))


def both(backbone: Backbone) -> tuple[Any, Any]:
    """The texts by the whole model and by the tower from the cache."""
    assert store_text_tower(backbone, "f" * 16)
    tower = load_text_tower(backbone.config, "f" * 16)
    assert tower is not None
    assert tower.seconds.keys() == {"imports", "model"}
    return tower_of(backbone)(TEXTS), tower(TEXTS)


@pytest.mark.parametrize("quick", [True, False])
def test_clips_own_tower(tmp_path: Path, quick: bool) -> None:
    def change(config: dict[str, Any]) -> None:
        config["quick_gelu"] = quick

    backbone = load_backbone(BackboneConfig(str(variant(tmp_path, change)), "none"))
    whole, alone = both(backbone)
    assert whole.shape == (4, 128)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-6)


def test_in_half_precision() -> None:
    config = BackboneConfig("tiny", precision="bf16")
    whole, alone = both(load_backbone(config))
    # Products in bf16 have eight bits; the order of sums is another.
    np.testing.assert_allclose(alone, whole, rtol=0, atol=0.01)
    assert (alone * whole).sum(1).min() > 0.9995


def test_a_tower_with_other_settings_is_built_by_open_clip(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["text_cfg"]["no_causal_mask"] = True

    backbone = load_backbone(BackboneConfig(str(variant(tmp_path, change)), "none"))
    whole, alone = both(backbone)
    np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-6)


def test_a_hugging_face_tower(test_data: Path) -> None:
    pytest.importorskip("transformers")
    backbone = load_backbone(BackboneConfig(str(test_data / "weights" / "lite2_minilm")))
    whole, alone = both(backbone)
    assert whole.shape == (4, 1000)
    np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-6)


def test_a_cache_that_is_not_there_or_damaged_is_no_error() -> None:
    config = BackboneConfig("tiny")
    assert load_text_tower(config, "0" * 16) is None
    path = tower_path("1" * 16)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no tensors")
    assert load_text_tower(config, "1" * 16) is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert not store_text_tower(load_backbone(BackboneConfig("tiny")), "2" * 16)


def test_a_plain_tower_needs_no_model_library(tmp_path: Path) -> None:
    import subprocess
    import sys

    backbone = load_backbone(BackboneConfig("tiny"))
    assert store_text_tower(backbone, "3" * 16)
    program = (
        "import sys, json\n"
        "from vidsampler.backbones.config import BackboneConfig\n"
        "from vidsampler.search.text import load_text_tower\n"
        f"tower = load_text_tower(BackboneConfig('tiny'), '{'3' * 16}')\n"
        "print(json.dumps(tower(['a dog']).tolist()))\n"
        "heavy = {'open_clip', 'timm', 'transformers', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=CHECKOUT, check=False
    )
    assert run.returncode == 0, run.stderr
    whole = tower_of(backbone)(["a dog"])
    np.testing.assert_allclose(json.loads(run.stdout), whole, rtol=0, atol=1e-6)


def test_texts_go_where_the_model_is_and_their_vectors_come_back() -> None:
    came_back = []

    class Away(torch.Tensor):
        def cpu(self, *_: Any) -> torch.Tensor:
            came_back.append(True)
            return self.as_subclass(torch.Tensor)

    class Moved:
        """A backbone on another device, as far as one that computes nothing can be there."""

        def __init__(self, backbone: Backbone) -> None:
            self.config, self.tokenizer = backbone.config, backbone.tokenizer
            self.logit_scale = backbone.logit_scale

        def encode_texts(self, tokens_TL: torch.Tensor) -> torch.Tensor:
            assert tokens_TL.device == self.logit_scale.device
            return torch.ones(len(tokens_TL), 4).as_subclass(Away)

    moved: Any = Moved(load_backbone(BackboneConfig("tiny")))
    tower = tower_of(moved)
    assert tower(["a dog"]).tolist() == [[0.5] * 4]
    moved.logit_scale = torch.empty((), device="meta")  # as `search_like` moves it
    assert tower(["a dog", "a cat"]).tolist() == [[0.5] * 4] * 2
    assert len(came_back) == 2


def test_the_tower_does_not_share_memory_with_the_model() -> None:
    backbone = copy.deepcopy(load_backbone(BackboneConfig("tiny")))
    before = both(backbone)[1]
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
    tower = load_text_tower(backbone.config, "f" * 16)
    assert tower is not None
    np.testing.assert_array_equal(tower(TEXTS), before)
