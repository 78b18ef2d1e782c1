"""A real image-text model, by its folder and on real clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.backbones.trying import variant
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone


def test_a_text_folder_beside_a_config_is_found(tmp_path: Path) -> None:
    from vidsampler.backbones.sources import find_model

    def with_text(name: str) -> dict[str, Any]:
        def change(config: dict[str, Any]) -> None:
            config["text_cfg"] = {"hf_model_name": name, "hf_tokenizer_name": name}

        text: dict[str, Any] = find_model(str(variant(tmp_path, change))).model["text_cfg"]
        return text

    assert with_text("TEXT_DIR")["hf_model_name"] == "TEXT_DIR"
    (tmp_path / "text").mkdir()
    (tmp_path / "words").mkdir()
    for name, folder in (("TEXT_DIR", "text"), ("text", "text"), ("words", "words")):
        wanted = str(tmp_path / folder)
        assert with_text(name) == {"hf_model_name": wanted, "hf_tokenizer_name": wanted}
    assert with_text("org/model")["hf_model_name"] == "org/model"


@pytest.fixture(scope="module")
def real(test_data: Path) -> Backbone:
    pytest.importorskip("transformers")
    return load_backbone(BackboneConfig(str(test_data / "weights" / "lite2_minilm")))


def test_a_real_model_by_its_folder(real: Backbone, test_data: Path) -> None:
    assert (real.width, real.pixel_input.height) == (1000, 260)
    # BERT's start and end are 101 and 102.
    ids, cut = real.tokenize(["a dog", "a dog runs on a very long beach"], words=6)
    assert ids[0, :5].tolist() == [101, 1037, 3899, 102, 0]
    assert ids[1, 5:8].tolist() == [102, 0, 0]
    assert cut == 0.5
    assert real.text_tower() is None
    frozen = real.freeze(["patch_conv", "token_embedding", "ln_pre"])
    assert frozen["patch_conv"] == 32 * 3 * 3 * 3
    assert frozen["token_embedding"] == 30522 * 384
    assert frozen["ln_pre"] == 0
    config = test_data / "weights" / "lite2_minilm" / "open_clip_config.json"
    assert load_backbone(BackboneConfig(str(config))).fingerprint() == real.fingerprint()


@pytest.mark.slow
def test_a_real_model_on_real_clips(real: Backbone, test_data: Path) -> None:
    import csv

    from PIL import Image

    from vidsampler.heads.mean import Mean
    from vidsampler.video.positions import uniform_positions
    from vidsampler.video.reader import Video

    captions: dict[str, str] = {}
    with (test_data / "clips" / "captions.csv").open() as file:
        for row in csv.DictReader(file):
            if row["set"] != "ucf101":
                captions.setdefault(row["video"], row["caption"])
    assert len(captions) == 141
    # Every third, by 4 frames, to save time; of all, by 8, evaluation finds what is published.
    captions = dict(list(captions.items())[::3])
    size = real.pixel_input.height
    frames = []
    for name in captions:
        with Video(test_data / "clips" / name) as video:
            numbers = uniform_positions(video.index.frames, 4)
            found = {frame.number: frame.rgb for frame in video.frames(numbers, size)}
        small = []
        for number in numbers.tolist():
            image = Image.fromarray(found[number])
            scale = size / min(image.size)
            width, height = (round(side * scale) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
            left, top = (width - size) // 2, (height - size) // 2
            small.append(np.asarray(image.crop((left, top, left + size, top + size))))
        with torch.inference_mode():
            frames.append(real.encode_frames(real.pixel_input.normalise(np.stack(small))))
    with torch.inference_mode():
        texts = real.encode_texts(real.tokenize(list(captions.values()), 77).ids_TL)
    head = Mean(width=1000, frames=4)
    scores = head.similarity(texts, torch.stack(frames), torch.ones(47, 4))
    ranks = (scores > scores.diagonal()[:, None]).sum(1) + 1
    recalls = [100 * (ranks <= k).float().mean().item() for k in (1, 5, 10)]
    # One query of 47 is 2.1.
    assert recalls == pytest.approx([27.7, 72.3, 83.0], abs=2.2)
