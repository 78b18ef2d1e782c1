"""Names of models and weights, and hubs that cannot be reached."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from tests.backbones.trying import TINY, refuses, variant
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.errors import ConfigError, UsageError, VidsamplerError


def test_an_unknown_name_is_an_error_with_the_nearest() -> None:
    error = refuses(UsageError, "ViT-B32-quickgelu")
    assert "unknown backbone 'ViT-B32-quickgelu'; did you mean 'ViT-B-32-quickgelu'?" in (
        error.message
    )
    assert len(error.message) < 120
    error = refuses(UsageError, "tinny")
    assert "did you mean 'tiny'?" in error.message


def test_openai_weights_need_quick_gelu() -> None:
    for name in ("ViT-B-32", "ViT-B-16", "RN50"):
        error = refuses(UsageError, name, "openai")
        assert error.message == (
            f"weights 'openai' were trained with QuickGELU, but {name} computes GELU: "
            "its features would be wrong"
        )
        assert error.hint == f"take --backbone {name}-quickgelu"
    # So do other weights whose tag says so; and `auto` is no way round.
    assert "QuickGELU" in refuses(UsageError, "ViT-B-32", "metaclip_400m").message
    assert "QuickGELU" in refuses(UsageError, "ViT-B-32", "auto").message


def test_openai_weights_by_their_hub_id_need_quick_gelu_too() -> None:
    hub = "timm/vit_base_patch32_clip_224.openai"
    for pretrained in (hub, f"hf-hub:{hub}"):
        error = refuses(UsageError, "ViT-B-32", pretrained)
        assert error.message == (
            f"weights {hub!r} were trained with QuickGELU, but ViT-B-32 computes GELU: "
            "its features would be wrong"
        )


def test_unknown_weights() -> None:
    error = refuses(UsageError, "ViT-B-32", "laion2b_s34b_b79")
    assert "unknown weights of ViT-B-32 'laion2b_s34b_b79'; did you mean 'laion2b_s34b_b79k'?" in (
        error.message
    )
    assert refuses(UsageError, "tiny", "gone/w.safetensors").message == (
        "there is no weights file gone/w.safetensors"
    )
    error = refuses(UsageError, "ViT-H-14", "auto")
    assert "needs to be told which weights to take (its tags: laion2b_s32b_b79k" in error.message


def test_configs_that_cannot_be_used(tmp_path: Path) -> None:
    assert refuses(UsageError, str(tmp_path / "no.json")).message.endswith("no.json")
    assert "no open_clip_config.json in" in refuses(UsageError, str(tmp_path)).message
    (tmp_path / "bad.json").write_text("{")
    assert "not JSON" in refuses(ConfigError, str(tmp_path / "bad.json")).message
    (tmp_path / "other.json").write_text('{"embed_dim": 3}')
    assert "no vision_cfg" in refuses(ConfigError, str(tmp_path / "other.json")).message
    strange = variant(tmp_path, lambda config: config["vision_cfg"].update(colour=3))
    assert "does not fit open_clip" in refuses(ConfigError, str(strange)).message
    assert "colour" in refuses(ConfigError, str(strange)).message


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="words must be at least 2"):
        BackboneConfig(words=1)
    with pytest.raises(ConfigError, match="precision must be fp32, bf16 or auto, not 'fp16'"):
        BackboneConfig(precision="fp16")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"words must be at most 77.*not 78"):
        load_backbone(BackboneConfig("tiny", words=78))


@pytest.mark.parametrize(
    ("name", "pretrained", "what"),
    [
        ("hf-hub:nobody/nothing", "auto", "open_clip_config.json of nobody/nothing"),
        ("tiny", "nobody/nothing", "open_clip_model.safetensors of nobody/nothing"),
        ("ViT-B-32", "laion2b_s34b_b79k", "open_clip_model.safetensors of laion/CLIP-ViT-B-32"),
    ],
)
def test_a_hub_that_cannot_be_reached(
    name: str, pretrained: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    # A port that refuses, and an empty cache.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    start = time.perf_counter()
    error = refuses(VidsamplerError, name, pretrained)
    assert time.perf_counter() - start < 5
    assert error.code == "network"
    assert error.message.startswith(f"cannot fetch {what}")
    assert "refused" in error.message
    for way_out in ("--pretrained FILE", "HF_HOME", "--pretrained none"):
        assert way_out in (error.hint or "")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refuses(VidsamplerError, name, pretrained).message.endswith("HF_HUB_OFFLINE is set")


def test_a_file_in_the_hubs_cache_needs_no_network(
    tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repository = tmp_path / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    torch.save(tiny.clip.state_dict(), snapshot / "open_clip_pytorch_model.bin")
    facts = {"model_cfg": json.loads(TINY.read_text()), "preprocess_cfg": {"mean": [0.5, 0.4, 0.3]}}
    (snapshot / "open_clip_config.json").write_text(json.dumps(facts))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for config in (
        BackboneConfig("tiny", "somebody/tiny", seed=8),
        BackboneConfig("hf-hub:somebody/tiny", seed=8),
    ):
        backbone = load_backbone(config)
        assert backbone.fingerprint() == tiny.fingerprint()
        # What the weights want, wherever the model's config is from.
        assert backbone.pixel_input.mean == (0.5, 0.4, 0.3)
    plain = variant(tmp_path, lambda config: config.pop("quick_gelu"))
    error = refuses(UsageError, str(plain), "somebody/tiny")
    assert "weights 'somebody/tiny' were trained with QuickGELU" in error.message
    # Without a config nothing is known, and nothing is fetched to know it.
    (snapshot / "open_clip_config.json").unlink()
    assert load_backbone(BackboneConfig("tiny", "somebody/tiny")).pixel_input == tiny.pixel_input
