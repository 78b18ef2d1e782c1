"""Writing and reading shards."""

from __future__ import annotations

import hashlib
import json
import pickle
import tarfile
from pathlib import Path

import pytest

from vidsampler.errors import InputError
from vidsampler.files import to_json_bytes
from vidsampler.shards import Reader
from vidsampler.shards.manifest import Entry, Failure, Manifest, read_manifest
from vidsampler.shards.writer import Member, ShardWriter

RECIPE = {"frames": 2}


def write(folder: Path, name: str = "000000", keys: tuple[str, ...] = ("a", "b")) -> None:
    spool = folder / "spool"
    with ShardWriter(folder, name, RECIPE, folder) as writer:
        for key in keys:
            spool.write_bytes(b"??" + key.encode() * 700 + b"second")
            facts = json.dumps({"key": key}).encode()
            writer.add(
                key,
                f"{key}.mp4",
                [
                    Member("000.jpg", 700 * len(key), None, 2),
                    Member("001.jpg", 6, None, 2 + 700 * len(key)),
                    Member("json", len(facts), facts),
                ],
                2,
                spool,
            )
        writer.commit([Failure("c", "c.mp4", "open", "empty", "c.mp4: it is empty")])
    spool.unlink()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "000001", ("cc",))
    with Reader(tmp_path, verify=True) as reader:
        assert len(reader) == 3
        assert reader.keys == ["a", "b", "cc"]
        assert reader.frames == 6
        assert "b" in reader
        assert "c" not in reader
        sample = reader["b"]
        assert sample.source == "b.mp4"
        assert [bytes(frame) for frame in sample.frames] == [b"b" * 700, b"second"]
        assert sample.facts == {"key": "b"}
        assert [each.key for each in reader] == reader.keys
        assert bytes(reader[2].members["000.jpg"]) == b"cc" * 700
        assert reader[-1].key == "cc"
        with pytest.raises(KeyError):
            reader["nobody"]
        with pytest.raises(IndexError):
            reader[3]
        copy = pickle.loads(pickle.dumps(reader))
    assert copy[0].facts == {"key": "a"}


def test_facts_without_frames(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "000001", ("cc",))
    reader = Reader(tmp_path)
    assert reader.facts(1) == reader.facts("b") == {"key": "b"}
    assert reader.facts("cc") == {"key": "cc"}
    assert reader.tar("b") == tmp_path / "000000.tar"
    assert reader.tar(2) == tmp_path / "000001.tar"
    with pytest.raises(KeyError):
        reader.facts("nobody")
    data = bytearray((tmp_path / "000000.tar").read_bytes())
    data[data.index(b"b.json")] = ord("z")
    (tmp_path / "000000.tar").write_bytes(data)
    again = Reader(tmp_path)
    assert again.facts("a") == {"key": "a"}
    with pytest.raises(InputError, match=r"000000\.tar: b\.json is not where the index says"):
        again.facts("b")


def test_the_tar_is_a_plain_one_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    write(tmp_path)
    first = (tmp_path / "000000.tar").read_bytes()
    with tarfile.open(tmp_path / "000000.tar") as tar:
        assert tar.getnames() == [
            f"{key}.{name}" for key in "ab" for name in ("000.jpg", "001.jpg", "json")
        ]
        member = tar.getmembers()[0]
        assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
    write(tmp_path)
    assert (tmp_path / "000000.tar").read_bytes() == first


def test_the_commit_file(tmp_path: Path) -> None:
    write(tmp_path)
    data = json.loads((tmp_path / "000000.json").read_text())
    tar = (tmp_path / "000000.tar").read_bytes()
    assert data["samples"] == 2
    assert data["frames"] == 4
    assert data["bytes"] == len(tar)
    assert data["sha256"] == hashlib.sha256(tar).hexdigest()
    assert data["recipe"] == RECIPE
    assert data["errors"] == {"empty": 1}
    assert data["failed"] == [
        {
            "key": "c",
            "source": "c.mp4",
            "stage": "open",
            "class": "empty",
            "message": "c.mp4: it is empty",
        }
    ]
    key, source, offset, members = data["index"][1]
    assert (key, source) == ("b", "b.mp4")
    assert members == [["000.jpg", 700], ["001.jpg", 6], ["json", 12]]
    with tarfile.open(tmp_path / "000000.tar") as opened:
        assert opened.getmember("b.000.jpg").offset == offset
    manifest = read_manifest(tmp_path / "000000.json")
    assert manifest.to_json() == data


def test_without_commit_nothing_is_there(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "000000", RECIPE, tmp_path) as writer:
        writer.add("a", "a.mp4", [Member("json", 2, b"{}")], 0)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_of_failures_has_no_tar(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "000000", RECIPE, tmp_path) as writer:
        writer.commit([Failure("c", "c.mp4", "open", "empty", "no")])
    assert [path.name for path in tmp_path.iterdir()] == ["000000.json"]
    assert len(Reader(tmp_path, verify=True)) == 0


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "cut":
        path.write_bytes(data[:-700])
    elif kind == "longer":
        path.write_bytes(data + bytes(512))
    elif kind == "gone":
        path.unlink()
    elif kind == "header":
        data[0] = ord("z")
        path.write_bytes(data)
    elif kind == "content":
        data[600] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("kind", ["cut", "longer", "gone"])
def test_another_size_is_refused_when_opened(tmp_path: Path, kind: str) -> None:
    write(tmp_path)
    damage(tmp_path / "000000.tar", kind)
    with pytest.raises(InputError, match=r"000000\.tar") as caught:
        Reader(tmp_path)
    assert caught.value.code == "damaged"


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    damage(tmp_path / "000000.tar", "content")
    Reader(tmp_path)
    with pytest.raises(InputError, match="changed since") as caught:
        Reader(tmp_path, verify=True)
    assert caught.value.code == "damaged"


def test_a_moved_header_is_refused_when_read(tmp_path: Path) -> None:
    write(tmp_path)
    damage(tmp_path / "000000.tar", "header")
    reader = Reader(tmp_path)
    assert reader["b"].facts == {"key": "b"}
    with pytest.raises(InputError, match=r"a\.000\.jpg is not where the index says"):
        reader["a"]


def test_foreign_tars_and_unfinished_ones_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "photos.tar").write_bytes(b"")
    with pytest.raises(InputError, match="without a commit file") as caught:
        Reader(tmp_path)
    assert caught.value.code == "foreign"
    (tmp_path / "photos.tar").rename(tmp_path / "000001.tar")
    (tmp_path / "plan.jsonl").write_text("")
    with pytest.raises(InputError, match="not committed") as caught:
        Reader(tmp_path)
    assert caught.value.code == "uncommitted"


@pytest.mark.parametrize(
    ("text", "code"),
    [("{", "damaged"), ("[]", "foreign"), ('{"format": 99}', "foreign"), ("{}", "foreign")],
)
def test_bad_commit_files(tmp_path: Path, text: str, code: str) -> None:
    write(tmp_path)
    (tmp_path / "000000.json").write_text(text)
    with pytest.raises(InputError, match=r"000000\.json") as caught:
        Reader(tmp_path)
    assert caught.value.code == code


def test_no_folder_and_no_shard(tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "none", "no such folder"), (tmp_path, "no shard")):
        with pytest.raises(InputError, match=words) as caught:
            Reader(folder)
        assert caught.value.code == "missing"


def test_one_key_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "000001", ("b",))
    with pytest.raises(InputError, match="'b' is in two samples"):
        Reader(tmp_path)


def test_webdataset_reads_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    write(tmp_path)
    samples = list(webdataset.WebDataset(str(tmp_path / "000000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["a", "b"]
    assert samples[1]["000.jpg"] == b"b" * 700


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"shard":"000000"', '"shard":"../000000"'),
        ('"bytes":', '"bytes":1e999,"more":'),
        ('["json",', '["json",-'),
        ('["json",', '["json",9999'),
        ('"index":[["', '"index":[["../'),
    ],
)
def test_commit_files_that_lead_elsewhere(tmp_path: Path, old: str, new: str) -> None:
    manifest = Manifest("000000", 2048, "", {}, (Entry("a", "a.mp4", 0, (("json", 2),)),))
    text = to_json_bytes(manifest.to_json()).decode()
    assert old in text
    path = tmp_path / "000000.json"
    path.write_text(text)
    assert read_manifest(path) == manifest
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert caught.value.code == "foreign"
