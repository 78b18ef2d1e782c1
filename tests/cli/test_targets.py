"""Where frames and sheets go, and that it is checked without leaving anything behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidsampler.cli.targets import Target, check_targets, plan_targets
from vidsampler.errors import UsageError


def test_one_video_gets_exactly_what_was_asked_for() -> None:
    frames, sheet = Path("frames"), Path("sheet.png")
    assert plan_targets(["clip"], frames, sheet, many=False) == [Target(frames, sheet)]
    assert plan_targets(["clip"], None, None, many=False) == [Target(None, None)]


def test_several_videos_get_names_of_their_own() -> None:
    stems = ["clip", "Clip", "clip-2", "clip", "other"]
    targets = plan_targets(stems, Path("out"), Path("d/sheet.png"), many=True)
    names = ["clip", "Clip-3", "clip-2", "clip-4", "other"]
    assert [target.frames for target in targets] == [Path("out", name) for name in names]
    assert [target.sheet for target in targets] == [
        Path("d", f"sheet-{name}.png") for name in names
    ]


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_targets(tmp_path / "a" / "b", tmp_path / "c" / "sheet.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames", "sheet", "message"),
    [
        ("file.txt", None, "file.txt is not a folder"),
        ("file.txt/sub/frames", None, "file.txt is not a folder"),
        ("x" * 300, None, "File name too long"),
        (None, "file.txt/sheet.png", "file.txt is not a folder"),
        (None, "folder.png", "is a folder"),
        (None, "sheet.txt", "pictures are written as"),
        (None, "sheet", "pictures are written as"),
    ],
)
def test_what_cannot_be_written_is_said_at_once(
    tmp_path: Path, frames: str | None, sheet: str | None, message: str
) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError) as caught:
        check_targets(
            tmp_path / frames if frames else None,
            tmp_path / sheet if sheet else None,
        )
    assert message in caught.value.message
    assert str(frames or sheet) in caught.value.message


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a /proc")
def test_a_folder_that_refuses_files() -> None:
    with pytest.raises(UsageError, match="cannot write there"):
        check_targets(Path("/proc/frames"), None)
