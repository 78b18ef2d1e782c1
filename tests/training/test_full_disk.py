"""A disk that fills up while a run goes: a sentence, and the last checkpoint is whole."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.cli.running import here
from tests.training.tiny_run import tiny, write_shards
from vidsampler import plainyaml
from vidsampler.errors import VidsamplerError
from vidsampler.train import train
from vidsampler.training.checkpoint import read_state
from vidsampler.training.loop import Watch
from vidsampler.training.settings import TrainConfig


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for some four checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)]
    if mount is None or os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Takes all room that a disk has."""
    with (folder / "ballast").open("wb") as file:
        try:
            while True:
                file.write(bytes(2**16))
                file.flush()
        except OSError:
            return


def assert_same_end(folder: Path, config: TrainConfig, run: Path) -> None:
    """A run that had no room goes on to the weights of one that had."""
    train(config, folder / "whole")
    done = train(config, run, resume=True)
    assert (done.steps, done.interrupted) == (6, False)
    ours, theirs = (
        load_file(each / "last" / "model.safetensors") for each in (run, folder / "whole")
    )
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)
    assert not list(run.glob(".*"))


def test_a_disk_that_fills_up(tmp_path: Path, small_disk: Path) -> None:
    write_shards(tmp_path / "shards", train=20, val=5)
    config = tiny(tmp_path, "clip4clip", run={"evals_per_epoch": 0})
    run = small_disk / "run"

    def watch(done: int, total: int, loss: float) -> None:
        if done == 4:
            fill(small_disk)

    # Lines of the log may still fit into what is left of a block.
    with pytest.raises(VidsamplerError, match=r"cannot be written: .*No space left") as caught:
        train(config, run, watch=Watch(step=watch))
    assert str(run) in caught.value.message
    assert ".last-" not in caught.value.message
    assert caught.value.hint is not None
    assert "make room" in caught.value.hint
    assert "--resume auto" in caught.value.hint
    assert read_state(run)["step"] == 3
    (small_disk / "ballast").unlink()
    assert_same_end(tmp_path, config, run)


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """Where no disk can be mounted: the system's limit on the size of a file."""
    write_shards(tmp_path / "shards", train=20, val=5)
    config = tiny(tmp_path, "clip4clip", run={"evals_per_epoch": 0})
    run = tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def watch(done: int, total: int, loss: float) -> None:
        if done == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, before[1]))

    try:
        with pytest.raises(VidsamplerError, match=r"run/last.*: cannot be written: .*too large"):
            train(config, run, watch=Watch(step=watch))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_state(run)["step"] == 3
    assert_same_end(tmp_path, config, run)


def test_no_room_from_the_start(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "clip4clip")
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    fill(small_disk)
    words = ["--config", str(tmp_path / "config.yaml"), "--output", str(small_disk / "run")]
    ran = here(capsys, "train", *words, "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == "unwritable"
    assert "cannot be written: No space left on device" in ran.json["error"]["message"]
