"""What careless and hostile users do."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CLIP = Path(__file__).parents[1] / "data" / "clip.mp4"
COMMAND = [sys.executable, "-m", "vidsampler"]


def run(*words: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*COMMAND, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(CLIP, tmp_path / "clip.mp4")
    return tmp_path


def test_a_pipe_named_like_a_video_does_not_hang(folder: Path) -> None:
    os.mkfifo(folder / "pipe.mp4")
    alone = run("select", "pipe.mp4", cwd=folder)
    assert alone.returncode == 2
    assert "not a regular file" in alone.stderr
    batch = run("select", ".", "--sampler", "uniform", "--json", cwd=folder)
    assert batch.returncode == 3
    videos = json.loads(batch.stdout)["videos"]
    assert [video["video"] for video in videos] == ["./clip.mp4", "./pipe.mp4"]
    assert videos[1]["error"]["code"] == "not-video"


@pytest.mark.parametrize("name", ['a,b"c\nd.mp4', "r\rx.mp4"])
def test_names_with_line_ends(folder: Path, name: str) -> None:
    (folder / "clip.mp4").rename(folder / name)
    words = ["select", ".", "-k", "2", "--sampler", "uniform"]
    done = run(*words, "--csv", "--sheet", "s.png", cwd=folder)
    assert done.returncode == 0
    # Text mode would make a line end of the carriage return.
    raw = subprocess.run([*COMMAND, *words, "--csv"], cwd=folder, capture_output=True, check=True)
    rows = list(csv.reader(io.StringIO(raw.stdout.decode(), newline="")))
    assert [row[0] for row in rows] == ["video", f"./{name}", f"./{name}"]


def test_no_video_is_overwritten(folder: Path) -> None:
    (folder / "clip.mp4").rename(folder / "in.png")
    done = run("select", "in.png", "--sheet", "in.png", cwd=folder)
    assert done.returncode == 2
    assert "would overwrite the video" in done.stderr
    assert (folder / "in.png").read_bytes() == CLIP.read_bytes()


def test_the_sheet_is_not_a_frame(folder: Path) -> None:
    done = run("select", "clip.mp4", "--frames-dir", "f", "--sheet", "f/s.png", cwd=folder)
    assert done.returncode == 2
    assert not (folder / "f").exists()


def test_huge_numbers_cost_nothing(folder: Path) -> None:
    for option in ("-k", "--candidates"):
        done = run("select", "clip.mp4", option, "9" * 20, "--sampler", "uniform", cwd=folder)
        assert done.returncode == 0


def test_closed_streams(folder: Path) -> None:
    for redirect, code in (("<&-", 2), (">&-", 0), ("2>&-", 0)):
        video = "-" if redirect == "<&-" else "clip.mp4"
        done = subprocess.run(
            f'"{sys.executable}" -m vidsampler select {video} --sampler uniform {redirect}',
            shell=True,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, redirect
        assert "Traceback" not in done.stderr


def test_dry_run_looks_for_the_videos(folder: Path) -> None:
    done = run("select", "nowhere.mp4", "--dry-run", cwd=folder)
    assert done.returncode == 2
    assert "no such file" in done.stderr


def test_timeout_is_a_failure_at_run_time(folder: Path) -> None:
    done = run("select", "clip.mp4", "--timeout", "0.000001", "--json", cwd=folder)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "timeout"


def interrupted(folder: Path) -> subprocess.Popen[str]:
    for i in range(30):
        shutil.copy(CLIP, folder / f"{i}.mp4")
    return subprocess.Popen(
        [*COMMAND, "select", ".", "--candidates", "500"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_in_the_middle(folder: Path) -> None:
    process = interrupted(folder)
    assert process.stdout is not None
    process.stdout.readline()  # the first video is done
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.2])
def test_ctrl_c_while_starting(folder: Path, delay: float) -> None:
    process = interrupted(folder)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    # Before Python has run a line of ours, the signal ends it in Python's own way.
    ours = f"vidsampler{os.sep}" in errors
    starting = process.returncode == 1 and "KeyboardInterrupt" in errors and not ours
    assert starting or process.returncode in (130, -signal.SIGINT), errors
