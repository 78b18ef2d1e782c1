"""What the tests of faults share: runs as processes, and what must hold after each fault."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.test_extract import hashes
from vidsampler.verify import verify

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "clip.mp4"

MISFORTUNE = """
import os, sys
import vidsampler.extraction.video as home
store = home.store_video
def strike(task):
    name = os.path.basename(task.source)
    if name.startswith("stall"):
        # Like a decoder that never returns: the lock of the interpreter is held all the time.
        import ctypes
        ctypes.PyDLL(None).sleep(1000)
    if name.startswith("crash"):
        import ctypes
        ctypes.string_at(0)
    return store(task)
home.store_video = strike
"""
"""Runs at the start of each Python, workers too: a decoder that stalls or crashes over a file."""


def misfortune(folder: Path) -> dict[str, str]:
    """Environment in which files named stall* and crash* are bad for decoders."""
    home = folder / "misfortune"
    home.mkdir()
    (home / "sitecustomize.py").write_text(MISFORTUNE)
    return {"PYTHONPATH": os.pathsep.join([str(home), str(ROOT)])}


def command(videos: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "vidsampler", "extract", str(videos), str(out), *words, "--json"]


def begin(words: list[str], **settings: str) -> subprocess.Popen[str]:
    """Starts a command."""
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(run: subprocess.Popen[str], seconds: float = 120) -> tuple[int, Any]:
    """Waits for a command: its exit code and what it printed as JSON. It must not hang or trace."""
    try:
        output, errors = run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.kill()
        raise
    assert "Traceback" not in errors, errors
    return run.returncode, json.loads(output) if output else None


def wait_for(happened: Callable[[], object], seconds: float = 60) -> None:
    """Waits until something is true."""
    last = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < last, "it never happened"
        time.sleep(0.01)


def at_work(out: Path) -> bool:
    """Whether some worker has begun to store frames."""
    return any(out.glob(".tmp-*/*"))


def check_committed(out: Path, undisturbed: dict[str, str]) -> None:
    """What is committed is whole, and as an undisturbed run makes it."""
    if not (out / "plan.jsonl").exists():
        return
    assert {finding.kind for finding in verify(out, workers=1).findings} <= {"uncommitted"}
    found = hashes(out)
    for path in out.glob("0*.json"):
        assert found[path.name] == undisturbed[path.name]
        assert found[f"{path.stem}.tar"] == undisturbed[f"{path.stem}.tar"]


def check_completed(out: Path, undisturbed: dict[str, str]) -> None:
    """All is there, and nothing else."""
    assert hashes(out) == undisturbed
    assert verify(out, workers=1).findings == []
    assert [name for name in os.listdir(out) if name.startswith(".")] == []


def failures(out: Path) -> dict[str, str]:
    """Source -> class of fault."""
    lines = (out / "errors.jsonl").read_text().splitlines()
    return {line["source"]: line["class"] for line in map(json.loads, lines)}


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flips bytes, cuts, or zeroes a stretch."""
    kind = rng.choice(("flip", "flip", "cut", "zero", "zero"))
    if kind == "cut":
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    if kind == "flip":
        for _ in range(rng.choice((1, 10, 100, 1000))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    length = rng.randrange(1, max(2, len(data) // 4))
    start = rng.randrange(len(data) - length + 1)
    changed[start : start + length] = bytes(length)
    return bytes(changed)
