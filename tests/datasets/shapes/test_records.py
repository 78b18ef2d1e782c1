"""The ground truth as a file, and questions to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vidsampler.datasets.shapes import KINDS, ShapesSettings, ShapesVideo, Slot, read
from vidsampler.datasets.shapes.plan import plan_videos
from vidsampler.datasets.shapes.records import to_lines
from vidsampler.errors import InputError

VIDEO = ShapesVideo(
    "test-00000",
    ("two red stars, then a big blue heart",),
    10.0,
    ("two red stars", "a big blue heart"),
    (
        Slot(0.0, "unrelated"),
        Slot(2.5, "informative", 0),
        Slot(5.0, "frozen", 0, 1),
        Slot(7.5, "informative", 1),
    ),
)


def test_slots_by_time() -> None:
    times = (0, 2.4, 2.5, 7.4, 7.5, 9.99, 10, 11)
    assert [VIDEO.slot_at(time).time for time in times] == [0, 0, 2.5, 5, 7.5, 7.5, 7.5, 7.5]
    third = ShapesVideo("a", ("b",), 16 / 3, ("b",), tuple(Slot(i / 3, "black") for i in range(16)))
    assert [third.slot_at(round(i / 3, 9)) for i in range(16)] == list(third.slots)
    with pytest.raises(ValueError, match="not at -1"):
        VIDEO.slot_at(-1)


def test_facts_by_time() -> None:
    assert VIDEO.facts_shown([]) == VIDEO.facts_shown([1.0]) == set()
    assert VIDEO.facts_shown([1.0, 3.0, 6.0]) == {0}
    assert VIDEO.facts_shown([6.0, 8.0]) == {0, 1}


def test_plan_is_written_and_read(tmp_path: Path) -> None:
    settings = ShapesSettings(train=0, val=0, test=5, fps=4, slot_frames=2)
    plans = plan_videos(settings)["test"]
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "shapes.jsonl").write_text(to_lines(plans, settings.slot_seconds))
    videos = read(tmp_path, "test")
    assert [video.video for video in videos] == [f"test-0000{i}" for i in range(5)]
    for video, plan in zip(videos, plans, strict=True):
        assert video.slots == plan.slots
        assert video.duration == 8.0
        assert video.facts == tuple(map(str, plan.facts))
        assert video.captions == (", then ".join(video.facts),)
        assert (video.start, video.end) == (None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, r"shapes\.jsonl, line 2: not a record of a video: Expecting"),
        ({"captions": None}, r"line 2: not a record of a video"),
        ({"slots": [{"time": 0, "kind": "blak"}]}, r"slot 0: unknown kind 'blak'; did you mean"),
        ({"slots": [{"time": 0, "kind": "black", "x": 1}]}, r"unexpected keyword argument 'x'"),
        (
            {"slots": [{"time": 0, "kind": "informative", "fact": 2}]},
            r"line 2: slot 0 shows fact 2 of 2",
        ),
    ],
)
def test_damaged(tmp_path: Path, change: dict[str, object] | None, message: str) -> None:
    good = {
        "video": "test-00000",
        "captions": ["a, then b"],
        "duration": 1,
        "facts": ["a", "b"],
        "slots": [{"time": 0, "kind": kind} for kind in KINDS],
    }
    second = '{"video": ' if change is None else json.dumps(good | change)
    (tmp_path / "test").mkdir()
    path = tmp_path / "test" / "shapes.jsonl"
    path.write_text(f"{json.dumps(good)}\n{second}\n")
    with pytest.raises(InputError, match=message):
        read(tmp_path, "test")
    del good["facts"]
    path.write_text(json.dumps(good))
    with pytest.raises(InputError, match="line 1: the record of a video needs 'facts'"):
        read(tmp_path, "test")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read(tmp_path, "test")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'train'"):
        read(tmp_path, "trian")
    with pytest.raises(InputError, match=r"cannot read .*shapes\.jsonl: No such file"):
        read(tmp_path, "val")
