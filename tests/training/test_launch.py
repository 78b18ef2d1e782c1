"""Several processes that one command starts: the first cause of a failure is what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.cli.running import CHECKOUT
from tests.training.tiny_run import tiny, write_shards
from vidsampler import plainyaml
from vidsampler.errors import InputError, VidsamplerError
from vidsampler.training.checkpoint import read_state
from vidsampler.training.launch import ERRORS, FIRST, cause, leave_error


def leave(folder: Path, monkeypatch: pytest.MonkeyPatch, rank: int, error: VidsamplerError) -> None:
    for name, value in ((ERRORS, str(folder)), ("RANK", str(rank)), ("WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    assert leave_error(error)


def test_the_cause_is_who_has_lost_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cause(tmp_path, 3) is None
    lost = VidsamplerError("rank 0 has lost another rank", hint="go on", code="rank-lost")
    leave(tmp_path, monkeypatch, 0, lost)
    found = cause(tmp_path, 3)
    assert found is not None
    assert (found.message, found.exit_code) == ("rank 0 has lost another rank", 1)
    leave(tmp_path, monkeypatch, 1, VidsamplerError("internal error", code="internal"))
    found = cause(tmp_path, 3)
    assert found is not None
    assert found.message == "internal error"
    (tmp_path / FIRST).write_text(json.dumps({"rank": 1, "exit_code": -9}))
    found = cause(tmp_path, 3)
    assert found is not None
    assert found.message == "process 1 of 3 (they count from 0) was killed by SIGKILL"
    leave(tmp_path, monkeypatch, 2, InputError("x.tar: damaged", code="damaged"))
    found = cause(tmp_path, 3)
    assert found is not None
    assert (found.message, found.code, found.exit_code) == ("x.tar: damaged", "damaged", 2)


def test_errors_are_left_to_a_launcher_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ERRORS, raising=False)
    assert not leave_error(VidsamplerError("x"))


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """`vidsampler train --nproc 2` on a written config."""
    command = [sys.executable, "-m", "vidsampler", "train", "--nproc", "2", "--json", *words]
    command += ["--config", str(folder / "config.yaml"), "--output", str(folder / "run")]
    return subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "clip4clip", training={"epochs": 500}, run={"evals_per_epoch": 0})
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    process = start(tmp_path)
    while process.poll() is None and not (tmp_path / "run" / "last").exists():
        time.sleep(0.05)
    ranks = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.environ().get("RANK") == "1"
    ]
    begun = time.monotonic()
    ranks[0].send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < 60
    assert process.returncode == 1, err
    error = json.loads(out)["error"]
    assert error["code"] == "rank-lost"
    assert error["message"] == "process 1 of 2 (they count from 0) was killed by SIGKILL"
    assert "--resume auto" in error["hint"]
    assert "Traceback" not in err
    # What was saved is whole, and one process goes on from it.
    step = read_state(tmp_path / "run")["step"]
    assert load_file(tmp_path / "run" / "last" / "model.safetensors")
    assert 0 < step < 1000


def start_slow_step(folder: Path, seconds: float, **environment: str) -> subprocess.Popen[str]:
    """A run of two ranks that takes so long for its fourth step, which it has begun."""
    write_shards(folder / "shards", train=12, val=4)
    config = tiny(folder, "clip4clip", training={"epochs": 500}, run={"evals_per_epoch": 0})
    (folder / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    (folder / "sitecustomize.py").write_text(
        "import os\n"
        "if 'RANK' in os.environ:\n"
        "    import time\n"
        "    from pathlib import Path\n"
        "    from vidsampler.training.loop import Training\n"
        "    take = Training._step\n"
        "    def slowly(self, batch, journal):\n"
        "        if self.done == 3:\n"
        f"            Path({str(folder)!r}, 'begun').touch()\n"
        f"            time.sleep({seconds})\n"
        "        return take(self, batch, journal)\n"
        "    Training._step = slowly\n"
    )
    process = start(folder, PYTHONPATH=str(folder), **environment)
    while process.poll() is None and not (folder / "begun").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    return process


def test_ranks_have_the_time_that_saving_takes(tmp_path: Path) -> None:
    """torchrun would kill them after this second; of older torch, after half a minute."""
    process = start_slow_step(tmp_path, 4, TORCH_ELASTIC_SHUTDOWN_TIMEOUT="1")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["steps"] == 4
    assert read_state(tmp_path / "run")["step"] == 4
    assert "Traceback" not in err


def test_who_asks_twice_does_not_wait(tmp_path: Path) -> None:
    process = start_slow_step(tmp_path, 600)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert read_state(tmp_path / "run")["step"] == 2
    assert "Traceback" not in err


@pytest.mark.slow
def test_an_error_of_the_data_is_said_once(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "clip4clip", training={"batch_size": 40})
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    process = start(tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "batch" in json.loads(out)["error"]["message"]
    assert "Traceback" not in err
    assert "error" not in err
