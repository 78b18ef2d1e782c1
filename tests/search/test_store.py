"""An index depends on its videos, not on how they came; and damage is noticed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import CHECKOUT
from tests.search.making import contents, empty_manifest, entry, equal, names
from vidsampler.errors import InputError, UsageError
from vidsampler.search.entry import Entry, Stamp, stamp_of
from vidsampler.search.index import Index
from vidsampler.search.manifest import NAME, read_manifest
from vidsampler.search.segment import SUFFIX, facts_of
from vidsampler.search.store import Change, Store


def commit(folder: Path, changes: dict[str, Change], per_segment: int = 4) -> None:
    with Store(folder) as store:
        store.per_segment = per_segment
        if (folder / NAME).exists():
            store.open(read_manifest(folder))
        store.commit(empty_manifest(), changes)


def entries_of(folder: Path) -> list[Entry]:
    index = Index.open(folder, verify=True)
    return [index.entry(row) for row in range(len(index))]


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    sources = [*names(range(40)), "größe/视频.mp4", "bytes-\udcff.mp4", 'quote"\n.mp4']
    wanted = {source: entry(source) for source in sources}
    commit(tmp_path / "index", dict(wanted))
    found = entries_of(tmp_path / "index")
    assert [each.source for each in found] == sorted(sources)
    assert all(equal(each, wanted[each.source]) for each in found)
    manifest = read_manifest(tmp_path / "index")
    assert manifest.videos == 43
    assert manifest.frames == sum(len(each.times_K) for each in wanted.values())
    # About one in four begins a segment.
    assert 5 <= len(manifest.parts) <= 20
    assert [fact.source for fact in facts_of(tmp_path / "index", manifest)] == sorted(sources)


def test_any_history_ends_in_the_same_bytes(tmp_path: Path) -> None:
    draw = random.Random(3)
    for trial in range(6):
        folder = tmp_path / f"grown{trial}"
        now: dict[str, Entry] = {}
        commit(folder, {})
        for _ in range(draw.randint(2, 8)):
            changes: dict[str, Change] = {}
            for source in draw.sample(names(range(60)), draw.randint(1, 25)):
                what = draw.random()
                if what < 0.6 or source not in now:
                    changes[source] = entry(source, draw.randint(0, 2))
                elif what < 0.8:
                    changes[source] = None
                else:
                    changes[source] = Stamp(7, draw.randint(0, 9), "touched")
            commit(folder, changes)
            for source, change in changes.items():
                if change is None:
                    now.pop(source)
                elif isinstance(change, Stamp):
                    old = now[source]
                    now[source] = Entry(**{**vars(old), "stamp": change})
                else:
                    now[source] = change
        commit(tmp_path / f"at-once{trial}", dict(now))
        assert contents(folder) == contents(tmp_path / f"at-once{trial}")


def test_a_new_video_rewrites_one_segment_or_cuts_it(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    commit(folder, {source: entry(source) for source in names(range(0, 400, 2))}, per_segment=8)
    for number in range(1, 400, 20):
        before = {path.name: path.stat().st_ino for path in folder.glob(f"*{SUFFIX}")}
        (source,) = names([number])
        commit(folder, {source: entry(source)}, per_segment=8)
        after = {path.name: path.stat().st_ino for path in folder.glob(f"*{SUFFIX}")}
        new = {name for name, inode in after.items() if before.get(name) != inode}
        assert 1 <= len(new) <= 2
        assert len(before.keys() - after.keys()) == 1


def test_nothing_to_do_writes_no_segment(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    commit(folder, {source: entry(source) for source in names(range(20))})
    before = {path.name: path.stat().st_ino for path in folder.glob(f"*{SUFFIX}")}
    commit(folder, {})
    assert before == {path.name: path.stat().st_ino for path in folder.glob(f"*{SUFFIX}")}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path / "index"), pytest.raises(UsageError, match="another run is writing"):
        Store(tmp_path / "index").__enter__()
    with Store(tmp_path / "index"):
        pass


def test_leftovers_are_swept(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / ".tmp-0123.safetensors").write_bytes(b"half")
    (folder / f"{'0' * 16}{SUFFIX}").write_bytes(b"of a run that was killed")
    commit(folder, {source: entry(source) for source in names(range(3))}, per_segment=100)
    assert len(contents(folder)) == 2


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "longer header", "other width"])
def test_a_damaged_segment_is_noticed(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "index"
    commit(folder, {source: entry(source) for source in names(range(9))}, per_segment=100)
    (path,) = folder.glob(f"*{SUFFIX}")
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "other width":
        other = {source: entry(source, width=8) for source in names(range(9))}
        with Store(tmp_path / "other") as store:
            store.commit(empty_manifest(8), other)
        twin = next((tmp_path / "other").glob(f"*{SUFFIX}"))
        path.write_bytes(twin.read_bytes())
    else:
        new = {"cut": data[: len(data) // 2], "empty": b"", "longer header": b"\xff" * 8 + data}
        path.write_bytes(new[damage])
    with pytest.raises(InputError) as caught:
        Index.open(folder)
    assert caught.value.code == "damaged"
    assert f"the index {folder} is damaged: {path.name}" in caught.value.message


def test_a_changed_byte_is_noticed_by_verify_and_before_it_is_rewritten(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    commit(folder, {source: entry(source) for source in names(range(9))}, per_segment=100)
    (path,) = folder.glob(f"*{SUFFIX}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert len(Index.open(folder)) == 9
    with pytest.raises(InputError, match="its content has changed"):
        Index.open(folder, verify=True)
    with pytest.raises(InputError, match="its content has changed"):
        commit(folder, {"w.mp4": entry("w.mp4")}, per_segment=100)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (b"{}", "damaged"),
        (b'{"format": 2}', "foreign"),
        (b"[" * 100_000, "damaged"),
    ],
)
def test_a_damaged_list_is_noticed(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(InputError) as caught:
        Index.open(tmp_path)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", "../../etc/passwd"), ("name", ""), ("videos", 10), ("frames", 1), ("sha256", None)],
)
def test_a_list_cannot_lead_elsewhere(tmp_path: Path, key: str, value: object) -> None:
    folder = tmp_path / "index"
    commit(folder, {source: entry(source) for source in names(range(9))}, per_segment=100)
    data = json.loads((folder / NAME).read_bytes())
    data["segments"][0][key] = value
    (folder / NAME).write_text(json.dumps(data))
    with pytest.raises(InputError, match="is damaged"):
        Index.open(folder, verify=True)


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Index.open(tmp_path / "none")
    assert caught.value.message == f"there is no index {tmp_path / 'none'}"
    with pytest.raises(InputError) as caught:
        Index.open(tmp_path)
    assert caught.value.message == f"{tmp_path} is no index: there is no {NAME} in it"
    commit(tmp_path / "empty", {})
    with pytest.raises(InputError, match="has no videos in it"):
        Index.open(tmp_path / "empty")


def test_an_open_index_stays_what_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    commit(folder, {source: entry(source) for source in names(range(9))})
    index = Index.open(folder)
    commit(folder, dict.fromkeys(names(range(8))))
    assert len(Index.open(folder)) == 1
    assert index.sources == names(range(9))
    assert equal(index.entry(8), entry("v008.mp4"))


def test_stamps(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 200_000)
    one = stamp_of(path)
    assert (one.size, len(one.digest)) == (200_000, 16)
    for place in (0, 199_999):  # a change at either end
        data = bytearray(b"x" * 200_000)
        data[place] = 0
        path.write_bytes(data)
        assert stamp_of(path).digest != one.digest
    path.write_bytes(b"x" * 200_000)
    assert stamp_of(path).digest == one.digest
    assert Stamp.from_json(one.to_json()) == one


def test_an_index_may_have_more_segments_than_a_process_may_open_files(tmp_path: Path) -> None:
    folder = tmp_path / "an index \udcff" / "größe"
    commit(folder, {source: entry(source) for source in names(range(150))}, per_segment=1)
    program = (
        "import os, resource, sys\n"
        "import torch\n"
        "from vidsampler import Index\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "index = Index.open(os.fsdecode(sys.argv[1]))\n"
        "index.vectors[149][0].sum()\n"
        "print(len(index), len(index.vectors), index.nearest(index.vectors[70][:1], 1)[1])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, os.fsencode(folder)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "150 150 [[70]]\n"
