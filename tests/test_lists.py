"""Files that list videos."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import vidsampler
from tests.cli.running import here
from tests.rendering import render
from vidsampler.cli.inputs import collect
from vidsampler.errors import InputError
from vidsampler.lists import is_list, read_list
from vidsampler.shards import Reader


def listed(tmp_path: Path, name: str, data: bytes | str) -> dict[str, Path]:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_list(path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("l.txt", "a.mp4\nsub/b.mkv\n/c.mp4\n"),
        ("l.txt", b"\xef\xbb\xbfa.mp4\r\n\r\nsub//b.mkv\r\n./a.mp4\r\n/c.mp4"),
        ("l.TXT", "a.mp4\nsub/./b.mkv\na.mp4\n/c.mp4\n   \n"),
        ("l.csv", "video\na.mp4\nsub/b.mkv\n/c.mp4\n"),
        ("l.csv", 'id,Path,text\r\n1,a.mp4,x\r\n2,sub/b.mkv,"x,\ny"\r\n3,/c.mp4,z\r\n'),
        ("l.csv", "a.mp4\nsub/b.mkv\n\n/c.mp4\n"),
        ("l.jsonl", '"a.mp4"\n{"video": "sub/b.mkv", "caption": "x"}\n\n{"path": "/c.mp4"}\n'),
    ],
)
def test_forms(tmp_path: Path, name: str, data: bytes | str) -> None:
    assert listed(tmp_path, name, data) == {
        "a.mp4": tmp_path / "a.mp4",
        "sub/b.mkv": tmp_path / "sub" / "b.mkv",
        "/c.mp4": Path("/c.mp4"),
    }


def test_names_of_any_bytes(tmp_path: Path) -> None:
    (name,) = listed(tmp_path, "l.txt", b"caf\xe9 # 1.mp4\n")
    assert os.fsencode(name) == b"caf\xe9 # 1.mp4"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("l.txt", "\n\n", "names no video"),
        ("l.csv", "", "names no video"),
        ("l.csv", "id,caption\n1,x\n", r"none of its columns \(id, caption\)"),
        ("l.csv", "id,video\n1,a.mp4\n2\n", r"l\.csv, line 3: no path in this line"),
        ("l.csv", b"video\na.mp4\n\xff.mp4\n", r"l\.csv, line 3: not UTF-8"),
        ("l.csv", 'video\n"a.mp4', r"l\.csv, line 2: unexpected end of data"),
        ("l.csv", "video;x\na.mp4;1\n", r"its first line, 'video;x', is neither the heading"),
        ("l.csv", "video\tx\na.mp4\t1\n", r"its first line, 'video\\tx', is neither"),
        ("l.csv", "clip\na.mp4\n", r"its first line, 'clip', is neither"),
        ("l.jsonl", '"a.mp4"\n{"video"', r"l\.jsonl, line 2: not JSON"),
        ("l.jsonl", '{"video": 3}', r"l\.jsonl, line 1: no text under any of video, path, file"),
        ("l.jsonl", '["a.mp4"]', r"l\.jsonl, line 1: no text"),
        ("l.jsonl", "[" * 100_000, r"l\.jsonl, line 1: not JSON"),
        ("l.txt", "a\0b.mp4", r"l\.txt, line 1: a path with a zero byte"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, name: str, data: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        listed(tmp_path, name, data)


def test_a_table_with_other_separators_is_told_so(tmp_path: Path) -> None:
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        with pytest.raises(InputError) as caught:
            listed(tmp_path, "l.csv", f"video{mark}x\na.mp4{mark}1\n")
        assert caught.value.hint == (
            f"separate columns by commas, not by {name}, and name that of the paths video, path or "
            "file"
        )
    with pytest.raises(InputError) as caught:
        vidsampler.extract(tmp_path / "l.csv", tmp_path / "out")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    (tmp_path / "a clip").write_bytes(b"")
    assert list(listed(tmp_path, "l.csv", "a clip\nanother\n")) == ["a clip", "another"]


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as caught:
        read_list(tmp_path / "l.csv")
    assert caught.value.code == "missing"
    (tmp_path / "folder.txt").mkdir()
    assert not is_list(tmp_path / "folder.txt")
    assert is_list("x.csv")
    assert not is_list("x.mp4")


def test_extract_takes_a_list(tmp_path: Path) -> None:
    render(tmp_path / "a.mp4", 6)
    (tmp_path / "sub").mkdir()
    shutil.copy(tmp_path / "a.mp4", tmp_path / "sub" / "a.mp4")
    shutil.copy(tmp_path / "a.mp4", tmp_path / "not-listed.mp4")
    path = tmp_path / "list.csv"
    path.write_text(f"video\n{tmp_path}/sub/a.mp4\na.mp4\ngone.mp4\n")
    report = vidsampler.extract(path, tmp_path / "out", frames=1, workers=1)
    assert (report.videos, report.done, report.errors) == (3, 2, {"missing": 1})
    reader = Reader(tmp_path / "out")
    # In the order of the list.
    assert [sample.source for sample in reader] == [f"{tmp_path}/sub/a.mp4", "a.mp4"]
    assert reader.keys[1] == "a"
    path.write_text("video\nnot-listed.mp4\n" + path.read_text().partition("\n")[2])
    again = vidsampler.extract(path, tmp_path / "out", frames=1, workers=1)
    assert (again.done, again.skipped, again.failed) == (1, 2, 1)


def test_select_takes_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render(tmp_path / "a.mp4", 6)
    (tmp_path / "l.txt").write_text("a.mp4\ngone.mp4\n")
    assert [item.name for item in collect([str(tmp_path / "l.txt")])] == [
        f"{tmp_path}/a.mp4",
        f"{tmp_path}/gone.mp4",
    ]
    ran = here(capsys, "select", str(tmp_path / "l.txt"), "--sampler", "uniform", "--json")
    assert ran.code == 3
    good, bad = ran.json["videos"]
    assert good["video"] == f"{tmp_path}/a.mp4"
    assert bad["error"]["code"] == "missing"
    (tmp_path / "l.txt").write_text("a.mp4\n")
    one = here(capsys, "select", str(tmp_path / "l.txt"), "--sampler", "uniform", "--json")
    assert one.code == 0
    assert len(one.json["videos"]) == 1


def test_shard_takes_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render(tmp_path / "a.mp4", 6)
    render(tmp_path / "b.mp4", 6)
    (tmp_path / "l.txt").write_text("a.mp4\n")
    (tmp_path / "captions.csv").write_text("video,caption,split\na,one,test\nb,two,test\n")
    ran = here(
        capsys,
        *("shard", str(tmp_path / "l.txt"), str(tmp_path / "out"), "--dataset", "captions"),
        *("--annotations", str(tmp_path), "--frames", "1", "--json"),
    )
    assert ran.code == 0, ran.out
    assert ran.json["missing"] == {"test": ["b"]}
    assert [sample.source for sample in Reader(tmp_path / "out" / "test")] == ["a"]
