"""From videos and captions to batches: the loader reads what `shard --dataset` writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.rendering import render
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import load_backbone
from vidsampler.config import set_layer
from vidsampler.join import join, join_config
from vidsampler.loading.loader import Loader, LoaderConfig


def batches_of(folder: Path, batch_size: int, frames: int) -> Loader:
    backbone = load_backbone(BackboneConfig(name="tiny", pretrained="none"))
    config = LoaderConfig(frames=frames, size=64, batch_size=batch_size, workers=1)
    return Loader(folder, config, lambda texts: backbone.tokenize(texts).ids_TL)


def test_a_table_of_captions_becomes_batches(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    rows = ["video,caption,split"]
    for number in range(6):
        render(videos / f"v{number}.mp4", 20)
        rows += [f"v{number},the {which} of {number},train" for which in ("first", "second")]
    (videos / "captions.csv").write_text("\n".join(rows))
    join(videos, tmp_path / "out", None, join_config("captions", [set_layer("recipe.frames=8")]))
    loader = batches_of(tmp_path / "out" / "train", 3, 5)
    found = list(loader)
    assert len(found) == 2
    assert sorted(key for batch in found for key in batch.keys) == [f"v{i}" for i in range(6)]
    for batch in found:
        assert batch.frames_BNCHW.shape == (3, 5, 3, 64, 64)
        assert bool(batch.valid_BN.all())
        assert batch.tokens_BL is not None
        assert batch.tokens_BL.dtype == torch.int64


@pytest.mark.slow
def test_real_clips_become_batches(test_data: Path, tmp_path: Path) -> None:
    join(
        test_data / "clips",
        tmp_path / "out",
        None,
        join_config("captions", [set_layer("recipe.frames=8"), set_layer("splits=[test]")]),
    )
    keys = [key for batch in batches_of(tmp_path / "out" / "test", 8, 8) for key in batch.keys]
    assert len(keys) == len(set(keys)) == 16
