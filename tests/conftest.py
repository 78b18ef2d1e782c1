"""What tests share."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

# Each of several test processes computes on its share of the cores. More threads than cores wait
# for one another at the end of every operation: tests of small tensors take six times as long.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _workers > 1:
    _cores = os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores // _workers)))

# A shell has what it runs in the background ignore Ctrl-C, and so would every process that a test
# starts and interrupts. One that is caught here is not inherited.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real clips and annotations, named by VIDSAMPLER_TEST_DATA."""
    folder = os.environ.get("VIDSAMPLER_TEST_DATA")
    if not folder:
        pytest.skip("VIDSAMPLER_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def real_clips(test_data: Path) -> list[Path]:
    """All real clips."""
    with (test_data / "clips" / "captions.csv").open() as file:
        names = {row["video"] for row in csv.DictReader(file)}
    clips = sorted(test_data / "clips" / name for name in names)
    assert len(clips) == 157
    return clips


@pytest.fixture
def as_nobody() -> Callable[[Path], str]:
    """Opens a video as another user than root; gives the error's code or ``ok``."""

    def run(path: Path) -> str:
        for folder in path.parents:
            if folder.stat().st_uid == os.geteuid() and "pytest" in str(folder):
                folder.chmod(0o755)
        code = (
            "import os, sys\n"
            "from vidsampler.video import Video\n"
            "from vidsampler.errors import InputError\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try:\n    Video(sys.argv[1]); print('ok')\n"
            "except InputError as error:\n    print(error.code)\n"
        )
        return subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        ).stdout

    return run


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(folder))
    return folder
