"""Which videos the words mean."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from vidsampler.cli.inputs import Item, collect, opened
from vidsampler.errors import InputError, UsageError


class Stdin(io.TextIOWrapper):
    """A standard input with given bytes, at a terminal or not."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b/2.MKV", "b/1.mp4", "a.webm", "c.dat", ".hidden.mp4", "b/d/x.3gp", "z.ts"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_walked_in_order_and_files_taken_as_they_are(folder: Path) -> None:
    names = [item.name for item in collect(["c.dat", "b", "none.mp4", "."])]
    assert names == [
        *("c.dat", "b/1.mp4", "b/2.MKV", "b/d/x.3gp", "none.mp4"),
        *("./a.webm", "./z.ts", "./b/1.mp4", "./b/2.MKV", "./b/d/x.3gp"),
    ]


def test_a_folder_without_videos_is_an_item_with_an_error(folder: Path) -> None:
    (item,) = collect(["empty"])
    assert item.error is not None
    assert (item.error.code, item.error.exit_code) == ("missing", 2)
    assert item.error.message == "empty: the folder has no videos in it"
    with pytest.raises(InputError, match="no videos"), opened(item):
        pass


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/clip.mp4", "clip"),
        ("-", "stdin"),
        ("..mp4", "video"),
        ("a/..", "video"),
        ("x.y.z", "x.y"),
    ],
)
def test_stems_are_safe_names(name: str, stem: str) -> None:
    assert Item(name).stem == stem


def test_standard_input_once_and_never_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="only once"):
        collect(["-", "-"])
    monkeypatch.setattr(sys, "stdin", Stdin(terminal=True))
    with pytest.raises(UsageError, match="is a terminal"):
        collect(["-"])


def test_standard_input_becomes_a_file_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(3_000_000)
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    (item,) = collect(["-"])
    with opened(item) as path:
        assert path.read_bytes() == data
    assert not path.exists()


def test_an_error_about_standard_input_does_not_name_the_temporary_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b"text"))
    with pytest.raises(InputError) as caught, opened(Item("-")) as path:
        raise InputError(f"{path}: this is no video", hint="look", code="not-video")
    assert caught.value.to_json() == {
        "code": "not-video",
        "message": "standard input: this is no video",
        "hint": "look",
    }
    assert not path.exists()


@pytest.mark.parametrize("name", ["-", ""])
def test_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin())
    with pytest.raises(InputError), opened(Item(name)):
        pass


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    from vidsampler.files import walk_videos

    (tmp_path / "videos" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in ("videos/a.mp4", "videos/sub/b.mp4", "elsewhere/c.mp4"):
        (tmp_path / path).write_bytes(b"x")
    (tmp_path / "videos" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos" / "again").symlink_to(tmp_path / "videos" / "sub")
    (tmp_path / "videos" / "sub" / "loop").symlink_to(tmp_path / "videos")
    found = [os.path.relpath(each.path, tmp_path) for each in walk_videos(tmp_path / "videos")]
    assert found == ["videos/a.mp4", "videos/more/c.mp4", "videos/sub/b.mp4"]
