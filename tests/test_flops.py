"""Multiply-adds: the numbers that the papers and the counters agree on."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from ptflops import get_model_complexity_info

from vidsampler.backbones.config import BackboneConfig
from vidsampler.config import set_layer
from vidsampler.errors import UsageError
from vidsampler.flops import (
    count,
    count_extractor,
    count_policy,
    flops,
    meta_backbone,
    published_policy,
    unfused,
)
from vidsampler.methods import MethodConfig, method_config
from vidsampler.retriever_config import RetrieverConfig
from vidsampler.samplers.extractors import build_network
from vidsampler.samplers.policy_config import ExtractorConfig, PolicyConfig


def config_of(method: str, *settings: str) -> MethodConfig:
    return method_config(method, None, [set_layer(each) for each in settings])


def vit(layers: int, width: int, patch: int, side: int, out: int) -> float:
    """GMACs of a ViT by hand: patches, 12 W^2 a token and 2 W for each pair of tokens, output."""
    patches = (side // patch) ** 2
    tokens = patches + 1
    block = tokens * 12 * width**2 + 2 * tokens**2 * width
    return (patches * 3 * patch**2 * width + layers * block + width * out) / 1e9


@pytest.mark.parametrize(
    ("name", "gmacs", "patch"), [("ViT-B-32", 4.409, 32), ("ViT-B-16", 17.56, 16)]
)
def test_image_towers(name: str, gmacs: float, patch: int) -> None:
    counted = flops(config_of("clip4clip", f"backbone.name={name}-quickgelu"))
    assert counted.backbone == pytest.approx(gmacs, rel=1e-3)
    assert counted.backbone == pytest.approx(vit(12, 768, patch, 224, 512), rel=1e-9)
    # The text tower: 12 blocks of width 512 on 77 tokens, and the projection of one of them.
    text = 12 * (77 * 12 * 512**2 + 2 * 77**2 * 512) / 1e9 + 512 * 512 / 1e9
    assert counted.text == pytest.approx(text, rel=1e-9)


def test_a_text_model_of_hugging_face(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    layers, width, inner, tokens, out = 2, 64, 160, 77, 48
    model = {
        "embed_dim": out,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {
            "hf_model_name": "text",
            "hf_tokenizer_name": "text",
            "hf_proj_type": "linear",
            "hf_pooler_type": "mean_pooler",
        },
    }
    text = {
        "model_type": "bert",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "vocab_size": 100,
    }
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text(json.dumps(text))
    (tmp_path / "open_clip_config.json").write_text(json.dumps(model))
    counted = flops(RetrieverConfig(BackboneConfig(str(tmp_path), "none")))
    block = tokens * (4 * width**2 + 2 * width * inner) + 2 * tokens**2 * width
    assert counted.text == pytest.approx((layers * block + width * out) / 1e9, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "size", "gmacs"),
    [
        ("mobilenet_v2", 224, 0.2995),
        ("mobilenet_v3_large", 224, 0.2153),
        ("efficientnet_b2", 224, 0.658),
        ("efficientnet_b2", 260, 0.992),
        ("efficientnet_b3", 224, 0.961),
        ("efficientnet_b3", 300, 1.826),
        ("small", 112, 0.0156),
    ],
)
def test_extractors(name: str, size: int, gmacs: float) -> None:
    policy = PolicyConfig(ExtractorConfig(name, size, pretrained=None))
    assert count_extractor(policy) == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize(
    ("method", "frames", "kept", "expected", "digits"),
    [
        ("mmsampler", 16, 11.031, 53.83, 2),
        ("mmsampler", 32, 18, 89.7, 1),
        ("adaclip", 16, 12, 56.636, 3),
        ("clip4clip", 32, None, 141.2, 1),
    ],
)
def test_the_accounting_of_the_papers(
    method: str, frames: int, kept: float | None, expected: float, digits: int
) -> None:
    config = config_of(method, f"frames={frames}")
    per_video = flops(config, kept=kept, accounting="published").per_video
    assert round(per_video, digits) == expected


def test_counted_and_published_beside_each_other() -> None:
    config = config_of("mmsampler")
    counted = flops(config, kept=11.031)
    assert counted.per_video == pytest.approx(53.495, abs=1e-3)
    published = flops(config, kept=11.031, accounting="published")
    # The temporal model and the head have formulas, which the counter confirms.
    assert counted.temporal == pytest.approx(published.temporal, rel=1e-9)
    assert counted.policy_head == pytest.approx(published.policy_head, rel=1e-9)
    # As mmSampler's own table rounds them.
    assert (round(counted.temporal, 4), round(counted.policy_head, 4)) == (0.0038, 0.0005)


@pytest.mark.parametrize("temporal", ["transformer", "lstm", "bilstm", "none"])
@pytest.mark.parametrize("features", ["frame", "concat"])
def test_every_temporal_model_by_formula(temporal: Any, features: Any) -> None:
    policy = PolicyConfig(
        ExtractorConfig("small", pretrained=None),
        features,
        temporal,
        "fc" if temporal == "lstm" else "mlp",
        width=64,
        hidden=32,
    )
    for actions in (1, 2):
        counted = count_policy(policy, 5, 0, actions)
        assert counted == pytest.approx(published_policy(policy, 5, 0, actions), rel=1e-9)


def test_a_policy_that_looks_at_the_backbones_features_encodes_all_frames() -> None:
    config = config_of("adaclip", "sampler.policy.extractor.name=clip", "backbone.name=tiny")
    few, all_of_them = flops(config, kept=4), flops(config)
    assert few.extractor == 0
    assert few.per_video == all_of_them.per_video
    assert few.encoded == 16


def test_the_retrieval_head_stands_beside() -> None:
    mlp = flops(config_of("adaclip", "backbone.name=tiny"), kept=12)
    # D -> 2D -> D -> 1 on 12 frames, their weighted sum, and the product with the text; D = 128.
    scores = 12 * (128 * 256 + 256 * 128 + 128)
    assert mlp.retrieval_head == pytest.approx((scores + 12 * 128 + 128) / 1e9, rel=1e-9)
    parts = sum(mlp.parts().values())
    assert parts < mlp.per_video
    assert mlp.per_video == pytest.approx(
        12 * mlp.backbone + 16 * (mlp.extractor + mlp.temporal + mlp.policy_head)
    )


@pytest.mark.parametrize("name", ["mean", "seq", "xpool", "tmass", "emcl", "emcl-features"])
def test_every_head_can_be_counted(name: str) -> None:
    config = config_of("mmsampler", "backbone.name=tiny", f"head={name}")
    assert flops(config, kept=7.5).retrieval_head > 0


def of_ptflops(model: torch.nn.Module, side: int) -> float:
    """GMACs of a frame by ptflops, with weights that are there but mean nothing."""
    with unfused(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        macs, _ = get_model_complexity_info(
            model.to_empty(device="cpu").eval(),
            (3, side, side),
            as_strings=False,
            print_per_layer_stat=False,
            backend="aten",
        )
    assert isinstance(macs, (int, float))
    return macs / 1e9


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("mobilenet_v2", 224),
        ("mobilenet_v3_large", 224),
        ("efficientnet_b2", 260),
        ("efficientnet_b3", 300),
        ("small", 112),
    ],
)
def test_ptflops_agrees_on_extractors(name: str, side: int) -> None:
    """Another counter; it takes norms and activations for multiply-adds too."""
    settings = ExtractorConfig(name, pretrained=None)
    with torch.device("meta"):
        network = build_network(settings)
    ours = count_extractor(PolicyConfig(settings))
    assert of_ptflops(network, side) == pytest.approx(ours, rel=0.05)


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16"])
def test_ptflops_agrees_on_image_towers(name: str) -> None:
    config = RetrieverConfig(BackboneConfig(f"{name}-quickgelu"))
    tower: torch.nn.Module = meta_backbone(config).clip.get_submodule("visual")
    assert of_ptflops(tower, 224) == pytest.approx(flops(config).backbone, rel=0.01)


def test_counting_leaves_the_switches_as_they_were() -> None:
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    count(lambda: torch.zeros(2, 3) @ torch.zeros(3, 4))
    assert count(lambda: torch.zeros(2, 3) @ torch.zeros(3, 4)) == 24e-9
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled) == before


@pytest.mark.parametrize("kept", [0.0, -1.0, 17.0, float("nan")])
def test_kept_frames_out_of_range(kept: float) -> None:
    with pytest.raises(UsageError, match="kept frames must be above 0 and at most the 16"):
        flops(config_of("mmsampler"), kept=kept)


def test_what_has_no_published_constant() -> None:
    for setting, what in (
        ("backbone.name=tiny", "the backbone tiny, only of ViT-B-32, ViT-B-16"),
        (
            "sampler.policy.extractor={name: small, pretrained: null}",
            "the extractor small, only of mobilenet_v2",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            flops(config_of("mmsampler", setting), accounting="published")
        assert what in caught.value.message
        assert caught.value.hint == "take --accounting counted"
