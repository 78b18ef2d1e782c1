"""What a backbone computes."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from tests.backbones.trying import variant
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import FREEZE_GROUPS, Backbone, load_backbone
from vidsampler.errors import UsageError
from vidsampler.heads.seq import Sequence


def test_tiny_is_the_same_for_the_same_seed(tiny: Backbone) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = load_backbone(BackboneConfig("tiny"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.fingerprint() == tiny.fingerprint()
    assert len(tiny.fingerprint()) == 16
    assert load_backbone(BackboneConfig("tiny", seed=1)).fingerprint() != tiny.fingerprint()
    with torch.no_grad():
        again.logit_scale.add_(1e-6)
    assert again.fingerprint() != tiny.fingerprint()


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [("", "quick_gelu", False), ("text_cfg", "heads", 4), ("vision_cfg", "head_width", 32)],
)
def test_the_same_weights_in_another_architecture_have_another_fingerprint(
    tiny: Backbone, tmp_path: Path, part: str, setting: str, value: object
) -> None:
    def change(config: dict[str, Any]) -> None:
        own = config[part] if part else config
        assert own.get(setting) != value
        own[setting] = value

    other = load_backbone(BackboneConfig(str(variant(tmp_path, change)), "none"))
    other.load_state_dict(tiny.state_dict())
    assert other.fingerprint() != tiny.fingerprint()
    same = load_backbone(BackboneConfig(str(variant(tmp_path, lambda config: None)), "none"))
    same.load_state_dict(tiny.state_dict())
    assert same.fingerprint() == tiny.fingerprint()


@pytest.mark.parametrize("name", ["grid", "small"])
def test_backbones_without_texts_have_a_fingerprint(name: str) -> None:
    one, other = (load_backbone(BackboneConfig(name, "none", words=2)) for _ in range(2))
    assert one.fingerprint() == other.fingerprint()
    with torch.no_grad():
        other.logit_scale.add_(1e-3)
    assert one.fingerprint() != other.fingerprint()


def test_a_text_tower_of_another_vocabulary_reads_no_captions(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["text_cfg"]["vocab_size"] = 1000

    backbone = load_backbone(BackboneConfig(str(variant(tmp_path, change)), "none"))
    with pytest.raises(UsageError) as caught:
        backbone.tokenize(["a dog on a beach"])
    assert caught.value.message == (
        "the text tower knows 1,000 words and CLIP's tokenizer has 49,408, so that it cannot read "
        "captions"
    )
    assert backbone.encode_texts(torch.ones(1, backbone.context, dtype=torch.long)).shape == (
        1,
        128,
    )


def test_frames_are_encoded_one_by_one(tiny: Backbone) -> None:
    assert (tiny.width, tiny.pixel_input.height, tiny.pixel_input.width) == (128, 96, 96)
    pixels = torch.randn(5, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = tiny.encode_frames(pixels)
        alone = torch.cat([tiny.encode_frames(each[None]) for each in pixels])
        assert tiny.encode_frames(pixels[:0]).shape == (0, 128)
    assert together.shape == (5, 128)
    assert not torch.allclose(together.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="frames must be"):
        tiny.encode_frames(pixels[..., 1:])


def test_a_captioner_gives_features_that_are_not_normalised(tmp_path: Path) -> None:
    def captioner(config: dict[str, Any]) -> None:
        config["vision_cfg"] |= {"attentional_pool": True, "output_tokens": True}
        config["text_cfg"] |= {"embed_cls": True, "output_tokens": True}
        width = config["text_cfg"]["width"]
        config["multimodal_cfg"] = {"width": width, "heads": 2, "layers": 1}
        config["custom_text"] = True

    backbone = load_backbone(BackboneConfig(str(variant(tmp_path, captioner)), "none"))
    with torch.no_grad():
        frames = backbone.encode_frames(torch.randn(2, 3, 96, 96))
        texts = backbone.encode_texts(torch.ones(2, backbone.context, dtype=torch.long))
    for features in (frames, texts):
        assert (features.norm(dim=1) - 1).abs().min() > 1e-3


def test_a_tower_of_convolutions_holds_colours_last() -> None:
    backbone = load_backbone(BackboneConfig("shapes"))
    tower: Any = backbone.clip.visual
    kernels = [module.weight for module in tower.modules() if isinstance(module, nn.Conv2d)]
    assert len(kernels) > 10
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    size = backbone.pixel_input.height
    pixels = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = backbone.encode_frames(pixels)
        alone = torch.cat([backbone.encode_frames(each[None]) for each in pixels])
        plain = copy.deepcopy(backbone.clip).to(memory_format=torch.contiguous_format)
        expected = cast(Any, plain).encode_image(pixels)
    # In eval mode the batch norms know no batch.
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-5)


def test_gradients_flow_to_both_towers(tiny: Backbone) -> None:
    ids = tiny.tokenize(["a cat"]).ids_TL
    score = (tiny.encode_frames(torch.randn(1, 3, 96, 96)) * tiny.encode_texts(ids)).sum()
    slopes = torch.autograd.grad(score * tiny.scale(), list(tiny.clip.parameters()))
    assert all(slope.isfinite().all() for slope in slopes)
    assert all(slope.abs().max() > 0 for slope in slopes)


def test_pixels_are_normalised_as_the_model_says(tiny: Backbone) -> None:
    frames = np.full((2, 4, 4, 3), 255, np.uint8)
    frames[1] = 0
    pixels = tiny.pixel_input.normalise(frames)
    assert pixels.shape == (2, 3, 4, 4)
    # CLIP's own constants.
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    for c in range(3):
        assert pixels[0, c, 1, 2].item() == pytest.approx((1 - mean[c]) / std[c], rel=1e-5)
        assert pixels[1, c, 3, 0].item() == pytest.approx(-mean[c] / std[c], rel=1e-5)
    assert (tiny.pixel_input.interpolation, tiny.pixel_input.resize) == ("bicubic", "shortest")


def test_bf16_is_autocast_over_fp32_weights(tiny: Backbone) -> None:
    half = load_backbone(BackboneConfig("tiny", precision="bf16"))
    assert all(p.dtype == torch.float32 for p in half.parameters())
    pixels = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    ids = tiny.tokenize(["a dog", "a boat"]).ids_TL
    with torch.inference_mode():
        for theirs, ours in (
            (tiny.encode_frames(pixels), half.encode_frames(pixels)),
            (tiny.encode_texts(ids), half.encode_texts(ids)),
        ):
            assert ours.dtype == torch.float32
            assert not torch.equal(ours, theirs)
            assert torch.cosine_similarity(ours, theirs).min() > 0.999
        # An fp32 backbone stays in fp32 inside somebody else's autocast.
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(tiny.encode_frames(pixels), tiny.encode_frames(pixels))
            assert tiny.encode_frames(pixels).dtype == torch.float32


def test_no_weights_are_needed_to_count() -> None:
    for precision in ("fp32", "bf16"):
        with torch.device("meta"):
            counted = load_backbone(BackboneConfig("tiny", precision=precision))
        assert all(parameter.is_meta for parameter in counted.parameters())
        assert counted.encode_frames(torch.empty(2, 3, 96, 96, device="meta")).shape == (2, 128)
        ids = torch.empty(3, 77, device="meta", dtype=torch.int64)
        assert counted.encode_texts(ids).shape == (3, 128)


def test_the_logit_scale_is_held_at_100() -> None:
    backbone = load_backbone(BackboneConfig("tiny"))
    assert backbone.scale().item() == pytest.approx(1 / 0.07, rel=1e-5)
    with torch.no_grad():
        backbone.logit_scale.fill_(5.0)
    backbone.clamp_logit_scale()
    assert backbone.logit_scale.item() == pytest.approx(math.log(100))
    assert backbone.scale().item() == pytest.approx(100, rel=1e-5)
    with torch.no_grad():
        backbone.logit_scale.fill_(1.0)
    backbone.clamp_logit_scale()
    assert backbone.logit_scale.item() == 1.0


def test_captions_are_cut_to_words_and_padded_with_0(tiny: Backbone) -> None:
    # 49406 and 49407 are CLIP's start and end; 320 "a", 2368 "cat".
    ids, cut = tiny.tokenize(["A cat", "a cat cat cat cat cat", "  a  CAT a"], words=5)
    assert ids.shape == (3, 77)
    assert ids[0, :6].tolist() == [49406, 320, 2368, 49407, 0, 0]
    assert ids[1, :6].tolist() == [49406, 320, 2368, 2368, 49407, 0]
    assert ids[2, :6].tolist() == [49406, 320, 2368, 320, 49407, 0]
    assert not ids[:, 6:].any()
    assert cut == pytest.approx(1 / 3)
    assert tiny.tokenize(["cat " * 100])[0].count_nonzero() == 32
    assert tiny.tokenize([]).ids_TL.shape == (0, 77)
    for words in (1, 78):
        with pytest.raises(UsageError, match=f"words must be from 2 to 77.*not {words}"):
            tiny.tokenize(["x"], words)


def test_padding_changes_no_feature(tiny: Backbone) -> None:
    ids = tiny.tokenize(["two dogs on a beach"]).ids_TL
    other = ids.clone()
    end = int((ids == 49407).nonzero()[0, 1])
    other[0, end + 1 :] = 320
    with torch.inference_mode():
        expected, got = tiny.encode_texts(ids), tiny.encode_texts(other)
        other[0, end - 1] = 320
        assert not torch.allclose(tiny.encode_texts(other), expected, atol=1e-3)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"tokens must be \(T, 77\)"):
        tiny.encode_texts(ids[:, :10])


def test_groups_are_frozen_by_name() -> None:
    backbone = load_backbone(BackboneConfig("tiny"))
    frozen = backbone.freeze(["patch_conv", "embeddings", "ln_pre", "token_embedding"])
    assert frozen == {
        "patch_conv": 128 * 3 * 16 * 16,
        "embeddings": 128 + 37 * 128 + 77 * 128,
        "ln_pre": 2 * 128,
        "token_embedding": 49408 * 128,
    }
    still = {name for name, p in backbone.clip.named_parameters() if not p.requires_grad}
    assert still == {
        *("visual.conv1.weight", "visual.class_embedding", "visual.positional_embedding"),
        *("visual.ln_pre.weight", "visual.ln_pre.bias"),
        *("positional_embedding", "token_embedding.weight"),
    }
    assert backbone.freeze(["all"])["all"] == sum(p.numel() for p in backbone.parameters())
    assert not any(p.requires_grad for p in backbone.parameters())
    assert set(FREEZE_GROUPS) == {*frozen, "all"}
    with pytest.raises(UsageError, match="unknown group of parameters 'ln-pre'; did you mean 'ln_"):
        backbone.freeze(["ln-pre"])


def test_a_sequence_head_starts_from_the_text_tower(tiny: Backbone) -> None:
    head = Sequence(width=128, frames=8)
    assert head.start_from(tiny)
    clip: Any = tiny.clip
    table = head.encoder.frame_position_embeddings.weight
    assert torch.equal(table, clip.positional_embedding)
    last: Any = head.encoder.resblocks[3]
    theirs = clip.transformer.resblocks[3]
    assert torch.equal(last.attn.in_proj_weight, theirs.attn.in_proj_weight)
    assert torch.equal(last.mlp.c_proj.bias, theirs.mlp.c_proj.bias)
    # The same function too: QuickGELU and attention as in CLIP, but for the mask and the eps.
    x = torch.randn(1, 1, 128)
    with torch.inference_mode():
        torch.testing.assert_close(last(x), theirs(x), rtol=1e-4, atol=1e-5)
