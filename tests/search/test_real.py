"""Real clips and captions: a search finds what evaluation finds, and an index grows cheaply."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vidsampler
from tests.cli.running import CHECKOUT
from tests.search.making import contents

pytestmark = pytest.mark.slow


def first_captions(test_data: Path) -> dict[str, str]:
    """One caption of each clip; those of 16 clips are names of actions, and repeat."""
    captions: dict[str, str] = {}
    with (test_data / "clips" / "captions.csv").open() as file:
        for row in csv.DictReader(file):
            captions.setdefault(row["video"], row["caption"])
    assert len(captions) == 157
    return captions


@pytest.fixture(scope="module")
def weights(test_data: Path) -> str:
    pytest.importorskip("transformers")
    return str(test_data / "weights" / "lite2_minilm")


@pytest.fixture(scope="module")
def videos(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips, in a folder that tests may change."""
    folder = tmp_path_factory.mktemp("clips") / "videos"
    shutil.copytree(test_data / "clips", folder)
    return folder


@pytest.fixture(scope="module")
def index(videos: Path, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all clips, made at once."""
    folder = tmp_path_factory.mktemp("made") / "index"
    report = vidsampler.embed(videos, folder, backbone=weights, frames=4)
    assert (report.done, report.failed, report.frames) == (157, 0, 4 * 157)
    return folder


def test_captions_find_what_evaluation_finds(
    videos: Path, index: Path, weights: str, test_data: Path, tmp_path: Path
) -> None:
    captions = first_captions(test_data)
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "caption", "split"])
        rows.writerows([video, captions[video], "test"] for video in sorted(captions))
    evaluated = vidsampler.evaluate(
        None,
        "captions",
        videos=videos,
        annotations=tmp_path,
        frames=4,
        settings={"backbone": {"name": weights}},
        cache=False,
        device="cpu",
    )
    opened = vidsampler.Index.open(index, verify=True)
    assert opened.sources == sorted(captions)
    ranks = []
    for video in opened.sources:
        found = [hit.source for hit in opened.search(captions[video], k=157)]
        assert len(set(found)) == 157
        ranks.append(1 + found.index(video))
    recalls = {f"R@{k}": 100 * float(np.mean(np.array(ranks) <= k)) for k in (1, 5, 10)}
    assert recalls["R@1"] == pytest.approx(evaluated.t2v["R@1"], abs=1e-9)
    for name, recall in recalls.items():
        assert recall == pytest.approx(evaluated.t2v[name], abs=0.7)  # one query
    # Vectors in half precision move a clip by a place now and then.
    assert np.abs(np.array(ranks) - np.array(evaluated.ranks.t2v)).max() <= 1
    # An independent script measured 24.1 by 8 frames, over the clips with captions of their own.
    assert recalls["R@1"] == pytest.approx(24, abs=3)


def test_ten_more_clips_cost_ten_clips_even_if_killed(
    videos: Path, index: Path, weights: str, tmp_path: Path
) -> None:
    """A real process that is really killed, between the first and the last of ten clips."""
    clips = sorted(videos.glob("*.mp4"))
    ten = clips[3 : len(clips) : len(clips) // 10][:10]
    aside = tmp_path / "aside"
    aside.mkdir()
    grown = tmp_path / "index"
    shutil.copytree(index, grown)
    try:
        for path in ten:
            path.rename(aside / path.name)
        report = vidsampler.embed(videos, grown)
        assert (report.done, report.skipped, report.dropped) == (0, 147, 10)
        for path in ten:
            (aside / path.name).rename(path)
        run = subprocess.Popen(
            [sys.executable, "-m", "vidsampler", "embed", str(videos), str(grown)],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        journal = grown / "journal"
        while run.poll() is None and not (journal.exists() and journal.stat().st_size > 50_000):
            time.sleep(0.005)
        run.kill()
        assert run.wait() == -signal.SIGKILL
        assert journal.exists()
        begun = contents(grown)
        assert begun["index.json"] != contents(index)["index.json"]
        report = vidsampler.embed(videos, grown)
        assert (report.done, report.skipped, report.dropped) == (10, 147, 0)
        assert contents(grown) == contents(index)
    finally:
        for path in ten:
            if (aside / path.name).exists():
                (aside / path.name).rename(path)
