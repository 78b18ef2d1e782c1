"""Weights files: read strictly, or refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.backbones.trying import TINY, refuses, variant
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.backbones.weights import _openai_digests
from vidsampler.errors import UsageError


def test_weights_come_in_many_containers(tiny: Backbone, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {key: value.clone() for key, value in tiny.clip.state_dict().items()}
    save_file(state, tmp_path / "plain.safetensors")
    torch.save(state, tmp_path / "plain.pt")
    wrapped = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    for name in ("plain.safetensors", "plain.pt", "wrapped.pt"):
        config = BackboneConfig("tiny", str(tmp_path / name), seed=9)
        assert load_backbone(config).fingerprint() == tiny.fingerprint()


class _OpenAIArchive(nn.Module):
    """A stand-in for the archives that OpenAI published: tensors, and three numbers beside."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for key, value in state.items():
            *parents, leaf = key.split(".")
            module: nn.Module = self
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, nn.Module())
                module = getattr(module, parent)
            module.register_buffer(leaf, value)
        for number in ("input_resolution", "context_length", "vocab_size"):
            self.register_buffer(number, torch.tensor(77))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_an_archive_of_openais_needs_quick_gelu(
    tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _OpenAIArchive({k: v.clone() for k, v in tiny.clip.state_dict().items()})
    path = tmp_path / "ViT.pt"
    torch.jit.script(archive).save(str(path))
    error = refuses(UsageError, "tiny", str(path))
    assert "a TorchScript archive that OpenAI did not publish" in error.message
    published = _openai_digests()
    # ViT-B-32.pt, as its address says.
    assert "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af" in published
    assert len(published) == 9
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr("vidsampler.backbones.weights._openai_digests", lambda: {own})
    assert load_backbone(BackboneConfig("tiny", str(path), seed=3)).fingerprint() == (
        tiny.fingerprint()
    )
    plain = variant(tmp_path, lambda config: config.pop("quick_gelu"))
    error = refuses(UsageError, str(plain), str(path))
    assert "were trained with QuickGELU, but" in error.message
    assert "computes GELU" in error.message


def test_weights_lie_beside_a_config(tiny: Backbone, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps(
            {
                "model_cfg": json.loads(TINY.read_text()),
                "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "interpolation": "bilinear"},
            }
        )
    )
    error = refuses(UsageError, str(tmp_path), "auto")
    assert error.hint == "give --pretrained TAG or FILE, or --pretrained none for random weights"
    torch.save(tiny.clip.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    backbone = load_backbone(BackboneConfig(str(tmp_path), seed=4))
    assert backbone.fingerprint() == tiny.fingerprint()
    assert backbone.pixel_input.mean == (0.5, 0.4, 0.3)
    assert backbone.pixel_input.interpolation == "bilinear"
    for pretrained in (tmp_path, tmp_path / "open_clip_pytorch_model.bin"):
        own = load_backbone(BackboneConfig("tiny", str(pretrained), seed=4))
        assert own.fingerprint() == tiny.fingerprint()
        assert own.pixel_input.mean == (0.5, 0.4, 0.3)
    (tmp_path / "plain").mkdir()
    plain = variant(tmp_path / "plain", lambda config: config.pop("quick_gelu"))
    assert "trained with QuickGELU" in refuses(UsageError, str(plain), str(tmp_path)).message


def test_weights_for_another_model_are_an_error_with_the_shapes(tmp_path: Path) -> None:
    def patches_of_8(config: dict[str, Any]) -> None:
        config["vision_cfg"]["patch_size"] = 8

    path = variant(tmp_path, patches_of_8)
    other = load_backbone(BackboneConfig(str(path), "none"))
    torch.save(other.clip.state_dict(), tmp_path / "8.pt")
    error = refuses(UsageError, "tiny", str(tmp_path / "8.pt"))
    assert error.message.endswith(
        "8.pt belong to another model than tiny: visual.conv1.weight is (128, 3, 8, 8) there and "
        "(128, 3, 16, 16) here, and 1 more tensors differ"
    )


def test_missing_and_foreign_tensors_are_errors(tiny: Backbone, tmp_path: Path) -> None:
    state = tiny.clip.state_dict()
    short = {key: value for key, value in state.items() if key != "ln_final.weight"}
    torch.save(short, tmp_path / "short.pt")
    message = refuses(UsageError, "tiny", str(tmp_path / "short.pt")).message
    assert message.endswith("they lack 1 tensors of the model, such as ln_final.weight (128,)")
    torch.save({**state, "head.bias": torch.zeros(3)}, tmp_path / "long.pt")
    message = refuses(UsageError, "tiny", str(tmp_path / "long.pt")).message
    assert message.endswith("they have 1 tensors that the model has not, such as head.bias (3,)")


class _Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def test_pickled_objects_are_not_opened(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1), "config": _Harm(tmp_path / "a")}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(_Harm(tmp_path / "b"), protocol=2))
    for name in ("new.pt", "old.pt"):
        error = refuses(UsageError, "tiny", str(tmp_path / name))
        assert "pickled objects besides tensors" in error.message
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_a_broken_file_is_an_error_with_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 nothing of the kind")
    error = refuses(UsageError, "tiny", str(tmp_path / name))
    assert name in error.message
    torch.save([1, 2], tmp_path / "list.pt")
    assert (
        "holds no table of named tensors"
        in refuses(UsageError, "tiny", str(tmp_path / "list.pt")).message
    )
