"""`vidsampler shard`: other cuts of shards, and shards of frame folders."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vidsampler
from tests.cli.running import apart
from tests.rendering import numbered_picture, render
from tests.test_extract import hashes, number_of
from vidsampler.errors import InputError, UsageError
from vidsampler.packing.samples import list_pictures
from vidsampler.shards import Reader

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven videos of 12 frames in shards of three."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "sub").mkdir()
    for number, name in enumerate(["a", "b", "c", "d", "e", "sub/a", "sub/f"]):
        render(folder / f"{name}.mp4", range(100 * number, 100 * number + 12))
    out = folder / "shards"
    vidsampler.extract(folder, out, all=True, size=None, per_shard=3)
    return out


def frame_folder(folder: Path, numbers: range, suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True)
    for position, number in enumerate(numbers, 1):
        Image.fromarray(numbered_picture(number)).save(folder / f"image_{position}{suffix}")


def test_another_cut_holds_the_same_samples(shards: Path, tmp_path: Path) -> None:
    report = vidsampler.shard(shards, tmp_path / "out", shards=2)
    assert (report.done, report.shards, report.frames, report.failed) == (7, 2, 84, 0)
    old, new = Reader(shards), Reader(tmp_path / "out", verify=True)
    assert [len(each.entries) for each in new.manifests] == [4, 3]
    assert new.keys == old.keys
    assert new.sources == old.sources
    for key in old.keys:
        assert {name: bytes(data) for name, data in new[key].members.items()} == {
            name: bytes(data) for name, data in old[key].members.items()
        }


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [({"per_shard": 5}, [4, 3]), ({"per_shard": 2}, [2, 2, 1, 2]), ({"shards": 7}, [1] * 7)],
)
def test_shards_are_of_even_size(
    shards: Path, tmp_path: Path, settings: dict[str, Any], sizes: list[int]
) -> None:
    vidsampler.shard(shards, tmp_path / "out", **settings)
    found = [len(each.entries) for each in Reader(tmp_path / "out").manifests]
    assert sorted(found) == sorted(sizes)
    assert sum(found) == 7


def test_fewer_frames(shards: Path, tmp_path: Path) -> None:
    vidsampler.shard(shards, tmp_path / "out", frames=3)
    sample = Reader(tmp_path / "out")["b"]
    assert [number_of(frame) for frame in sample.frames] == [102, 106, 110]
    assert sample.facts["numbers"] == [2, 6, 10]
    assert sample.facts["times"] == pytest.approx([0.08, 0.24, 0.4])
    assert list(sample.members) == ["000.jpg", "001.jpg", "002.jpg", "json"]


def test_mp4_samples_are_copied(tmp_path: Path) -> None:
    render(tmp_path / "a.mp4", 50)
    vidsampler.extract(tmp_path / "a.mp4", tmp_path / "one", fps=5, store="mp4")
    report = vidsampler.shard(tmp_path / "one", tmp_path / "two")
    assert report.frames == 10
    old, new = Reader(tmp_path / "one")["a"], Reader(tmp_path / "two")["a"]
    assert bytes(new.members["mp4"]) == bytes(old.members["mp4"])
    assert list(new.members) == ["mp4", "json"]


def test_frame_folders_of_the_published_layout(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frame_folder(frames / "video1", range(12))  # image_10.jpg comes after image_9.jpg
    frame_folder(frames / "movie" / "clip7", range(50, 53), ".png")
    (frames / "video1" / "notes.txt").write_text("no picture")
    report = vidsampler.shard(frames, tmp_path / "out")
    assert (report.done, report.frames) == (2, 15)
    reader = Reader(tmp_path / "out", verify=True)
    assert [number_of(frame) for frame in reader["video1"].frames] == list(range(12))
    assert reader["video1"].facts == {
        "source": "video1",
        "width": 256,
        "height": 144,
        "frames": 12,
        "numbers": list(range(12)),
    }
    other = next(sample for sample in reader if sample.source == "movie/clip7")
    assert list(other.members) == ["000.png", "001.png", "002.png", "json"]
    assert [number_of(frame) for frame in other.frames] == [50, 51, 52]


def test_extracted_folders_keep_their_facts(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    render(tmp_path / "in" / "a.mp4", 20)
    vidsampler.extract(tmp_path / "in", tmp_path / "f", frames=5, layout="folders", size=None)
    vidsampler.extract(tmp_path / "in", tmp_path / "s", frames=5, size=None)
    vidsampler.shard(tmp_path / "f", tmp_path / "out")
    packed, direct = Reader(tmp_path / "out")["a"], Reader(tmp_path / "s")["a"]
    assert packed.facts == direct.facts
    assert [bytes(frame) for frame in packed.frames] == [bytes(frame) for frame in direct.frames]


def test_bad_folders_are_listed(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    for name in ("good", "cut", "text"):
        frame_folder(frames / name, range(3))
    whole = (frames / "cut" / "image_2.jpg").read_bytes()
    (frames / "cut" / "image_2.jpg").write_bytes(whole[: len(whole) // 2])
    (frames / "text" / "image_3.jpg").write_text("hello")
    report = vidsampler.shard(frames, tmp_path / "out")
    assert (report.done, report.failed) == (1, 2)
    assert report.errors == {"damaged": 1, "truncated": 1}
    lines = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    messages = {json.loads(line)["source"]: json.loads(line)["message"] for line in lines}
    assert messages == {
        "cut": "cut/image_2.jpg: the picture is cut",
        "text": "text/image_3.jpg: not a picture",
    }


def test_pictures_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("b2.jpg", "b10.jpg", "b1.JPEG", ".b0.jpg", "x.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_pictures(tmp_path)] == ["b1.JPEG", "b2.jpg", "b10.jpg"]


def test_again_and_after_a_kill(shards: Path, tmp_path: Path) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    vidsampler.shard(shards, undisturbed, per_shard=1)
    command = [sys.executable, "-m", "vidsampler", "shard", str(shards), str(out)]
    for delay in (0.25, 0.35, 0.5):
        run = subprocess.Popen([*command, "--per-shard", "1"], cwd=ROOT)
        time.sleep(delay)
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert vidsampler.shard(shards, out, per_shard=1).videos == 7
    assert hashes(out) == hashes(undisturbed)
    assert vidsampler.shard(shards, out, per_shard=1).skipped == 7


def test_damaged_shards_are_no_source(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shards, copy)
    with (copy / "000001.tar").open("ab") as file:
        file.truncate(1000)
    with pytest.raises(InputError, match=r"000001\.tar: 1,000 bytes long"):
        vidsampler.shard(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sample_damaged_inside_is_a_failure_with_its_name(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shards, copy)
    reader = Reader(copy)
    data = bytearray((copy / "000000.tar").read_bytes())
    data[reader.manifests[0].entries[1].offset] ^= 1
    (copy / "000000.tar").write_bytes(data)
    report = vidsampler.shard(copy, tmp_path / "out")
    assert (report.done, report.errors) == (6, {"damaged": 1})


def test_wrong_places_and_settings(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot go where the old ones are"):
        vidsampler.shard(shards, shards)
    with pytest.raises(InputError, match="neither shards nor folders of pictures"):
        vidsampler.shard(tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="did you mean 'per_shard'"):
        vidsampler.shard(shards, tmp_path / "out", pershard=3)


def test_the_command(shards: Path, tmp_path: Path) -> None:
    ran = apart("shard", str(shards), str(tmp_path / "out"), "--shards", "2", "--json")
    assert ran.code == 0
    assert ran.json["shards"] == 2
    plan = apart("shard", str(shards), "x", "--dry-run")
    assert "# shards: 7 videos" in plan.out
    other = apart("shard", str(shards), str(tmp_path / "out"), "--frames", "2", "--json")
    assert other.code == 2
    assert "made with other settings" in other.json["error"]["message"]
    none = apart("shard", str(tmp_path / "none"), "x", "--json")
    assert (none.code, none.json["error"]["code"]) == (2, "missing")


def test_as_many_shards_as_asked_for(shards: Path, tmp_path: Path) -> None:
    report = vidsampler.shard(shards, tmp_path / "out", shards=5)
    assert report.shards == 5
    sizes = [len(each.entries) for each in Reader(tmp_path / "out").manifests]
    assert sorted(sizes) == [1, 1, 1, 2, 2]
    assert vidsampler.shard(shards, tmp_path / "out", shards=5).skipped == 7


def test_frames_cannot_be_chosen_of_mp4_files(tmp_path: Path) -> None:
    render(tmp_path / "a.mp4", 10)
    vidsampler.extract(tmp_path / "a.mp4", tmp_path / "one", fps=5, store="mp4")
    with pytest.raises(UsageError, match="--frames cannot choose"):
        vidsampler.shard(tmp_path / "one", tmp_path / "two", frames=1)


def test_a_folder_that_cannot_be_read_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good", "locked"):
        frame_folder(tmp_path / "frames" / name, range(2))
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)  # root may read every folder
    report = vidsampler.shard(tmp_path / "frames", tmp_path / "out")
    assert (report.done, report.failed, report.errors) == (1, 1, {"unreadable": 1})
    assert '"source":"locked"' in (tmp_path / "out" / "errors.jsonl").read_text()


def test_not_all_pictures_are_in_memory_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "video1"
    frame_folder(folder, range(1))
    picture = (folder / "image_1.jpg").read_bytes()
    for number in range(2, 60):
        (folder / f"image_{number}.jpg").write_bytes(picture[:-2] + bytes(200_000) + picture[-2:])
    spool = tmp_path / "spool"
    # A process of its own: other tests' threads would be measured along.
    script = f"""
import tracemalloc
from pathlib import Path
from vidsampler.packing.samples import SampleTask, store_folder
tracemalloc.start()
stored = store_folder(SampleTask("video1", "video1", Path({str(folder)!r}), Path({str(spool)!r})))
print(stored.frames, tracemalloc.get_traced_memory()[1])
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    frames, peak = map(int, told.stdout.split())
    assert frames == 59
    assert peak < 4_000_000 < spool.stat().st_size


def test_shards_that_are_not_all_made_are_no_source(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shards, copy)
    (copy / "000002.tar").unlink()
    (copy / "000002.json").unlink()
    with pytest.raises(InputError, match="1 of its shards are planned and not made yet"):
        vidsampler.shard(copy, tmp_path / "out")


def test_dots_in_the_names_of_folders(tmp_path: Path) -> None:
    for name in ("v1.5", "v1.6"):
        frame_folder(tmp_path / "frames" / name, range(2))
    vidsampler.shard(tmp_path / "frames", tmp_path / "out")
    assert [key[:5] for key in Reader(tmp_path / "out").keys] == ["v1_5-", "v1_6-"]
