"""`vidsampler train --run 'mmsampler/*'`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import here
from tests.training.tiny_run import tiny, write_shards
from vidsampler import plainyaml
from vidsampler.cli import train_many
from vidsampler.errors import VidsamplerError
from vidsampler.run_folder import BEST, LAST, PROGRESS, RESULT
from vidsampler.runs import published_run
from vidsampler.train import train
from vidsampler.train_many import PlannedRun
from vidsampler.training import loop
from vidsampler.training.journal import read_log

Capture = pytest.CaptureFixture[str]


class Started:
    """Stands for the processes: notes their words and leaves what a run would."""

    def __init__(self) -> None:
        self.words: list[list[str]] = []
        self.fails: dict[str, int] = {}
        self.code = 0

    def __call__(self, words: Sequence[str]) -> tuple[int, dict[str, Any]]:
        self.words.append(list(words))
        name, folder = words[words.index("--run") + 1], Path(words[words.index("--output") + 1])
        if name in self.fails:
            return self.fails[name], {"error": {"message": "no room", "hint": None}}
        (folder / LAST).mkdir(parents=True)
        (folder / BEST).mkdir()
        (folder / LAST / PROGRESS).write_text('{"step": 3, "of": 3}')
        best = {"t2v": {"R@1": 12.5}, "selected_on": "val"}
        (folder / BEST / RESULT).write_text(json.dumps(best))
        return self.code, {}

    @property
    def runs(self) -> list[str]:
        return [words[words.index("--run") + 1] for words in self.words]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    monkeypatch.chdir(tmp_path)
    found = Started()
    monkeypatch.setattr(train_many, "start", found)
    return found


def test_each_run_has_its_folder_and_the_shards_of_its_dataset(
    capsys: Capture, started: Started, tmp_path: Path
) -> None:
    for dataset in ("msrvtt", "lsmdc", "didemo"):
        (tmp_path / "shards" / dataset).mkdir(parents=True)
    words = ("train", "--run", "tmass/*", "--shards", "shards", "--epochs", "2")
    ran = here(capsys, *words, "--set", "seed=3", "--freeze-backbone", "--dry-run")
    assert ran.code == 0, ran.err
    assert started.words == []
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[1] == ["tmass/msrvtt", "nothing", "yet", "50.2", "runs/tmass/msrvtt"]
    ran = here(capsys, *words, "--set", "seed=3", "--freeze-backbone")
    assert ran.code == 0, ran.err
    assert started.runs == ["tmass/msrvtt", "tmass/lsmdc", "tmass/didemo"]
    first = " ".join(started.words[0])
    assert "--output runs/tmass/msrvtt --resume auto --shards shards/msrvtt" in first
    assert "--epochs 2" in first
    assert "--set seed=3" in first
    assert "--freeze-backbone" in first
    assert first.endswith("--json")
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[1] == ["tmass/msrvtt", "trained", "12.5", "val", "50.2", "runs/tmass/msrvtt"]
    # Again: nothing is missing.
    found = here(capsys, *words, "--json").json["runs"]
    assert len(started.words) == 3
    assert [each["state"] for each in found] == ["trained"] * 3
    assert [each["error"] for each in found] == [None] * 3


def test_a_failure_does_not_keep_the_others_from_theirs(
    capsys: Capture, started: Started, tmp_path: Path
) -> None:
    started.fails = {"tmass/msrvtt": 1}
    ran = here(capsys, "train", "--run", "tmass/*", "--output", "all", "--json")
    assert ran.code == 3
    assert started.runs == ["tmass/msrvtt", "tmass/lsmdc", "tmass/didemo"]
    assert [each["state"] for each in ran.json["runs"]] == ["nothing yet", "trained", "trained"]
    assert ran.json["runs"][0]["error"]["message"] == "no room"
    assert "1 of 3 runs failed: tmass/msrvtt" in ran.err
    # Ctrl-C ends the row.
    started.fails = {"tmass/msrvtt": 130}
    ran = here(capsys, "train", "--run", "tmass/*", "--output", "other")
    assert ran.code == 130
    assert started.runs[3:] == ["tmass/msrvtt"]


def test_videos_that_are_left_out_are_no_failure_of_a_run(
    capsys: Capture, started: Started, tmp_path: Path
) -> None:
    started.code = 3
    ran = here(capsys, "train", "--run", "tmass/*", "--json")
    assert ran.code == 3
    assert [(each["state"], each["error"]) for each in ran.json["runs"]] == [("trained", None)] * 3
    assert "failed" not in ran.err


def test_samplers_of_other_runs(capsys: Capture, started: Started, tmp_path: Path) -> None:
    assert here(capsys, "train", "--run", "mmsampler/transfer-*-lstm").code == 0
    source = "mmsampler/transfer-activitynet-lstm"
    assert started.runs[0] == source
    assert "--sampler-from" not in started.words[0]
    for own in started.words[1:]:
        assert own[own.index("--sampler-from") + 1] == f"runs/{source}"
    # The source is there by now, so that it may be left out; elsewhere it is not.
    words = ("train", "--run", "mmsampler/transfer-did*-lstm")
    assert here(capsys, *words, "--dry-run").code == 0
    ran = here(capsys, *words, "--dry-run", "--output", "other")
    assert ran.code == 2
    assert f"takes the sampler of {source}" in ran.err
    assert f"--run {source} --output other/{source}" in ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "mmsample/*"], "no published run fits 'mmsample/*'"),
        (["--run", "tmass/*", "--shards", "here"], "here/didemo: no such folder"),
        (["--run", "tmass/*", "--resume", "runs/a"], "--resume RUN is for a single run"),
    ],
)
def test_mistakes(
    capsys: Capture, started: Started, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "here").mkdir()
    ran = here(capsys, "train", *words)
    assert (ran.code, ran.out, started.words) == (2, "", [])
    assert message in ran.err


@pytest.mark.parametrize(
    ("times", "killed_at"),
    [
        (1, "measure"),
        (1, "save_last"),
        (1, "save_best"),
        (1, "save_progress"),
        (0, "save_last"),
        (0, "save_best"),
    ],
)
def test_a_run_is_trained_when_its_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, killed_at: str
) -> None:
    """The last line of the log is there before the last validation, and that before the weights."""
    write_shards(tmp_path / "shards", train=6, val=4)
    config = tiny(tmp_path, "clip4clip", run={"evals_per_epoch": times})
    run = tmp_path / "run"
    planned = PlannedRun("xpool/msvd", published_run("xpool/msvd"), run, None, None)
    assert planned.state() == "nothing yet"
    of_loop = getattr(loop, killed_at)

    def killed(*given: Any) -> Any:
        if len([line for line in read_log(run) if "loss" in line]) == 2:
            raise VidsamplerError("killed")
        return of_loop(*given)

    monkeypatch.setattr(loop, killed_at, killed)
    with pytest.raises(VidsamplerError, match="killed"):
        train(config, run)
    assert planned.state() == "begun"
    monkeypatch.setattr(loop, killed_at, of_loop)
    assert train(config, run, resume=True).steps == 2
    assert planned.state() == "trained"
    # As if it had been killed between the two renames of a last save.
    (run / LAST).rename(run / ".last-old")
    assert planned.state() == "begun"


@pytest.mark.slow
def test_a_real_run(capsys: Capture, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=6, val=4)
    config = tiny(tmp_path, "clip4clip").to_plain()
    kept = {name: config[name] for name in ("backbone", "frames", "training", "run")}
    (tmp_path / "config.yaml").write_text(plainyaml.dump(kept))
    ran = here(
        capsys, "train", "--run", "xpool/msvd*", "--shards", str(tmp_path / "shards"),
        "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "runs"),
        "--epochs", "1", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    (found,) = ran.json["runs"]
    assert (found["run"], found["state"], found["error"]) == ("xpool/msvd", "trained", None)
    assert 0 <= found["best"]["t2v"]["R@1"] <= 100
    assert found["folder"] == str(tmp_path / "runs" / "xpool" / "msvd")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_a_run_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Also one that was finishing, and says that all is well."""
    begun = tmp_path / "begun"
    command = tmp_path / "command"
    command.write_text(
        f"#!/bin/sh\ntrap 'exit 0' TERM\ntouch {begun}\nwhile :; do sleep 0.05; done\n"
    )
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))

    # One that is ignored, as under nohup, is not passed on.
    before = signal.signal(number, signal.SIG_DFL)

    def end() -> None:
        while not begun.exists() or signal.getsignal(number) is signal.SIG_DFL:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=end)
    thread.start()
    try:
        assert train_many.start(["train"]) == (130, {})
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        thread.join()
        signal.signal(number, before)
