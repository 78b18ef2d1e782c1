"""The benchmark of the training loader runs, and its contenders deliver the same pixels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "loader.py"


@pytest.mark.slow
def test_all_contenders_deliver_the_same(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "VIDSAMPLER_TEST_DATA"}
    env |= {"VIDSAMPLER_BENCH_DIR": str(tmp_path), "PYTHONPATH": str(SCRIPT.parents[1])}
    arguments = ["--videos", "6", "--repeats", "1", "--workers", "1", "--batch", "3"]
    arguments += ["--memory-epochs", "1", "--json", str(tmp_path / "loader.json")]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pixels identical") == 4
    assert "ratio to the fastest other" in done.stdout
    result = json.loads((tmp_path / "loader.json").read_text())
    assert list(result["videos_a_second"]) == [
        "vidsampler",
        "webdataset + torchvision",
        "webdataset + PIL",
        "folder Dataset + torchvision",
    ]
    assert all(speed > 0 for speed in result["videos_a_second"].values())
    assert all(len(rows) == 1 for rows in result["memory_mb"].values())
