"""The CLIP of a retriever in other tools: open_clip and transformers load it and agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.published import SMALL, WIDE, Draw, Sizes, openai_clip, written
from tests.retrieving import config_of, retriever_of
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import load_backbone
from vidsampler.checkpoints.exporting import export_clip
from vidsampler.checkpoints.importing import import_checkpoint
from vidsampler.errors import InputError, UsageError
from vidsampler.retriever import Retriever
from vidsampler.retriever_config import RetrieverConfig


def imported(folder: Path, sizes: Sizes) -> Retriever:
    file = written(folder / "file.pt", openai_clip(Draw(5), sizes))
    import_checkpoint(file, folder / "run")
    return Retriever.from_pretrained(folder / "run")


def inputs(sizes: Sizes) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(3, 3, sizes.image, sizes.image, generator=generator)
    ids = torch.randint(1, sizes.words - 2, (3, sizes.context), generator=generator)
    for row, each in enumerate(ids):
        each[4 + row] = sizes.words - 1
        each[5 + row :] = 0
    return pixels, ids


@pytest.mark.parametrize("sizes", [SMALL, WIDE], ids=["small", "wide"])
def test_open_clip_loads_it(sizes: Sizes, tmp_path: Path) -> None:
    import open_clip

    retriever = imported(tmp_path, sizes)
    done = export_clip(tmp_path / "run", tmp_path / "out" / "clip.safetensors")
    assert done.tensors == len(load_file(done.weights))
    about = json.loads(done.config.read_text())
    assert done.config == tmp_path / "out" / "open_clip_config.json"
    assert about["preprocess_cfg"]["mean"] == [0.48145466, 0.4578275, 0.40821073]
    model = open_clip.CLIP(**about["model_cfg"])
    open_clip.load_checkpoint(model, str(done.weights), strict=True)
    model.eval()
    pixels, ids = inputs(sizes)
    with torch.no_grad():
        assert torch.equal(model.encode_image(pixels), retriever.backbone.encode_frames(pixels))
        assert torch.equal(model.encode_text(ids), retriever.backbone.encode_texts(ids))
    # And back into a backbone of ours.
    again = load_backbone(BackboneConfig(str(tmp_path / "out"), str(done.weights), words=5))
    assert again.fingerprint() == retriever.backbone.fingerprint()


@pytest.mark.parametrize("sizes", [SMALL, WIDE], ids=["small", "wide"])
def test_transformers_loads_it(sizes: Sizes, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    retriever = imported(tmp_path, sizes)
    done = export_clip(
        tmp_path / "run", tmp_path / "out" / "model.safetensors", naming="huggingface"
    )
    model, told = transformers.CLIPModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(told[each] for each in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert done.parameters == sum(each.numel() for each in model.parameters())
    model.eval()
    pixels, ids = inputs(sizes)
    with torch.no_grad():
        images: Any = model.get_image_features(pixel_values=pixels)
        texts: Any = model.get_text_features(input_ids=ids)
        scale = model.logit_scale.item()
    images = getattr(images, "pooler_output", images)
    texts = getattr(texts, "pooler_output", texts)
    close(images, retriever.backbone.encode_frames(pixels))
    close(texts, retriever.backbone.encode_texts(ids))
    assert scale == pytest.approx(4.6)
    # What was written is read as well.
    state = {f"clip.{key}": value for key, value in load_file(done.weights).items()}
    back = import_checkpoint(written(tmp_path / "hf.pt", state), tmp_path / "back")
    again = Retriever.from_pretrained(back.folder)
    assert again.backbone.fingerprint() == retriever.backbone.fingerprint()


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-5, atol=1e-5)


def test_a_run_folder_has_a_best_and_a_last(tmp_path: Path) -> None:
    for seed, name in enumerate(("best", "last")):
        retriever = retriever_of("topk", "mlp")
        with torch.no_grad():
            retriever.backbone.logit_scale.fill_(float(seed))
        retriever.save(tmp_path / "run" / name)
    for seed, name in enumerate(("best", "last")):
        file = tmp_path / name / "clip.safetensors"
        done = export_clip(tmp_path / "run", file, which=name)
        tensors = load_file(done.weights)
        assert tensors["logit_scale"].item() == seed
        assert not any(key.startswith(("sampler", "head", "backbone")) for key in tensors)


def test_a_checkpoint_is_a_weights_file_of_its_backbone(tmp_path: Path) -> None:
    retriever = retriever_of("gate", "emcl")
    with torch.no_grad():
        retriever.backbone.logit_scale.fill_(3.5)
    retriever.save(tmp_path)
    backbone = load_backbone(BackboneConfig("tiny", str(tmp_path), seed=5))
    assert backbone.fingerprint() == retriever.backbone.fingerprint()


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    retriever_of("uniform", "mean").save(tmp_path / "run")
    for file, kind, message in (
        ("clip.pt", UsageError, "must end in .safetensors"),
        ("run/model.safetensors", UsageError, "is there already"),
    ):
        with pytest.raises(kind, match=message):
            export_clip(tmp_path / "run", tmp_path / file)
    with pytest.raises(InputError, match="there is no run folder"):
        export_clip(tmp_path / "no", tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="is no checkpoint"):
        export_clip(tmp_path, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="unknown naming 'hugingface'; did you mean 'huggingface'"):
        export_clip(tmp_path / "run", tmp_path / "x.safetensors", naming="hugingface")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"config\.json is there already"):
        export_clip(tmp_path / "run", tmp_path / "x.safetensors", naming="huggingface")
    assert (tmp_path / "config.json").read_text() == "{}"
    assert not (tmp_path / "x.safetensors").exists()
    whole = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "model.safetensors").write_bytes(whole[:-5])
    with pytest.raises(InputError, match="cannot read"):
        export_clip(tmp_path / "run", tmp_path / "x.safetensors")
    assert config_of().notes == ()


@pytest.mark.parametrize("naming", ["openclip", "huggingface"])
@pytest.mark.parametrize("name", ["grid", "small"])
def test_a_run_without_texts_is_no_clip(tmp_path: Path, name: str, naming: str) -> None:
    backbone = BackboneConfig(name, "none", words=2)
    Retriever.from_config(RetrieverConfig(backbone, frames=4)).save(tmp_path / "run")
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=f"the backbone {name} of .* reads no captions"):
        export_clip(tmp_path / "run", out / "clip.safetensors", naming=naming)
    assert not out.exists()
