"""Videos, and what an undisturbed run makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.doing import begin, command, end
from tests.rendering import render
from tests.test_extract import hashes

WORDS = ("--fps", "12", "--size", "96", "--per-shard", "3")


@pytest.fixture(scope="package")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine videos of 3 seconds."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(9):
        render(folder / f"v{number}.mp4", 75)
    return folder


@pytest.fixture(scope="package")
def words() -> tuple[str, ...]:
    """What all runs are told."""
    return WORDS


@pytest.fixture(scope="package")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of what nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, report = end(begin(command(videos, out, *WORDS)))
    assert (code, report["done"]) == (0, 9)
    return hashes(out)
