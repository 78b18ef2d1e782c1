"""The local engine: killed, stopped, stalled, and without room."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.test_extract import as_another_user, open_to_all
from tests.faults.doing import (
    CLIP,
    at_work,
    begin,
    check_committed,
    check_completed,
    command,
    end,
    failures,
    misfortune,
    wait_for,
)
from tests.test_extract import hashes
from vidsampler.verify import verify


def complete(videos: Path, out: Path, words: tuple[str, ...], undisturbed: dict[str, str]) -> None:
    check_committed(out, undisturbed)
    code, _ = end(begin(command(videos, out, *words)))
    assert code == 0
    check_completed(out, undisturbed)


def test_a_killed_run_leaves_no_process_behind(
    videos: Path, tmp_path: Path, words: tuple[str, ...], undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    run = begin(command(videos, out, *words, "--workers", "2"))
    wait_for(lambda: at_work(out))
    workers = psutil.Process(run.pid).children()
    assert len(workers) == 2
    # One is stuck, as in a decoder that does not return, and cannot see that nobody is there.
    workers[0].suspend()
    run.kill()
    run.communicate(timeout=60)
    gone, alive = psutil.wait_procs(workers, timeout=30)
    assert (len(gone), alive) == (2, [])
    complete(videos, out, words, undisturbed)


def test_a_killed_worker_costs_nothing(
    videos: Path, tmp_path: Path, words: tuple[str, ...], undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    run = begin(command(videos, out, *words, "--workers", "1"))
    wait_for(lambda: at_work(out))
    (worker,) = psutil.Process(run.pid).children()
    worker.kill()
    code, report = end(run)
    assert (code, report["done"], report["errors"]) == (0, 9, {})
    check_completed(out, undisturbed)


def test_decoders_that_crash_and_stall_take_only_their_own_video(
    videos: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(videos, mixed)
    shutil.copy(CLIP, mixed / "crash.mp4")
    shutil.copy(CLIP, mixed / "stall.mp4")
    bad = misfortune(tmp_path)
    out = tmp_path / "out"
    clock = time.monotonic()
    code, report = end(begin(command(mixed, out, *words, "--timeout", "2"), **bad))
    assert time.monotonic() - clock < 60
    assert (code, report["done"], report["failed"]) == (3, 9, 2)
    assert report["errors"] == {"crashed": 1, "timeout": 1}
    assert failures(out) == {"crash.mp4": "crashed", "stall.mp4": "timeout"}
    assert verify(out, workers=1).findings == []
    found = hashes(out)
    # The decoder is mended: what failed is done, in a shard of its own.
    code, report = end(begin(command(mixed, out, *words, "--retry-failed")))
    assert (code, report["done"], report["skipped"], report["failed"]) == (0, 2, 9, 0)
    assert found.items() <= hashes(out).items()
    assert verify(out, workers=1).findings == []


def test_ctrl_c_twice(
    videos: Path, tmp_path: Path, words: tuple[str, ...], undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    run = begin(command(videos, out, *words, "--workers", "1"))
    wait_for(lambda: at_work(out))
    run.send_signal(signal.SIGINT)
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    clock = time.monotonic()
    code, report = end(run)
    assert time.monotonic() - clock < 5
    assert code == 130
    # The first one may have been enough: then the shard at hand is there.
    if "error" in report:
        assert report["error"]["code"] == "interrupted"
    assert [name for name in os.listdir(out) if name.startswith(".")] == []
    complete(videos, out, words, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up(
    videos: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    undisturbed: dict[str, str],
    small_disk: Path,
) -> None:
    out = small_disk / "out"
    code, report = end(begin(command(videos, out, *words)))
    assert code == 1
    assert report["error"]["code"] == "unwritable"
    assert "No space left on device" in report["error"]["message"]
    assert [name for name in os.listdir(out) if name.startswith(".")] == []
    check_committed(out, undisturbed)
    # Still no room: the same, and what is there stays there.
    before = hashes(out)
    code, report = end(begin(command(videos, out, *words)))
    assert (code, report["error"]["code"]) == (1, "unwritable")
    assert before.items() <= hashes(out).items()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    complete(videos, out, words, undisturbed)


def test_a_folder_that_becomes_read_only(
    videos: Path, tmp_path: Path, words: tuple[str, ...], undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    open_to_all(out)
    open_to_all(videos)
    run = begin(as_another_user(command(videos, out, *words, "--workers", "1")), HOME=str(out))
    try:
        wait_for(lambda: (out / "000000.json").exists())
        run.send_signal(signal.SIGSTOP)
        out.chmod(0o555)
        run.send_signal(signal.SIGCONT)
        code, report = end(run)
    finally:
        out.chmod(0o777)
    assert code == 1, report
    assert report["error"]["code"] == "unwritable"
    assert "Permission denied" in report["error"]["message"]
    check_committed(out, undisturbed)
    code, _ = end(begin(as_another_user(command(videos, out, *words)), HOME=str(out)))
    assert code == 0
    check_completed(out, undisturbed)


def test_long_videos_are_begun_first_and_change_no_bytes(
    videos: Path, tmp_path: Path, undisturbed: dict[str, str], words: tuple[str, ...]
) -> None:
    """The video of the last shard is the longest: it is begun before all others."""
    from vidsampler.shards.build import Work, _groups, lots
    from vidsampler.shards.job import Item, Unit

    costs = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 1.0, "e": 9.0, "f": 1.0}
    units = [
        Unit(f"00000{number}", tuple(Item(key, key) for key in keys))
        for number, keys in enumerate(("ab", "cd", "ef"))
    ]
    order = list(lots(units, lambda item, spool: Work(None, cost=costs[item.key]), tmp_path))
    assert [lot.unit.name for lot in order] == ["000002", "000000", "000001"]
    assert [item.key for lot in order for item, _ in lot.works] == list("efbacd")
    # The last ones, four tasks or more, are worked on together.
    groups = [[lot.unit.name for lot in group] for group in _groups(iter(order), 4)]
    assert groups == [["000002"], ["000000", "000001"]]
    assert [len(group) for group in _groups(iter(order), 100)] == [3]
    assert [len(group) for group in _groups(iter(order), 1)] == [1, 1, 1]
