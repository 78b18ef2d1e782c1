"""Several processes on one machine compute what one computes."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from timm.layers.norm_act import BatchNormAct2d

from tests.cli.running import CHECKOUT
from tests.evaluated import write_run
from tests.training.ranks import OF_RANKS
from tests.training.tiny_run import (
    BEFORE_CONVOLUTIONS,
    BOTH,
    CONVOLUTIONS,
    DRAWS,
    tiny,
    write_shards,
)
from vidsampler import plainyaml
from vidsampler.errors import InputError, VidsamplerError
from vidsampler.training.checkpoint import read_state
from vidsampler.training.frozen import SharedBatchNorm, share_batch_norms
from vidsampler.training.journal import read_log
from vidsampler.world import World, open_world


def torchrun(
    processes: int, *words: str, seconds: float = 120, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs a module in several processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "-m", *words]
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | settings,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks found."""
    folder = tmp_path_factory.mktemp("ranks")
    for method in ("adaclip", CONVOLUTIONS):
        tiny(folder, method)  # one writer of the model's config
    ran = torchrun(2, "tests.training.ranks", str(folder))
    assert ran.returncode == 0, ran.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("method", OF_RANKS)
def test_gradients_of_two_ranks_are_those_of_one(
    two_ranks: list[dict[str, Any]], method: str
) -> None:
    for found in two_ranks:
        assert found["methods"][method]["tensors"] > 30
        # timm's residual branches begin at 0: nothing reaches what lies in them yet.
        nothing = {CONVOLUTIONS: 21, BEFORE_CONVOLUTIONS: 22}.get(method, 3)
        assert found["methods"][method]["nothing"] <= nothing
        assert found["methods"][method]["noise"] <= 1e-7
        # What draws are worth is told from differences of losses that are much alike, what a frame
        # is worth from those of features that batch norms made: rounding weighs more there.
        more = method in (DRAWS, BOTH, BEFORE_CONVOLUTIONS)
        assert found["methods"][method]["worst"] <= (1e-4 if more else 1e-5)
        assert found["methods"][method]["buffers"] <= 1e-5


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_a_shared_batch_norm_alone_is_a_batch_norm(dtype: torch.dtype, near: float) -> None:
    own, shared = torch.nn.BatchNorm2d(5), torch.nn.BatchNorm2d(5)
    shared.__class__ = SharedBatchNorm
    shared.world = World(0, 1, torch.device("cpu"))  # type: ignore[assignment]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        maps = (torch.randn(4, 5, 3, 3, generator=generator) * 2 + 7).to(dtype)
        ours, theirs = shared(maps), own(maps)
        assert ours.dtype == theirs.dtype == dtype
        torch.testing.assert_close(ours, theirs, rtol=near, atol=near)
    for one, other in zip(shared.buffers(), own.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_batch_norm_of_timm_is_shared_with_its_activation() -> None:
    first = BatchNormAct2d(5)
    with torch.no_grad():
        first.bias.copy_(torch.linspace(-1, 1, 5))
    own = torch.nn.Sequential(first, BatchNormAct2d(5, apply_act=False))
    shared = copy.deepcopy(own)
    share_batch_norms(shared, World(0, 2, torch.device("cpu")))
    for part in shared:
        assert type(part) is SharedBatchNorm
        part.world = World(0, 1, torch.device("cpu"))
    maps = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0)) * 2 + 7
    torch.testing.assert_close(shared(maps), own(maps), rtol=1e-5, atol=1e-5)
    for one, other in zip(shared.buffers(), own.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(shared.eval()(maps), own.eval()(maps), rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        shared.train()
        assert float(shared[0](maps).min()) >= 0 > float(shared(maps).min())


def test_what_ranks_do_together(two_ranks: list[dict[str, Any]]) -> None:
    for found in two_ranks:
        assert found["rows"] == [[1, 1]]
        assert found["flags"] == [True, False]
        # Rank 0 has 4, rank 1 none: their mean. The bias has none anywhere.
        assert found["weight"] == [[2.0, 2.0]]
        assert found["bias"] is None
        assert found["message"] == "the weights differ on 1 of 2 ranks"


def test_three_ranks_finish_an_epoch_that_they_do_not_divide(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=14, val=4)
    config = tiny(tmp_path, "mmsampler", training={"epochs": 1})
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    words = ["vidsampler", "train", "--config", str(tmp_path / "config.yaml"), "--json"]
    ran = torchrun(3, *words, "--output", str(tmp_path / "run"))
    assert ran.returncode == 0, ran.stderr
    done = json.loads(ran.stdout)
    assert done["steps"] == done["of"] == 2  # 14 videos, 6 a step
    assert done["best"]["videos"] == 4  # of which a rank has 2, and others 1
    alone = subprocess.run(
        [sys.executable, "-m", *words, "--output", str(tmp_path / "alone")],
        cwd=CHECKOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(alone.stdout)["best"]["videos"] == 4
    for ours, theirs in zip(*(read_log(tmp_path / name) for name in ("run", "alone")), strict=True):
        if "loss" in ours:
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
            assert ours["kept_at"] == theirs["kept_at"]
    weights = load_file(tmp_path / "run" / "last" / "model.safetensors")
    assert any(name.startswith("sampler.") for name in weights)


def test_ctrl_c_reaches_all_processes_and_the_run_goes_on(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    config = tiny(tmp_path, "clip4clip", training={"epochs": 10_000}, run={"evals_per_epoch": 0})
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    words = [sys.executable, "-m", "vidsampler", "train", "--nproc", "2"]
    words += ["--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "run")]
    process = subprocess.Popen(
        words, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (tmp_path / "run" / "last").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "of 20,000 steps" in out
    assert read_state(tmp_path / "run")["step"] == len(read_log(tmp_path / "run"))


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """This process is rank 1 of 2, alone: what is asked of `torch.distributed`."""
    asked: list[Any] = []
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "init_process_group", lambda *args, **more: asked.append(more))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: asked.append("destroyed"))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    return asked


def test_ranks_may_be_far_apart(second: list[Any]) -> None:
    """One may save, or decode longer videos than another, for more than a minute."""
    with open_world("cpu"):
        pass
    given, end = second
    assert given["timeout"].total_seconds() >= 1800
    assert end == "destroyed"


def test_a_lost_rank_is_a_sentence_whoever_is_in_the_world(second: list[Any]) -> None:
    reset = "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1234"
    with pytest.raises(VidsamplerError) as caught, open_world("cpu"):
        raise RuntimeError(reset)
    assert caught.value.message == f"rank 1 has lost another rank: {reset}"
    assert caught.value.code == "rank-lost"
    with pytest.raises(InputError) as other, open_world("cpu"):
        raise InputError("x is damaged")
    assert other.value.message == "rank 1: x is damaged"
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"), open_world("cpu"):
        raise RuntimeError("shapes do not fit")
    assert second[1::2] == ["destroyed"] * 3


def test_who_fails_does_not_wait_for_the_others(
    second: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """nccl would take its leave together with ranks that are waiting for something else."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    with pytest.raises(InputError), open_world("cuda"):
        raise InputError("x is damaged")
    with open_world("cuda"):
        pass
    assert [each for each in second if each == "destroyed"] == ["destroyed"]
    assert second[-1] == "destroyed"


@pytest.mark.slow
def test_a_rank_that_dies_ends_an_evaluation(tmp_path: Path) -> None:
    run = write_run(tmp_path, "clip4clip")
    words = ["tests.training.dying", "eval", str(run), "--dataset", "captions", "--device", "cpu"]
    words += ["--batch-size", "2", "--workers", "0", "--no-cache", "--json"]
    ran = torchrun(2, *words, seconds=60)
    assert ran.returncode == 1
    error = json.loads(ran.stdout)["error"]
    assert error["message"].startswith("rank 0 has lost another rank: ")
    assert error["code"] == "rank-lost"
    assert "internal error" not in ran.stdout + ran.stderr
