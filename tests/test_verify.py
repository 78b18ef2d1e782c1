"""Reading shards back, and having them done again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vidsampler
from tests.cli.running import here
from tests.rendering import render
from tests.test_extract import hashes
from vidsampler.errors import InputError, UsageError
from vidsampler.shard import find_source
from vidsampler.shards import Reader
from vidsampler.shards.manifest import read_manifest


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in "abcde":
        render(folder / f"{name}.mp4", 20)
    return folder


def extracted(videos: Path, tmp_path_factory: pytest.TempPathFactory, **settings: Any) -> Path:
    out = tmp_path_factory.mktemp("made") / "out"
    vidsampler.extract(videos, out, size=64, per_shard=2, **settings)
    return out


@pytest.fixture(scope="module")
def made(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extracted(videos, tmp_path_factory, frames=3)


@pytest.fixture(scope="module")
def made_mp4(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extracted(videos, tmp_path_factory, fps=5, store="mp4")


@pytest.fixture(scope="module")
def made_folders(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extracted(videos, tmp_path_factory, frames=3, layout="folders")


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    """Shards of a, b | c, d | e, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "shards"))


def found(folder: Path) -> list[tuple[str, str | None, str]]:
    findings = vidsampler.verify(folder, workers=1).findings
    return [(each.shard, each.key, each.kind) for each in findings]


def test_whole_shards(made: Path) -> None:
    result = vidsampler.verify(made, workers=2)
    assert result.to_json() == {
        "folder": str(made),
        "shards": 3,
        "samples": 5,
        "frames": 15,
        "bytes": sum(path.stat().st_size for path in made.glob("*.tar")),
        "errors": {},
        "findings": [],
        "repaired": [],
        "seconds": pytest.approx(result.seconds, abs=1e-3),
    }
    assert result.bytes > 5000


def test_whole_ones_of_other_kinds(made_mp4: Path, made_folders: Path) -> None:
    videos = vidsampler.verify(made_mp4, workers=1)
    assert (videos.samples, videos.frames, videos.findings) == (5, 20, [])
    folders = vidsampler.verify(made_folders, workers=1)
    assert (folders.shards, folders.samples, folders.frames, folders.findings) == (5, 5, 15, [])
    size = sum(path.stat().st_size for path in made_folders.glob("*/*.jpg"))
    assert folders.bytes == size


def flip_in(member: str) -> Callable[[Path], None]:
    """Changes a byte in the middle of a sample's file in the second tar."""

    def act(shards: Path) -> None:
        manifest = read_manifest(shards / "000001.json")
        data = bytearray((shards / "000001.tar").read_bytes())
        at = data.index(member.encode())
        assert at % 512 == 0
        size = dict(manifest.entries[0].members)[member.partition(".")[2]]
        data[at + 512 + size // 2] ^= 255
        (shards / "000001.tar").write_bytes(data)

    return act


def cut(shards: Path) -> None:
    data = (shards / "000001.tar").read_bytes()
    (shards / "000001.tar").write_bytes(data[:-512])


def header(shards: Path) -> None:
    data = (shards / "000001.tar").read_bytes()
    (shards / "000001.tar").write_bytes(data.replace(b"c.001.jpg", b"c.001.jpX", 1))


def commit(old: str, new: str) -> Callable[[Path], None]:
    def act(shards: Path) -> None:
        path = shards / "000001.json"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return act


def swapped(shards: Path) -> None:
    """The second shard takes the place of the third: whole, and not what was planned."""
    text = (shards / "000001.json").read_text()
    (shards / "000002.json").write_text(text.replace('"shard":"000001"', '"shard":"000002"'))
    shutil.copy(shards / "000001.tar", shards / "000002.tar")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (flip_in("c.001.jpg"), {("000001", None, "damaged")}),
        (cut, {("000001", None, "damaged")}),
        (header, {("000001", None, "damaged"), ("000001", "c", "damaged")}),
        (lambda shards: (shards / "000001.tar").unlink(), {("000001", None, "damaged")}),
        (lambda shards: (shards / "000001.json").unlink(), {("000001", None, "uncommitted")}),
        (
            lambda shards: (shards / "000001.json").write_text("{"),
            {("000001", None, "damaged")},
        ),
        (commit('"frames":6', '"frames":7'), {("000001", None, "damaged")}),
        (commit('"samples":2', '"samples":3'), {("000001", None, "foreign")}),
        (commit('"sha256":"', '"sha256":"0'), {("000001", None, "damaged")}),
        (
            swapped,
            {("000002", None, "foreign"), ("000002", "c", "damaged"), ("000002", "d", "damaged")},
        ),
        (
            lambda shards: (shards / "000009.tar").write_bytes(b"x"),
            {("000009", None, "uncommitted")},
        ),
        (
            lambda shards: (shards / "photos.tar").write_bytes(b"x"),
            {("photos", None, "foreign")},
        ),
        (
            lambda shards: (shards / "plan.jsonl").write_text("{"),
            {("plan.jsonl", None, "damaged")},
        ),
    ],
)
def test_what_is_wrong_is_named(
    shards: Path, act: Callable[[Path], None], expected: set[tuple[str, str | None, str]]
) -> None:
    act(shards)
    assert expected <= set(found(shards))
    assert {shard for shard, _, _ in found(shards)} == {shard for shard, _, _ in expected}


def with_sha(shards: Path, change: Callable[[bytes], bytes]) -> None:
    """Changes the second tar, and its commit file so that only a decoder can tell."""
    tar = shards / "000001.tar"
    old = hashlib.sha256(tar.read_bytes()).hexdigest()
    tar.write_bytes(change(tar.read_bytes()))
    commit(old, hashlib.sha256(tar.read_bytes()).hexdigest())(shards)


def test_pictures_are_decoded(shards: Path) -> None:
    def change(data: bytes) -> bytes:
        at = data.index(b"d.002.jpg") + 512
        # The last third of the picture's data, up to its end mark, is lost.
        end = data.index(b"\xff\xd9", at)
        start = at + 2 * (end - at) // 3
        return data[:start] + bytes(end - start) + data[end:]

    with_sha(shards, change)
    assert len(Reader(shards, verify=True)) == 5
    assert found(shards) == [("000001", "d", "damaged")]
    (finding,) = vidsampler.verify(shards, workers=1).findings
    assert finding.message.startswith(f"{shards}/000001.tar: d.002.jpg: the picture cannot be")


def test_facts_are_compared(shards: Path) -> None:
    with_sha(shards, lambda data: data.replace(b"[3,10,16]", b"[3,10016]", 1))
    assert found(shards) == [("000001", "c", "damaged")]
    with_sha(shards, lambda data: data.replace(b'{"source":"d.mp4"', b'{"source":"e.mp4"'))
    assert found(shards) == [("000001", "c", "damaged"), ("000001", "d", "damaged")]


def test_videos_are_decoded(made_mp4: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(made_mp4, shards)
    with_sha(shards, lambda data: data.replace(b"moov", b"mooX", 1))
    assert found(shards) == [("000001", "c", "damaged")]


def test_damaged_shards_are_done_again(videos: Path, made: Path, shards: Path) -> None:
    flip_in("c.001.jpg")(shards)
    (shards / "000002.json").write_text("{")
    result = vidsampler.verify(shards, repair=True, workers=1)
    assert result.repaired == ["000001", "000002"]
    assert {"000001.tar.damaged", "000001.json.damaged"} <= set(os.listdir(shards))
    assert found(shards) == [("000001", None, "uncommitted"), ("000002", None, "uncommitted")]
    report = vidsampler.extract(videos, shards, frames=3, size=64, per_shard=2)
    assert (report.done, report.skipped) == (3, 2)
    assert hashes(shards) == hashes(made)
    # What was put aside is of no use any more.
    assert sorted(os.listdir(shards)) == sorted(os.listdir(made))
    assert found(shards) == []


def test_damaged_folders_are_done_again(videos: Path, made_folders: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folders"
    shutil.copytree(made_folders, folder)
    (folder / "a" / "image_00002.jpg").unlink()
    (folder / "b" / "image_00001.jpg").write_bytes(b"no picture")
    (folder / "c.json").write_text("[]")
    (folder / "d.json").unlink()
    assert found(folder) == [
        ("d", None, "uncommitted"),
        ("a", "a", "damaged"),
        ("b", None, "damaged"),
        ("c", None, "damaged"),
    ]
    (folder / "b.damaged").mkdir()  # of an earlier repair
    (folder / "b.damaged" / "image_00001.jpg").write_bytes(b"an earlier one")
    assert vidsampler.verify(folder, repair=True, workers=1).repaired == ["a", "b", "c"]
    aside = {name for name in os.listdir(folder) if "damaged" in name}
    assert aside == {
        *("a.damaged", "a.json.damaged", "b.damaged", "b.damaged-2"),
        *("b.json.damaged", "c.damaged", "c.json.damaged"),
    }
    # Every frame is still there.
    left = {path.name for path in (folder / "a.damaged").iterdir()}
    assert left == {"image_00001.jpg", "image_00003.jpg"}
    assert (folder / "b.damaged" / "image_00001.jpg").read_bytes() == b"an earlier one"
    assert (folder / "b.damaged-2" / "image_00001.jpg").read_bytes() == b"no picture"
    assert len(list((folder / "c.damaged").iterdir())) == 3
    assert {name for name, _, _ in found(folder)} == {"a", "b", "c", "d"}
    # What was put aside is no video.
    assert find_source(folder).origins.keys() == {"d", "e"}
    report = vidsampler.extract(videos, folder, frames=3, size=64, per_shard=2, layout="folders")
    assert (report.done, report.skipped) == (4, 1)
    assert found(folder) == []
    for path in made_folders.glob("*/*.jpg"):
        again = folder / path.relative_to(made_folders)
        assert again.read_bytes() == path.read_bytes()
    # What was put aside is of no use any more.
    assert sorted(os.listdir(folder)) == sorted(os.listdir(made_folders))


def test_a_video_may_be_called_like_what_is_put_aside(videos: Path, tmp_path: Path) -> None:
    mine, folder = tmp_path / "videos", tmp_path / "folders"
    mine.mkdir()
    for name in ("a.mp4", "a.damaged.mp4"):
        shutil.copy(videos / "a.mp4", mine / name)
    vidsampler.extract(mine, folder, frames=2, layout="folders")
    (folder / "a" / "image_00001.jpg").write_bytes(b"no picture")
    assert vidsampler.verify(folder, repair=True, workers=1).repaired == ["a"]
    assert (folder / "a.damaged-2" / "image_00001.jpg").read_bytes() == b"no picture"
    assert found(folder) == [("a", None, "uncommitted")]
    assert find_source(folder).origins.keys() == {"a.damaged"}
    shutil.copy(videos / "b.mp4", mine / "a.damaged-2.mp4")
    with pytest.raises(UsageError, match=r"a\.damaged-2, which belongs to what verify --repair"):
        vidsampler.extract(mine, folder, frames=2, layout="folders")
    (mine / "a.damaged-2.mp4").unlink()
    assert vidsampler.extract(mine, folder, frames=2, layout="folders").done == 1
    assert not list(folder.glob("a.damaged-*"))
    assert found(folder) == []


def test_what_is_put_aside_stays_until_it_is_made_again(
    videos: Path, made_folders: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folders"
    shutil.copytree(made_folders, folder)
    (folder / "a" / "image_00001.jpg").write_bytes(b"no picture")
    vidsampler.verify(folder, repair=True, workers=1)
    others = tmp_path / "videos"
    shutil.copytree(videos, others)
    (others / "a.mp4").write_bytes(b"")
    report = vidsampler.extract(others, folder, frames=3, size=64, per_shard=2, layout="folders")
    assert (report.done, report.failed) == (0, 1)
    assert len(list((folder / "a.damaged").iterdir())) == 3
    report = vidsampler.extract(
        videos, folder, frames=3, size=64, per_shard=2, layout="folders", overwrite=True
    )
    assert report.done == 5
    assert sorted(os.listdir(folder)) == sorted(os.listdir(made_folders))


def test_a_long_name_can_be_put_aside_too(videos: Path, tmp_path: Path) -> None:
    name = "x" * 250
    (tmp_path / "videos").mkdir()
    shutil.copy(videos / "a.mp4", tmp_path / "videos" / f"{name}.mp4")
    folder = tmp_path / "folders"
    vidsampler.extract(tmp_path / "videos", folder, frames=2, layout="folders")
    (folder / name / "image_00001.jpg").write_bytes(b"no picture")
    assert vidsampler.verify(folder, repair=True, workers=1).repaired == [name]
    (aside,) = (path for path in folder.iterdir() if path.is_dir())
    assert (aside / "image_00001.jpg").read_bytes() == b"no picture"
    assert vidsampler.extract(tmp_path / "videos", folder, frames=2, layout="folders").done == 1
    assert not list(folder.glob("*damaged*"))


def test_what_is_failed_is_no_finding(videos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "videos"
    shutil.copytree(videos, copy)
    (copy / "c.mp4").write_bytes(b"")
    for layout in ("shards", "folders"):
        out = tmp_path / layout
        vidsampler.extract(copy, out, frames=2, per_shard=1, layout=layout)
        assert found(out) == []


def test_splits_of_a_dataset(shards: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train", "test"):
        shutil.copytree(shards, data / name)
    cut(data / "test")
    result = vidsampler.verify(data, repair=True, workers=1)
    assert (result.shards, result.samples) == (6, 8)
    assert [each.shard for each in result.findings] == ["test/000001"]
    assert result.repaired == ["test/000001"]
    assert (data / "train" / "000001.tar").exists()


def test_one_key_in_two_shards(shards: Path) -> None:
    (shards / "plan.jsonl").unlink()
    swapped(shards)
    assert found(shards) == [("000002", "c", "damaged"), ("000002", "d", "damaged")]


def test_without_a_plan_nothing_is_put_aside(shards: Path) -> None:
    (shards / "plan.jsonl").unlink()
    cut(shards)
    before = sorted(os.listdir(shards))
    assert vidsampler.verify(shards, repair=True, workers=1).repaired == []
    assert sorted(os.listdir(shards)) == before


def test_repair_waits_for_no_other_run(shards: Path) -> None:
    cut(shards)
    with (shards / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another run is writing there"):
            vidsampler.verify(shards, repair=True, workers=1)
    assert (shards / "000001.tar").exists()


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder, message in (
        (tmp_path / "none", "none: no such folder"),
        (tmp_path / "file", "file: is not a folder"),
        (tmp_path, "no shard in it"),
    ):
        with pytest.raises(InputError, match=message):
            vidsampler.verify(folder)


def test_the_command(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = here(capsys, "verify", str(shards), "--workers", "1")
    assert (good.code, good.err) == (0, "")
    rows = dict(line.rsplit(None, 1) for line in good.out.splitlines())
    assert (rows["shards"], rows["samples"], rows["frames"]) == ("3", "5", "15")
    flip_in("c.001.jpg")(shards)
    bad = here(capsys, "verify", str(shards))
    assert bad.code == 3
    assert f"{shards}/000001.tar: its content has changed since it was committed" in bad.out
    assert "add --repair" in bad.err
    mended = here(capsys, "verify", str(shards), "--repair", "--json")
    assert mended.code == 3
    assert json.loads(mended.out)["repaired"] == ["000001"]
    assert json.loads(mended.out)["findings"][0]["class"] == "damaged"
    assert here(capsys, "verify", str(shards / "none")).code == 2
    assert here(capsys, "verify", str(shards), "--workers", "0").code == 2
