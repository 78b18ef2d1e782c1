"""`vidsampler.extract`, from Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import vidsampler
from tests.rendering import read_number, render
from vidsampler.errors import InputError, UsageError
from vidsampler.extract import find_videos
from vidsampler.shards import Reader

FRAMES = 20


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven videos, each of whose frames carries a number that tells which video it is."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "sub").mkdir()
    for number, name in enumerate(["a", "b", "c", "d", "e", "sub/a", "sub/f"]):
        start = 100 * number
        render(folder / f"{name}.mp4", range(start, start + FRAMES))
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every tar and commit file."""
    paths = sorted([*folder.glob("*.tar"), *folder.glob("0*.json")])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def number_of(jpeg: memoryview) -> int:
    import io

    import numpy as np
    from PIL import Image

    return read_number(np.asarray(Image.open(io.BytesIO(jpeg))))


def test_every_video_is_stored_with_its_own_frames(videos: Path, tmp_path: Path) -> None:
    report = vidsampler.extract(videos, tmp_path / "out", frames=4, size=None, per_shard=3)
    assert report.to_json() == {
        "videos": 7,
        "done": 7,
        "skipped": 0,
        "failed": 0,
        "frames": 28,
        "shards": 3,
        "seconds": pytest.approx(report.seconds, abs=1e-3),
        "errors": {},
    }
    reader = Reader(tmp_path / "out", verify=True)
    assert [sample.source for sample in reader] == [
        "a.mp4",
        "b.mp4",
        "c.mp4",
        "d.mp4",
        "e.mp4",
        "sub/a.mp4",
        "sub/f.mp4",
    ]
    for number, sample in enumerate(reader):
        assert [number_of(frame) - 100 * number for frame in sample.frames] == [2, 7, 12, 17]
    assert (tmp_path / "out" / "errors.jsonl").read_bytes() == b""


def test_again_only_what_is_missing(videos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    (copy / "c.mp4").rename(tmp_path / "c.mp4")
    out = tmp_path / "out"
    assert vidsampler.extract(copy, out, frames=2, per_shard=4).done == 6
    before = hashes(out)
    again = vidsampler.extract(copy, out, frames=2, per_shard=4)
    assert (again.done, again.skipped, again.videos, again.shards) == (0, 6, 6, 0)
    assert hashes(out) == before
    (tmp_path / "c.mp4").rename(copy / "c.mp4")
    third = vidsampler.extract(copy, out, frames=2, per_shard=4)
    assert (third.done, third.skipped, third.videos, third.shards) == (1, 6, 7, 1)
    assert {name: hashes(out)[name] for name in before} == before
    assert [sample.key for sample in Reader(out)][-1] == "c"


def test_workers_do_not_change_the_bytes(videos: Path, tmp_path: Path) -> None:
    found = []
    for workers in (1, 3):
        out = tmp_path / str(workers)
        vidsampler.extract(videos, out, fps=5, per_shard=2, workers=workers)
        found.append(hashes(out))
    assert found[0] == found[1]
    assert len(found[0]) == 8


def test_failures_stay_failures_until_they_are_tried_again(videos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    whole = (copy / "b.mp4").read_bytes()
    (copy / "b.mp4").write_bytes(whole[: len(whole) // 2])
    (copy / "x.mp4").write_bytes(b"")
    out = tmp_path / "out"
    first = vidsampler.extract(copy, out, frames=2)
    assert (first.videos, first.done, first.failed) == (8, 6, 2)
    assert first.errors == {"empty": 1, "truncated": 1}
    lines = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [(line["source"], line["key"], line["stage"], line["class"]) for line in lines] == [
        ("b.mp4", "b", "open", "truncated"),
        ("x.mp4", "x", "open", "empty"),
    ]
    (copy / "b.mp4").write_bytes(whole)
    second = vidsampler.extract(copy, out, frames=2)
    assert (second.done, second.skipped, second.failed) == (0, 6, 2)
    third = vidsampler.extract(copy, out, frames=2, retry_failed=True)
    assert (third.done, third.skipped, third.failed) == (1, 6, 1)
    assert "b" in Reader(out)
    assert json.loads((out / "errors.jsonl").read_text())["source"] == "x.mp4"
    fourth = vidsampler.extract(copy, out, frames=2)
    assert (fourth.done, fourth.skipped, fourth.failed, fourth.videos) == (0, 7, 1, 8)


def test_a_planned_video_that_is_gone_is_a_failure(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    vidsampler.extract(copy, out, frames=2)
    (out / "000000.json").unlink()  # as if it had been killed before
    (copy / "d.mp4").unlink()
    report = vidsampler.extract(copy, out, frames=2)
    assert (report.videos, report.done, report.failed) == (7, 6, 1)
    assert report.errors == {"missing": 1}


def test_folders_layout(videos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    out = tmp_path / "out"
    settings: dict[str, Any] = {"all": True, "layout": "folders", "size": None}
    with pytest.raises(UsageError, match=r"a\.mp4 and sub/a\.mp4 would both go to the folder a/"):
        vidsampler.extract(copy, out, **settings)
    shutil.rmtree(copy / "sub")
    (copy / "e.mp4").write_bytes(b"")
    report = vidsampler.extract(copy, out, **settings)
    assert (report.videos, report.done, report.failed, report.frames) == (5, 4, 1, 4 * FRAMES)
    names = sorted(os.listdir(out / "b"))
    assert names == [f"image_{i:05d}.jpg" for i in range(1, FRAMES + 1)]
    assert number_of(memoryview((out / "b" / "image_00006.jpg").read_bytes())) == 105
    assert json.loads((out / "b.json").read_text())["source"] == "b.mp4"
    again = vidsampler.extract(copy, out, **settings)
    assert (again.done, again.skipped, again.failed) == (0, 4, 1)
    shutil.copy(copy / "d.mp4", copy / "e.mp4")
    last = vidsampler.extract(copy, out, retry_failed=True, **settings)
    assert (last.done, last.skipped, last.failed) == (1, 4, 0)
    assert (out / "errors.jsonl").read_bytes() == b""


def test_folders_of_mp4(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = vidsampler.extract(
        videos / "a.mp4", out, fps=5, store="mp4", layout="folders", size=100
    )
    assert (report.videos, report.done) == (1, 1)
    assert (out / "a.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_output_may_lie_among_the_videos(videos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    settings: dict[str, Any] = {"fps": 5.0, "store": "mp4", "layout": "folders"}
    shutil.rmtree(copy / "sub")
    assert vidsampler.extract(copy, copy / "small", **settings).done == 5
    assert vidsampler.extract(copy, copy / "small", **settings).skipped == 5


def test_overwrite_starts_again(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    vidsampler.extract(videos, out, frames=2, per_shard=1)
    with pytest.raises(UsageError, match=r"frames 2 \(now 3\)"):
        vidsampler.extract(videos, out, frames=3, per_shard=1)
    report = vidsampler.extract(videos, out, frames=3, per_shard=4, overwrite=True)
    assert (report.done, report.skipped) == (7, 0)
    assert Reader(out).frames == 21
    assert len(list(out.glob("*.tar"))) == 2


def test_progress_is_told(videos: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    vidsampler.extract(
        videos, tmp_path / "out", frames=1, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(i, 7) for i in range(1, 8)]


def test_nothing_to_do_and_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no videos in it"):
        vidsampler.extract(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="no such file"):
        find_videos(tmp_path / "none.mp4")
    with pytest.raises(UsageError, match="unknown setting 'frame'; did you mean 'frames'"):
        vidsampler.extract(tmp_path, tmp_path / "out", frame=3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["plan.jsonl", "errors.jsonl", "Config.yaml", "a.json"])
def test_folders_never_take_the_place_of_other_files(
    videos: Path, tmp_path: Path, name: str
) -> None:
    copy, out = tmp_path / "videos", tmp_path / "out"
    copy.mkdir()
    for each in ("a", name):
        shutil.copy(videos / "a.mp4", copy / f"{each}.mp4")
    with pytest.raises(UsageError, match=rf"{name}.*belongs to"):
        vidsampler.extract(copy, out, frames=1, layout="folders")
    assert os.listdir(out) == []
    assert vidsampler.extract(copy, tmp_path / "shards", frames=1).done == 2


def test_a_name_too_long_for_a_folder_is_named_at_once(videos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "videos"
    copy.mkdir()
    shutil.copy(videos / "a.mp4", copy / f"{'x' * 251}.mp4")
    with pytest.raises(UsageError, match="its name is too long"):
        vidsampler.extract(copy, tmp_path / "out", frames=1, layout="folders")


def test_a_folder_that_was_deleted_is_made_again(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings: dict[str, Any] = {"frames": 2, "layout": "folders"}
    vidsampler.extract(videos / "a.mp4", out, **settings)
    shutil.rmtree(out / "a")
    assert vidsampler.extract(videos / "a.mp4", out, **settings).done == 1
    assert len(os.listdir(out / "a")) == 2


def test_a_failed_video_may_be_replaced_by_one_of_its_stem(videos: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / "videos", tmp_path / "out"
    copy.mkdir()
    (copy / "a.avi").write_bytes(b"")
    settings: dict[str, Any] = {"frames": 1, "layout": "folders"}
    assert vidsampler.extract(copy, out, **settings).failed == 1
    (copy / "a.avi").unlink()
    shutil.copy(videos / "a.mp4", copy / "a.mp4")
    report = vidsampler.extract(copy, out, **settings)
    assert (report.done, report.failed) == (1, 0)
    (copy / "a.avi").write_bytes(b"")
    with pytest.raises(UsageError, match=r"a\.mp4 and a\.avi would both go to the folder a/"):
        vidsampler.extract(copy, out, **settings)
