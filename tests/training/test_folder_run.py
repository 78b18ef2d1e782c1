"""Training on a folder of videos without captions, from the command to a checkpoint for select."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.running import apart, here
from tests.training.folder_of_videos import FRAMES, settings, write_folder
from tests.training.test_resume import assert_same, weights
from vidsampler import plainyaml, select
from vidsampler.config import set_layer
from vidsampler.errors import ConfigError, UsageError
from vidsampler.train import train
from vidsampler.training.checkpoint import read_state
from vidsampler.training.loop import Watch
from vidsampler.training.settings import train_config


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good ones and one broken."""
    return write_folder(tmp_path_factory.mktemp("folder") / "videos", 10, broken=1)


@pytest.fixture(autouse=True)
def cache(
    tmp_path_factory: pytest.TempPathFactory, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the module: the videos are decoded once."""
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(videos.parent / "cache"))


def words(tmp_path: Path, videos: Path, **more: Any) -> list[str]:
    config = settings(tmp_path, videos, **more)
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    return ["train", "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "run")]


def test_from_videos_to_kept_frames(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = here(capsys, *words(tmp_path, videos), "--json")
    assert ran.code == 3, ran.err
    (left,) = ran.json["left_out"]
    assert left == json.loads((tmp_path / "run" / "errors.jsonl").read_text())
    assert "b00.mp4" in left["message"]
    assert ran.json["steps"] == ran.json["of"] == 4
    assert ran.json["best"]["queries"] == 6
    assert ran.json["best"]["frames_kept"] == 3
    clip = str(videos / "a03.mp4")
    found = here(capsys, "select", clip, "--checkpoint", str(tmp_path / "run"), "-k", "2", "--json")
    assert found.code == 0, found.err
    assert found.json["sampler"] == "topk"
    assert found.json["candidates"] == FRAMES
    assert len(found.json["kept"]) == 2
    assert found.json["gmacs"] > 0
    for k in (1, 5, 20, 30):
        kept = select(clip, k, checkpoint=tmp_path / "run").kept
        assert len(kept) == min(k, 20)
        assert [each.index for each in kept] == sorted({each.index for each in kept})
        assert all(0 <= each.score <= 1 for each in kept if each.score is not None)
    assert select(clip, 2, checkpoint=tmp_path / "run", candidates=7).candidates == 7
    # As the run does, where nothing is said.
    assert len(select(clip, checkpoint=tmp_path / "run").kept) == 3


def test_a_run_that_stops_goes_on_to_the_bit(tmp_path: Path, videos: Path) -> None:
    config = settings(tmp_path, videos)
    whole = train(config, tmp_path / "whole")
    assert (whole.steps, whole.interrupted, len(whole.left_out)) == (4, False, 1)

    def watch(done: int, total: int, loss: float) -> None:
        if done in (1, 3):
            os.kill(os.getpid(), signal.SIGTERM)

    for steps in (1, 3):
        part = train(config, tmp_path / "parts", resume=True, watch=Watch(step=watch))
        assert (part.steps, part.interrupted) == (steps, True)
    assert train(config, tmp_path / "parts", resume=True).steps == 4
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("sampler", ["gate", "uniform"])
def test_other_samplers_train_the_same_way(tmp_path: Path, videos: Path, sampler: str) -> None:
    config = settings(tmp_path, videos, sampler={"name": sampler}, training={"epochs": 1})
    assert train(config, tmp_path / "run").steps == 2
    clip = videos / "a01.mp4"
    if sampler == "gate":
        assert 1 <= len(select(clip, 4, checkpoint=tmp_path / "run").kept) <= 4
    else:
        with pytest.raises(UsageError, match="has no learned sampler; it keeps frames by uniform"):
            select(clip, 4, checkpoint=tmp_path / "run")


def test_the_grid_has_nothing_to_learn_but_the_policy(tmp_path: Path, videos: Path) -> None:
    config = settings(tmp_path, videos, backbone={"name": "grid"}, training={"epochs": 1})
    assert train(config, tmp_path / "run").steps == 2


def test_mistakes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    broken = write_folder(tmp_path / "broken", 0, broken=10)
    few = write_folder(tmp_path / "few", 7)
    for folder, message in (
        (tmp_path / "none", "none: no such folder of videos"),
        (tmp_path / "file", "file: is not a folder of videos"),
        (tmp_path / "empty", "the folder has no videos in it"),
        (broken, "10 of 10 videos cannot be used, such as b0"),
        (few, "7 videos leave 3 for the split val, which needs 4"),
    ):
        ran = here(capsys, *words(tmp_path, folder))
        assert ran.code == 2, ran.err
        assert message in ran.err
        assert "Traceback" not in ran.err
    ran = here(capsys, "train", "--dataset", "folder", "--method", "default")
    assert (ran.code, "where are the videos?" in ran.err) == (2, True)
    with pytest.raises(ConfigError, match="--videos is for --dataset folder, not for captions"):
        train_config([set_layer(f"dataset.videos={few}")], method="default", dataset="captions")


def test_a_tower_without_texts_says_so(tmp_path: Path, videos: Path) -> None:
    config = settings(tmp_path, videos)
    from vidsampler.retriever import Retriever

    retriever = Retriever.from_config(config)
    with pytest.raises(UsageError, match="sees frames and reads no captions"):
        retriever.backbone.tokenize(["a dog"])


@pytest.mark.slow
def test_two_ranks_learn_what_one_learns(tmp_path: Path, videos: Path) -> None:
    config = settings(tmp_path, videos, backbone={"name": "grid"})
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    one = train(config, tmp_path / "one")
    words = ["--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "two")]
    ran = apart("train", *words, "--nproc", "2")
    assert ran.code == 3, ran.err
    assert "left out: b00.mp4" in ran.err
    state = read_state(tmp_path / "two")
    assert (state["step"], one.steps) == (4, 4)
    assert state["best"]["queries"] == 6
    ours, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        # The same for all frames it changes nothing: Adam makes steps of what is rounding.
        if name != "sampler.policy.head.2.bias":
            assert torch.allclose(tensor, theirs[name], atol=2e-4), name
