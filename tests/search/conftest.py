"""Videos, a checkpoint and an index to search in."""

from __future__ import annotations

from pathlib import Path

import pytest

import vidsampler
from tests.rendering import render
from tests.retrieving import retriever_of

SOURCES = ("a.mp4", "b.mp4", "deep/c.mp4", "deep/d.mp4", "e.mkv")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos that look different; the last has two frames."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "deep").mkdir()
    for number, name in enumerate(SOURCES):
        frames = 2 if name == "e.mkv" else 12
        render(folder / name, range(300 * number, 300 * number + frames), rate=4)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(cache))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved retriever: uniform, 3 of 6 candidates, mean."""
    folder = tmp_path_factory.mktemp("run") / "best"
    retriever_of("uniform", "mean", k=3).save(folder)
    return folder.parent


@pytest.fixture(scope="session")
def index(
    videos: Path, checkpoint: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("made") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDSAMPLER_CACHE", str(cache))
        report = vidsampler.embed(videos, folder, checkpoint=checkpoint, per_segment=2, workers=1)
    assert (report.done, report.failed) == (5, 0)
    return folder
