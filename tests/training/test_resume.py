"""Runs that are stopped or killed go on to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.running import CHECKOUT
from tests.training.tiny_run import CONVOLUTIONS, tiny, write_shards
from vidsampler import plainyaml
from vidsampler.errors import ConfigError, InputError, UsageError
from vidsampler.retriever import Retriever
from vidsampler.shards.folder import lock_folder, unlock_folder
from vidsampler.train import train
from vidsampler.training.checkpoint import read_state
from vidsampler.training.journal import read_log
from vidsampler.training.loop import Watch
from vidsampler.training.settings import TrainConfig, stored_run


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    """The weights of a run."""
    return load_file(run / which / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    """Weights and optimiser of two runs, to the bit."""
    for which in ("last", "best"):
        ours, theirs = weights(one, which), weights(other, which)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    states = [read_state(run) for run in (one, other)]
    assert states[0]["loader"] == states[1]["loader"]
    assert states[0]["best"] == states[1]["best"]
    moments = [state["optimizer"]["state"] for state in states]
    for number, ours in moments[0].items():
        assert all(torch.equal(ours[name], moments[1][number][name]) for name in ours)


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("adaclip", {}),
        ("xpool", {}),
        (CONVOLUTIONS, {}),
        # The optimiser has no moments of the policy until the held epoch is over.
        ("mmsampler", {"sampler": {"hold_epochs": 1}}),
    ],
)
def test_stopped_anywhere_and_resumed(tmp_path: Path, method: str, more: dict[str, Any]) -> None:
    write_shards(tmp_path / "shards", train=20, val=5)
    config = tiny(tmp_path, method, run={"evals_per_epoch": 2}, **more)
    whole = train(config, tmp_path / "whole")
    assert (whole.steps, whole.of, whole.interrupted) == (6, 6, False)

    def leave_after(step: int) -> Watch:
        def watch(done: int, total: int, loss: float) -> None:
            if done == step:
                os.kill(os.getpid(), signal.SIGTERM)

        return Watch(step=watch)

    for step in (1, 3, 5):
        part = train(config, tmp_path / "parts", resume=True, watch=leave_after(step))
        assert (part.steps, part.interrupted) == (step, True)
    done = train(config, tmp_path / "parts", resume=True)
    assert (done.steps, done.interrupted) == (6, False)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    changing = ("videos_per_second", "memory_gib")
    logs = [
        [{k: v for k, v in line.items() if k not in changing} for line in read_log(tmp_path / run)]
        for run in ("whole", "parts")
    ]
    assert logs[0] == logs[1]
    # Resuming what is done changes nothing.
    again = train(config, tmp_path / "parts", resume=True)
    assert again.steps == 6
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_what_a_killed_first_checkpoint_left_goes(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "clip4clip", training={"epochs": 1})
    left = tmp_path / "run" / ".last-half"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    (tmp_path / "run" / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    train(config, tmp_path / "run", resume=True)
    assert not list((tmp_path / "run").glob(".*"))


def start(config: Path, run: Path, **more: Any) -> subprocess.Popen[str]:
    """`vidsampler train --resume auto` in a process of its own."""
    words = ["--config", str(config), "--output", str(run), "--resume", "auto"]
    return subprocess.Popen(
        [sys.executable, "-m", "vidsampler", "train", *words],
        cwd=CHECKOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def written(tmp_path: Path, config: TrainConfig) -> Path:
    """The config as a file."""
    path = tmp_path / "config.yaml"
    path.write_text(plainyaml.dump(config.to_plain()))
    return path


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=20, val=5)
    more = {"epochs": 20}
    config = tiny(tmp_path, "adaclip", training=more, run={"checkpoint_every": 2})
    path = written(tmp_path, config)
    assert start(path, tmp_path / "whole").wait(120) == 0
    draw = random.Random(0)
    killed = 0
    while killed < 5:
        process = start(path, tmp_path / "parts")
        log = tmp_path / "parts" / "log.jsonl"
        # Not before it does something, and then at any moment.
        seen = log.stat().st_mtime_ns if log.exists() else 0
        while process.poll() is None and not (log.exists() and log.stat().st_mtime_ns > seen):
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.4))
        assert process.poll() is None, "the run was over before it could be killed"
        process.kill()
        process.communicate()
        killed += 1
    assert start(path, tmp_path / "parts").wait(120) == 0
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert not list((tmp_path / "parts").glob(".*"))


def test_sigterm_saves_and_leaves_130(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "clip4clip", training={"epochs": 10_000}, run={"evals_per_epoch": 0})
    process = start(written(tmp_path, config), tmp_path / "run")
    while process.poll() is None and not (tmp_path / "run" / "last").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume auto" in err
    assert read_state(tmp_path / "run")["step"] == len(read_log(tmp_path / "run"))
    assert "of 20,000 steps" in out


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """Keys that its config.yaml lacks are newer than it, and have their defaults.

    What was measured is in its state.
    """
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "xpool", training={"epochs": 1})
    run = tmp_path / "run"
    train(config, run)
    stored = plainyaml.load((run / "config.yaml").read_text())
    assert stored["head"].pop("temperature") == 1.0
    del stored["run"]["keep_decoded"], stored["sampler"]["policy"]["channel_groups"]
    (run / "config.yaml").write_text(plainyaml.dump(stored))
    assert stored_run(run / "config.yaml") == config
    state = read_state(run)
    old = {name: state[name] for name in ("step", "loader", "optimizer", "best")}
    torch.save(old, run / "last" / "state.pt")
    (run / "last" / "progress.json").write_text('{"step": 2, "of": 2}')
    done = train(config, run, resume=True)
    assert (done.steps, done.best) == (2, state["best"])
    torch.save({**old, "owes_validation": True}, run / "last" / "state.pt")
    assert train(config, run, resume=True).best == state["best"]
    assert json.loads((run / "last" / "progress.json").read_text())["best"] == state["best"]


def test_a_run_of_no_epochs_measures_what_is_there(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "clip4clip", training={"epochs": 0})
    done = train(config, tmp_path / "run")
    assert (done.steps, done.best) == (0, {"step": 0, "selected_on": "last"})
    assert weights(tmp_path / "run").keys() == weights(tmp_path / "run", "best").keys()
    assert train(config, tmp_path / "run", resume=True).best == done.best


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "clip4clip", training={"epochs": 1})
    run = tmp_path / "run"
    train(config, run)
    with pytest.raises(UsageError, match="holds a run already"):
        train(config, run)
    other = tiny(tmp_path, "clip4clip", training={"epochs": 2})
    with pytest.raises(ConfigError, match=r"training\.epochs was 1, is 2$"):
        train(other, run, resume=True)
    (run / "last" / "state.pt").write_bytes(b"PK not a state")
    with pytest.raises(InputError, match="not a state of training"):
        train(config, run, resume=True)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with pytest.raises(UsageError, match="something else than a run"):
        train(config, tmp_path / "else", resume=True)


def test_a_validation_that_fails_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "shards", train=12, val=5)
    config = tiny(tmp_path, "clip4clip")
    train(config, tmp_path / "whole")

    def broken(*given: Any) -> Any:
        raise InputError("a video of the validation split is damaged")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("vidsampler.training.loop.measure", broken)
            with pytest.raises(InputError, match="of the validation split is damaged"):
                train(config, tmp_path / "parts", resume=True)
        state = read_state(tmp_path / "parts")
        assert (state["step"], state["owes_validation"]) == (2, True)
        assert not (tmp_path / "parts" / "best").exists()
    done = train(config, tmp_path / "parts", resume=True)
    assert done.steps == 4
    assert_same(tmp_path / "whole", tmp_path / "parts")
    found = [
        [(line["step"], line["val"]) for line in read_log(tmp_path / run) if "val" in line]
        for run in ("whole", "parts")
    ]
    assert found[0] == found[1]
    assert [step for step, _ in found[0]] == [2, 4]


@pytest.mark.parametrize("killed_at", ["save_best", "save_progress"])
def test_a_validation_is_in_the_log_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    write_shards(tmp_path / "shards", train=12, val=5)
    config = tiny(tmp_path, "clip4clip")
    train(config, tmp_path / "whole")

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"vidsampler.training.loop.{killed_at}", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts")
    train(config, tmp_path / "parts", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    logs = [
        [(line["step"], line.get("loss"), line.get("val")) for line in read_log(tmp_path / run)]
        for run in ("whole", "parts")
    ]
    assert logs[0] == logs[1]


def test_a_folder_is_written_by_one_run_at_a_time(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=12, val=5)
    config = tiny(tmp_path, "clip4clip", training={"epochs": 1})
    seen: list[str] = []

    def meanwhile(done: int, total: int, loss: float) -> None:
        with pytest.raises(UsageError, match="run: another run is writing there") as caught:
            train(config, tmp_path / "run", resume=True)
        seen.append(caught.value.message)

    done = train(config, tmp_path / "run", watch=Watch(step=meanwhile))
    assert (done.steps, len(seen)) == (2, 2)
    assert not (tmp_path / "run" / ".lock").exists()
    # What a killed run leaves is no obstacle.
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".lock").touch()
    (tmp_path / "killed" / ".tmp-0123.yaml").touch()
    assert train(config, tmp_path / "killed").steps == 2
    assert not list((tmp_path / "killed").glob(".*"))


@pytest.mark.parametrize(
    ("ended", "message"),
    [(False, "run: another run is writing there"), (True, "run holds a run already")],
)
def test_a_folder_that_another_run_makes_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool, message: str
) -> None:
    """While this one builds its retriever."""
    write_shards(tmp_path / "shards", train=12, val=5)
    config = tiny(tmp_path, "clip4clip", training={"epochs": 1})
    run = tmp_path / "run"
    build = Retriever.from_config
    locks = []

    def built(config: TrainConfig) -> Retriever:
        monkeypatch.setattr(Retriever, "from_config", build)
        if ended:
            train(config, run)
        else:
            locks.append(lock_folder(run))
        return build(config)

    monkeypatch.setattr(Retriever, "from_config", built)
    with pytest.raises(UsageError, match=message):
        train(config, run)
    for lock in locks:
        unlock_folder(run, lock)
    assert (run / "last").exists() == ended
    assert (run / "config.yaml").exists() == ended


def test_a_validation_leaves_no_step_out_of_the_log(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=42, val=4)
    lines = []
    for often in (1, 2):
        run = {"evals_per_epoch": often, "log_every": 5}
        train(tiny(tmp_path, "adaclip", training={"epochs": 1}, run=run), tmp_path / str(often))
        lines.append([each for each in read_log(tmp_path / str(often)) if "loss" in each])
    assert [[each["step"] for each in run] for run in lines] == [[5, 7], [5, 7]]
    for once, twice in zip(*lines, strict=True):
        assert (once["loss"], once["kept_at"]) == (twice["loss"], twice["kept_at"])
