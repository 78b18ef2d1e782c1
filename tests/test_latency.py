"""Measured times are of what they say."""

from __future__ import annotations

import pytest
import torch

from tests.retrieving import config_of
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.latency import backbone_in, measure, medians, quick_backbone, random_frames, with_k

CPU = torch.device("cpu")


def test_parts_and_the_whole() -> None:
    backbone = backbone_in(BackboneConfig("tiny"), CPU)
    timed = measure(config_of("gate", frames=4), 2, videos=2, repeats=3, backbone=backbone)
    assert (timed.frames, timed.kept, timed.videos, timed.repeats) == (4, 2, 2, 3)
    assert set(timed.parts_ms) == {"backbone", "extractor", "policy"}
    assert min(timed.parts_ms.values()) > 0
    assert timed.device.startswith("cpu (")
    assert timed.to_json()["ratio"] == timed.kept_only_ms / timed.all_frames_ms
    plain = measure(config_of("random", frames=4), 2, videos=2, repeats=1, backbone=backbone)
    assert set(plain.parts_ms) == {"backbone"}


def test_a_policy_that_looks_at_the_backbones_features_times_all_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    encode = Backbone.encode_frames

    def noted(backbone: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return encode(backbone, pixels)

    monkeypatch.setattr(Backbone, "encode_frames", noted)
    backbone = backbone_in(BackboneConfig("tiny"), CPU)
    config = config_of("topk", frames=4, extractor="clip")
    timed = measure(config, 2, videos=2, repeats=1, backbone=backbone)
    assert set(timed.parts_ms) == {"backbone", "policy"}
    # The whole, all frames and the part, each once to warm up and once to time.
    assert seen == [8] * 6


@pytest.mark.parametrize("sampler", ["gate", "topk", "coverage"])
def test_exactly_k_frames_are_kept(sampler: str) -> None:
    backbone = backbone_in(BackboneConfig("tiny"), CPU)
    config, frames = config_of(sampler, frames=5), random_frames(3, 5, 96, CPU)
    assert with_k(config, 3, backbone).embed_videos(frames).counts_V.tolist() == [3, 3, 3]
    assert with_k(config, None, backbone).embed_videos(frames).counts_V.tolist() == [5, 5, 5]


def test_weights_held_in_bf16_give_what_autocast_gives() -> None:
    held = backbone_in(BackboneConfig("tiny", precision="bf16"), CPU)
    kernel = held.clip.get_parameter("visual.conv1.weight")
    assert kernel.dtype == torch.bfloat16
    plain = load_backbone(BackboneConfig("tiny", precision="bf16"))
    pixels = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    tokens = plain.tokenize(["a red square"]).ids_TL
    with torch.no_grad():
        pairs = [
            (held.encode_frames(pixels), plain.encode_frames(pixels)),
            (held.encode_texts(tokens), plain.encode_texts(tokens)),
        ]
    for ours, theirs in pairs:
        # bf16 has 8 bits: norms and sums between the matrices may round elsewhere.
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_the_quicker_precision_is_taken() -> None:
    assert quick_backbone(BackboneConfig("tiny"), CPU).config.precision in ("fp32", "bf16")


def test_medians_call_each_once_more_than_they_count() -> None:
    calls: list[str] = []
    given = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    assert set(medians(given, 2, CPU)) == {"a", "b"}
    # Once to warm up, then by turns.
    assert calls == ["a", "b", "a", "b", "a", "b"]
