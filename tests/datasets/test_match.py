"""Ids and files."""

from __future__ import annotations

import pytest

from vidsampler.datasets import Record, match_videos
from vidsampler.datasets.gather import strip_extension
from vidsampler.errors import InputError

JUNO = "1004_Juno_00.00.32.167-00.00.32.551"


@pytest.mark.parametrize(
    ("name", "stripped"),
    [
        ("a.mp4", "a"),
        ("a.avi.MP4", "a"),
        ("a.3g2", "a"),
        ("a.", "a"),
        (JUNO, JUNO),
        (JUNO + ".avi", JUNO),
        ("m.ovie/c.lip.webm", "m.ovie/c.lip"),
        (".mp4", ".mp4"),
        ("a", "a"),
    ],
)
def test_endings(name: str, stripped: str) -> None:
    assert strip_extension(name) == stripped


@pytest.mark.parametrize(
    ("video", "key"),
    [
        ("video7", "video7"),
        ("video7", "video7.mp4"),
        ("video7", "all/TrainVal/video7.webm"),
        ("1@N_a_b.avi", "1@N_a_b.mp4"),
        ("1@N_a_b", "1@N_a_b.avi"),
        ("1@N_a_b.avi", "1@N_a_b.avi.mp4"),
        ("v_abc", "abc.mkv"),
        ("abc", "val/v_abc.mp4"),
        (f"1004_Juno/{JUNO}", f"1004_Juno/{JUNO}.avi"),
        (f"1004_Juno/{JUNO}", f"lsmdc/1004_Juno/{JUNO}.avi"),
        (f"1004_Juno/{JUNO}", f"{JUNO}.avi"),
        (JUNO, f"1004_Juno/{JUNO}.mp4"),
    ],
)
def test_an_id_finds_its_video(video: str, key: str) -> None:
    available = {key: "this", "another.mp4": "that", "x/video77.mp4": "that"}
    assert match_videos([Record(video)], available) == ({video: "this"}, ())


def test_the_nearer_name_counts() -> None:
    available = {"a/c.mp4": 1, "b/c.mp4": 2, "v_x.mp4": 3, "x.mp4": 4, "y.avi": 5, "y.mp4": 6}
    ids = ["a/c", "b/c.avi", "v_x", "x", "y.avi"]
    found, missing = match_videos(map(Record, ids), available)
    assert list(found.values()) == [1, 2, 3, 4, 5]
    assert missing == ()


def test_what_one_id_names_exactly_is_no_other_ids() -> None:
    # One upload under two names, of which one has a file.
    found, missing = match_videos(map(Record, ["x.mov", "x.mp4"]), {"x.mp4": 1})
    assert (found, missing) == ({"x.mp4": 1}, ("x.mov",))


def test_missing_ones_are_listed_in_order() -> None:
    ids = ["b", "z", "a", "video1"]
    found, missing = match_videos(map(Record, ids), {"a.mp4": 1, "b.mp4": 2, "video10.mp4": 3})
    assert found == {"b": 2, "a": 1}
    assert missing == ("z", "video1")


@pytest.mark.parametrize(
    ("ids", "keys", "named"),
    [
        (["c"], ["a/c.mp4", "b/c.mp4"], ["'c'", "a/c.mp4", "b/c.mp4"]),
        (["c.mp4"], ["c.mkv", "b/c.mp4"], ["'c.mp4'", "c.mkv", "b/c.mp4"]),
        (["c"], ["c.mp4", "b/c.mp4"], ["'c'", "c.mp4", "b/c.mp4"]),
        (["c"], ["c.mp4", "c.webm"], ["'c'", "c.mp4", "c.webm"]),
        (["x"], ["v_x.mp4", "d/v_x.mp4"], ["'x'", "v_x.mp4", "d/v_x.mp4"]),
        (["v_x", "x"], ["x.mp4"], ["x.mp4", "'v_x'", "'x'"]),
    ],
)
def test_what_is_ambiguous_names_both(ids: list[str], keys: list[str], named: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        match_videos(map(Record, ids), dict.fromkeys(keys))
    assert caught.value.code == "ambiguous"
    for each in named:
        assert each in caught.value.message
