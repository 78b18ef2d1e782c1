"""Shards that do not hold all that their split has: what reads them says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Ran, here
from tests.evaluated import write_run, write_videos
from tests.retrieving import retriever_of
from tests.training.tiny_run import tiny
from vidsampler import plainyaml
from vidsampler.config import set_layer
from vidsampler.join import join, join_config
from vidsampler.joined import Joined
from vidsampler.shards import Reader
from vidsampler.shards.errors import left_out

pytestmark = pytest.mark.usefixtures("own_cache")
Capture = pytest.CaptureFixture[str]
NAMES = [f"v{number}.mp4" for number in range(6)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights to evaluate with and weights to embed with."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder, "clip4clip")
    retriever_of("uniform", "mean", k=2).save(folder / "index")
    return folder


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos with captions, all of split train; the last one is empty."""
    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder, [(name, f"a thing called {name}") for name in NAMES], split="train")
    (folder / NAMES[-1]).write_bytes(b"")
    return folder


def joined(videos: Path, out: Path, **more: Any) -> Joined:
    """One video a shard."""
    said = ("recipe.frames=4", "recipe.size=32", "per_shard=1", "workers=1")
    return join(
        videos, out, None, join_config("captions", [set_layer(each) for each in said]), **more
    )


@pytest.fixture(scope="module")
def whole(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of all of them."""
    out = tmp_path_factory.mktemp("whole")
    assert joined(rendered, out).failed == 1
    return out


def uses(capsys: Capture, runs: Path, shards: Path, tmp_path: Path) -> dict[str, Ran]:
    """What evaluation, training and an index say of split train."""
    common = ("--device", "cpu", "--json")
    run = {"device": "cpu", "evals_per_epoch": 0}
    config = tiny(
        tmp_path, "clip4clip", training={"epochs": 1, "batch_size": 4}, run=run
    ).to_plain()
    del config["dataset"]["shards"]
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config))
    where = ("--dataset", "captions", "--shards", str(shards))
    return {
        "eval": here(
            capsys, "eval", str(runs / "clip4clip"), *where, "--split", "train", *common
        ),
        "train": here(
            capsys, "train", "--config", str(tmp_path / "config.yaml"), *where, "--output",
            str(tmp_path / "run"), *common,
        ),
        "embed": here(
            capsys, "embed", str(shards / "train"), str(tmp_path / "index"), "--checkpoint",
            str(runs / "index"), "--workers", "1", *common,
        ),
    }  # fmt: skip


def test_an_unfinished_split_is_refused(
    capsys: Capture, runs: Path, rendered: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"

    def interrupt(done: int, total: int) -> None:
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    assert joined(rendered, shards, progress=interrupt).interrupted
    made = len(Reader(shards / "train"))
    assert 0 < made < 5
    assert not (shards / "dataset.json").exists()
    message = f"{shards / 'train'}: {6 - made} of its shards are planned and not made yet"
    for ran in uses(capsys, runs, shards, tmp_path).values():
        assert (ran.code, ran.json["error"]["code"]) == (2, "uncommitted")
        assert ran.json["error"]["message"] == message
        assert ran.json["error"]["hint"] == "run the command that was interrupted again"
    assert not (tmp_path / "run").exists()
    # Gone on with, it is whole.
    assert joined(rendered, shards).splits["train"].videos == 5
    assert {ran.code for ran in uses(capsys, runs, shards, tmp_path).values()} == {3}


def test_what_could_not_be_read_is_named(
    capsys: Capture, runs: Path, whole: Path, tmp_path: Path
) -> None:
    found = uses(capsys, runs, whole, tmp_path)
    for ran in found.values():
        assert ran.code == 3, ran.err
    result = found["eval"].json
    assert (result["videos"], result["missing"], result["unreadable"]) == (
        5,
        ["v5.mp4"],
        ["v5.mp4"],
    )
    assert (
        "1 of 6 videos of split train could not be read when the shards were made, and their "
        "captions are left out: v5.mp4\n"
    ) in found["eval"].err
    (left,) = found["train"].json["left_out"]
    assert (left["source"], left["class"]) == ("v5.mp4", "empty")
    assert json.loads((tmp_path / "run" / "errors.jsonl").read_text()) == left
    index = found["embed"].json
    assert (index["videos"], index["done"], index["errors"]) == (6, 5, {"empty": 1})
    assert json.loads((tmp_path / "index" / "errors.jsonl").read_text()) == left


def test_shards_without_their_account_are_not_evaluated(
    capsys: Capture, runs: Path, whole: Path, tmp_path: Path
) -> None:
    """Interrupted in its last shard, a run has not said which videos are missing."""
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "train").symlink_to(whole / "train")
    found = uses(capsys, runs, shards, tmp_path)
    assert (found["eval"].code, found["train"].code) == (2, 3)
    assert "does not say which videos of split train" in found["eval"].json["error"]["message"]


def test_a_video_that_was_stored_later_is_not_left_out(
    rendered: Path, whole: Path, tmp_path: Path
) -> None:
    with Reader(whole / "train") as reader:
        assert [each.source for each in reader.failed] == ["v5.mp4"]
        assert left_out(reader) == reader.failed
    copy, shards = tmp_path / "videos", tmp_path / "shards"
    shutil.copytree(rendered, copy)
    joined(copy, shards)
    (copy / "v5.mp4").write_bytes((copy / "v4.mp4").read_bytes())
    stale = (shards / "train" / "errors.jsonl").read_bytes()
    assert joined(copy, shards, retry_failed=True).failed == 0
    (shards / "train" / "errors.jsonl").write_bytes(stale)
    with Reader(shards / "train") as reader:
        assert (reader.failed, left_out(reader)) == ([], [])
