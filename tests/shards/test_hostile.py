"""Tars and commit files that mean harm: refused, and nothing is run, followed or written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vidsampler
from tests.rendering import render
from vidsampler.errors import InputError, VidsamplerError
from vidsampler.files import to_json_bytes
from vidsampler.shards import Reader
from vidsampler.shards.folder import ERRORS, LOCK
from vidsampler.shards.manifest import Entry, Manifest
from vidsampler.shards.writer import Member, ShardWriter


def claim(folder: Path, size: int, members: tuple[tuple[str, int], ...], key: str = "a") -> None:
    """A commit file that says what a tar holds."""
    manifest = Manifest("000000", size, "", {}, (Entry(key, "a.mp4", 0, members),))
    (folder / "000000.json").write_bytes(to_json_bytes(manifest.to_json()))


def tar_of(folder: Path, *infos: tarfile.TarInfo, data: bytes = b"{}") -> int:
    path = folder / "000000.tar"
    with tarfile.open(path, "w") as tar:
        for info in infos:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return path.stat().st_size


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, 0o644
    return made


@pytest.mark.parametrize(
    "member",
    [
        info("../outside.json"),
        info("/tmp/outside.json"),
        info("a.json", tarfile.SYMTYPE, "/etc/passwd"),
        info("a.json", tarfile.LNKTYPE, "../../secret"),
        info("a.json", tarfile.CHRTYPE),
        info("a.json", tarfile.FIFOTYPE),
        info("a.json", tarfile.DIRTYPE),
        info("x" * 300 + ".json"),  # a header of its own for the long name
    ],
    ids=lambda member: f"{member.name[:20]}-{member.type!r}",
)
def test_members_that_are_not_what_the_index_says(tmp_path: Path, member: tarfile.TarInfo) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    claim(folder, tar_of(folder, member), (("json", 2),))
    before = sorted(os.listdir(tmp_path))
    with Reader(folder) as reader, pytest.raises(InputError, match="not where the index says"):
        reader["a"]
    (finding, *_) = vidsampler.verify(folder, workers=1).findings
    assert finding.kind == "damaged"
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("key", "members"),
    [
        ("../a", (("json", 2),)),
        ("/a", (("json", 2),)),
        ("a", (("../../json", 2),)),
        ("a", (("/json", 2),)),
        ("a", (("x\0json", 2),)),
        ("a", (("", 2),)),
        ("a", (("json", 2), ("json", 2))),
        ("a", (("json", 1 << 40),)),
        ("a", (("json", 10**30),)),
        ("a", (("json", -1),)),
    ],
)
def test_an_index_that_leads_elsewhere(
    tmp_path: Path, key: str, members: tuple[tuple[str, int], ...]
) -> None:
    size = tar_of(tmp_path, info("a.json"))
    claim(tmp_path, size, members, key)
    with pytest.raises(InputError) as caught:
        Reader(tmp_path)
    assert caught.value.code == "foreign"
    assert [each.kind for each in vidsampler.verify(tmp_path, workers=1).findings] == ["foreign"]


def test_gigabytes_that_are_not_there_are_not_read(tmp_path: Path) -> None:
    """Files with holes: of any length, and of no content."""
    tar, commit = tmp_path / "000000.tar", tmp_path / "000000.json"
    tracemalloc.start()
    for size in (1 << 30, 7 << 30, 1 << 40):
        with tar.open("wb") as file:
            file.truncate(size + 4096)
        claim(tmp_path, size + 4096, (("json", size),))
        with pytest.raises(InputError) as caught:
            Reader(tmp_path)["a"]
        assert caught.value.code in ("damaged", "too-large", "foreign")
    with commit.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="not the commit file of a shard"):
        Reader(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50 << 20


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    tar, commit = tmp_path / "000000.tar", tmp_path / "000000.json"
    claim(tmp_path, 1024, (("json", 2),))
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)):
        make(tar)
        with pytest.raises(InputError, match=r"000000\.tar: not a regular file"):
            Reader(tmp_path)
        tar.rmdir() if tar.is_dir() else tar.unlink()
    commit.unlink()
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)):
        make(commit)
        with pytest.raises(InputError, match=r"000000\.json: not the commit file"):
            Reader(tmp_path)
        commit.rmdir() if commit.is_dir() else commit.unlink()


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["pkl", "pyd", "pickle", "json", "mp4", "000.jpg"])
def test_nothing_is_unpickled(tmp_path: Path, name: str) -> None:
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    folder = tmp_path / "shards"
    folder.mkdir()
    with ShardWriter(folder, "000000", {}, folder) as writer:
        writer.add("a", "a.mp4", [Member(name, len(trap), trap)], 0)
        writer.commit()
    sample = Reader(folder, verify=True)["a"]
    assert bytes(sample.members[name]) == trap
    vidsampler.verify(folder, workers=1)
    report = vidsampler.shard(folder, tmp_path / "again", workers=1)
    assert report.videos == 1
    (folder / "000000.json").write_bytes(trap)
    with pytest.raises(InputError):
        Reader(folder)
    (folder / "plan.jsonl").write_bytes(trap)
    assert {each.kind for each in vidsampler.verify(folder, workers=1).findings} == {"damaged"}
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)  # the trap itself works
    assert (tmp_path / "sprung").exists()


def linked(out: Path, name: str, outside: Path) -> None:
    (out / name).symlink_to(outside)


@pytest.mark.parametrize(
    ("settings", "prepare"),
    [
        ({}, lambda out, outside: linked(out, LOCK, outside)),
        ({"layout": "folders"}, lambda out, outside: linked(out, ERRORS, outside)),
        ({}, lambda out, outside: linked(out, ERRORS, outside)),
        ({}, lambda out, outside: linked(out, "config.yaml", outside)),
        ({}, lambda out, outside: linked(out, "000000.tar", outside)),
        ({"layout": "folders"}, lambda out, outside: linked(out, "a", outside.parent)),
    ],
)
def test_links_in_the_output_folder_lead_nowhere(
    tmp_path: Path, settings: dict[str, Any], prepare: Callable[[Path, Path], None]
) -> None:
    videos, out = tmp_path / "in", tmp_path / "out"
    videos.mkdir()
    render(videos / "a.mp4", 4)
    (videos / "bad.mp4").write_bytes(b"")
    (tmp_path / "precious").mkdir()
    outside = tmp_path / "precious" / "file"
    outside.write_text("precious")
    vidsampler.extract(videos, out, frames=1, workers=1, **settings)
    for path in out.glob("*.json"):
        path.unlink()
    for name in (LOCK, ERRORS, "config.yaml", "000000.tar"):
        (out / name).unlink(missing_ok=True)
    if (out / "a").is_dir():
        (out / "a" / "image_00001.jpg").unlink()
        (out / "a").rmdir()
    prepare(out, outside)
    with contextlib.suppress(VidsamplerError):
        vidsampler.extract(videos, out, frames=1, workers=1, **settings)
    assert os.listdir(tmp_path / "precious") == ["file"]
    assert outside.read_text() == "precious"


def test_a_plan_that_leads_elsewhere_deletes_nothing(tmp_path: Path) -> None:
    videos, out = tmp_path / "in", tmp_path / "out"
    videos.mkdir()
    render(videos / "a.mp4", 4)
    vidsampler.extract(videos, out, frames=1, workers=1)
    (tmp_path / "precious.json").write_text("{}")
    header, line = (out / "plan.jsonl").read_text().splitlines()
    bad = {**json.loads(line), "unit": "../precious"}
    (out / "plan.jsonl").write_text(f"{header}\n{json.dumps(bad)}\n")
    result = vidsampler.verify(out, repair=True, workers=1)
    assert [(each.shard, each.kind) for each in result.findings] == [("plan.jsonl", "damaged")]
    assert result.repaired == []
    with pytest.raises(InputError, match="the plan of this folder cannot be read"):
        vidsampler.extract(videos, out, frames=1, overwrite=True)
    assert (tmp_path / "precious.json").exists()
