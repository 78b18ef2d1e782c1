"""Ranks, and what is measured while training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.tiny_run import tiny, write_shards
from vidsampler.datasets.shapes import ShapesVideo, Slot
from vidsampler.evaluation.ranks import rank_matrix
from vidsampler.loading.loader import Loader, LoaderConfig
from vidsampler.retriever import Retriever
from vidsampler.train import evaluation_loader, informative_share
from vidsampler.training.validation import Measured, measure
from vidsampler.world import World

ALONE = World(0, 1, torch.device("cpu"))


def test_a_split_is_measured_as_one_batch_would_be(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", val=7)
    config = tiny(tmp_path, "adaclip", training={"batch_size": 3})
    retriever = Retriever.from_config(config)
    loader = evaluation_loader(tmp_path / "shards" / "val", retriever, config)
    found = measure(retriever, loader, ALONE)
    assert (found.queries, found.videos, found.kept, found.candidates) == (7, 7, 2.0, 4.0)
    assert found.chance == pytest.approx(100 / 7)
    assert list(found.kept_times) == loader.split.keys
    settings = LoaderConfig(
        4, size=32, captions="none", batch_size=7, shuffle=False, drop_last=False, workers=0
    )
    whole = Loader(tmp_path / "shards" / "val", settings)
    (batch,) = whole
    videos = retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN)
    texts = retriever.embed_texts(retriever.backbone.tokenize(whole.split.texts).ids_TL)
    by_hand = rank_matrix(retriever.similarity(texts, videos)).t2v
    for most in (1, 5, 10):
        assert found.recall[f"R@{most}"] == pytest.approx(
            100 * sum(rank <= most for rank in by_hand.tolist()) / 7
        )
    assert list(found.kept_times.values()) == [[float(i) for i in row] for row in videos.kept()]


def test_shares_of_informative_frames() -> None:
    slots = (
        Slot(0.0, "unrelated", None, None),
        Slot(1.0, "informative", 0, None),
        Slot(2.0, "frozen", 0, 1),
        Slot(3.0, "informative", 1, None),
    )
    video = ShapesVideo("v", ("a",), 4.0, ("x", "y"), slots)
    found = Measured(1, 1, {}, 3.0, 4.0, {"v": [0.0, 1.0, 2.0]})
    assert informative_share(found, {"v": video}) == {
        "informative": pytest.approx(1 / 3),
        "informative_after_first": 0.5,
        "showing_a_fact": pytest.approx(2 / 3),
        "facts_shown": 0.5,
    }


def test_importing_settings_and_plans_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from vidsampler.train import plan_run\n"
        "from vidsampler.training.settings import train_config\n"
        "import vidsampler.cli.train, vidsampler.cached_shards, vidsampler.training.launch\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
