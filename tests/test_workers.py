"""Workers that fail, crash and hang."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from vidsampler import workers
from vidsampler.errors import VidsamplerError
from vidsampler.workers import Answer, WorkerPool


def answers(pool: WorkerPool, tasks: list[Any], timeout: float | None = None) -> dict[int, Answer]:
    found: dict[int, Answer] = {}
    waiting = list(enumerate(tasks))
    while waiting or pool.running:
        while waiting and pool.idle:
            tag, task = waiting.pop(0)
            pool.submit(tag, task, f"task {tag}", timeout)
        for answer in pool.wait_some(0.2):
            found[answer.tag] = answer
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_come_back_with_their_tags() -> None:
    with WorkerPool("tests.tasks:act", 2) as pool:
        found = answers(pool, [1, 2, 3, 4, 5])
    assert {tag: answer.result for tag, answer in found.items()} == {0: 2, 1: 4, 2: 6, 3: 8, 4: 10}


def test_an_error_keeps_its_words_and_a_bug_becomes_one() -> None:
    with WorkerPool("tests.tasks:act", 1) as pool:
        found = answers(pool, ["fail", "bug", 3])
    error = found[0].error
    assert error is not None
    assert (error.message, error.code, error.hint) == (
        "x.mp4: it is bad",
        "damaged",
        "throw it away",
    )
    bug = found[1].error
    assert bug is not None
    assert bug.code == "internal"
    assert "ZeroDivisionError: no" in bug.message
    assert found[2].result == 6


def test_a_crash_takes_only_its_own_task() -> None:
    with WorkerPool("tests.tasks:act", 2) as pool:
        found = answers(pool, [1, "crash", 2, "exit", 3])
    assert [found[i].result for i in (0, 2, 4)] == [2, 4, 6]
    crash, leave = found[1].error, found[3].error
    assert crash is not None
    assert leave is not None
    assert crash.code == leave.code == "crashed"
    assert "task 1: the worker process was ended by SIGSEGV" in crash.message
    assert "with exit code 7" in leave.message


def test_a_hanging_worker_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE", 0.2)
    with WorkerPool("tests.tasks:act", 1) as pool:
        first = answers(pool, ["pid"])[0].result
        found = answers(pool, ["hang", 4], timeout=2.0)
        assert not alive(first)
    error = found[0].error
    assert error is not None
    assert error.code == "timeout"
    assert "task 0: not done after 2 s" in error.message
    assert found[1].result == 8


def test_leaving_ends_the_processes() -> None:
    with WorkerPool("tests.tasks:act", 1) as pool:
        pid = answers(pool, ["pid"])[0].result
        pool.submit(1, "hang", "hang")
        assert alive(pid)
    assert not alive(pid)


def test_workers_end_with_their_owner() -> None:
    """The owner is killed; an idle worker notices at once."""
    code = (
        "import os\n"
        "from vidsampler.workers import WorkerPool\n"
        "pool = WorkerPool('tests.tasks:act', 1)\n"
        "pool.submit(0, 'pid', 'pid')\n"
        "print(pool.wait_some(60)[0].result, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    pid = int(run.stdout)
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"worker {pid} lives on")


def test_scripts_without_a_main_guard_work(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from vidsampler.workers import WorkerPool\n"
        "with WorkerPool('tests.tasks:act', 1) as pool:\n"
        "    pool.submit(0, 21, 'x')\n"
        "    print(pool.wait_some(60)[0].result)\n"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["once", "42"]


def test_an_idle_worker_that_is_killed_takes_no_task() -> None:
    with WorkerPool("tests.tasks:act", 1) as pool:
        pid = answers(pool, ["pid"])[0].result
        psutil.Process(pid).kill()
        psutil.wait_procs([psutil.Process(pid)], timeout=0.5)
        assert answers(pool, [3])[0].result == 6


def test_a_worker_that_dies_in_the_midst_of_its_answer() -> None:
    with WorkerPool("tests.tasks:act", 1) as pool:
        found = answers(pool, ["half an answer", 3])
    error = found[0].error
    assert error is not None
    assert error.code == "crashed"
    assert found[1].result == 6


def test_workers_that_cannot_start_are_no_fault_of_the_task() -> None:
    with (
        WorkerPool("tests.nowhere:act", 1) as pool,
        pytest.raises(VidsamplerError, match="could not start: it ended with exit code 1"),
    ):
        answers(pool, [1])
