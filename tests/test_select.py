"""The main job on real video files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vidsampler
from tests.data.make_clip import read_stamp
from tests.rendering import read_number, render
from tests.video.clips import x264
from vidsampler.errors import InputError, UsageError, VidsamplerError
from vidsampler.selection import FRAME_NAME

CLIP = Path(__file__).parent / "data" / "clip.mp4"
# The demo clip's script, in frames at 25 a second; see tests/data/make_clip.py.
SHOTS = {
    "hills": range(150),
    "ball": range(190, 250),
    "town": range(250, 375),
    "wheel": range(435, 475),
    "letters": range(475, 550),
}
BLACK, FROZEN = range(150, 190), range(375, 435)


def test_default_keeps_every_shot_once_and_nothing_black_or_frozen() -> None:
    selection = vidsampler.select(CLIP)
    kept = [frame.index for frame in selection.kept]
    assert len(kept) == 8
    for name, shot in SHOTS.items():
        assert any(i in shot for i in kept), name
    assert not any(i in BLACK for i in kept)
    # The last picture of the town and its repeats are one picture.
    assert sum(i in FROZEN or i == 374 for i in kept) <= 1


def test_the_selection_speaks_of_frames_that_are_there() -> None:
    selection = vidsampler.select(CLIP, k=5)
    assert (selection.sampler, selection.candidates, selection.gmacs) == ("coverage", 64, 0.0)
    assert selection.duration == pytest.approx(22.0)
    assert selection.fps == pytest.approx(25.0)
    for frame in selection.kept:
        assert frame.time == pytest.approx(frame.index / 25)
        assert frame.pts == frame.index * 512
    pictures = selection.frames()
    assert [read_stamp(p) for p in pictures] == [f.index for f in selection.kept]
    assert {p.shape for p in selection.frames(size=90)} == {(90, 160, 3)}


def test_uniform_is_the_middles_of_equal_segments_of_the_video() -> None:
    selection = vidsampler.select(CLIP, k=4, sampler="uniform")
    assert [frame.index for frame in selection.kept] == [68, 206, 343, 481]  # (2i+1) 550 / 8
    assert selection.candidates == 4


def test_keyframe_keeps_keyframes() -> None:
    selection = vidsampler.select(CLIP, k=3, sampler="keyframe")
    from vidsampler.video import Video

    with Video(CLIP) as video:
        keyframes = set(video.keyframes().tolist())
    assert {frame.index for frame in selection.kept} <= keyframes
    assert selection.candidates == len(keyframes)


@pytest.mark.parametrize("sampler", ["coverage", "keyframe", "random", "scene", "uniform"])
def test_window(sampler: str) -> None:
    selection = vidsampler.select(CLIP, k=3, sampler=sampler, start=2.0, end=5.0)
    assert selection.kept
    assert all(2.0 <= frame.time < 5.0 for frame in selection.kept)


@pytest.mark.parametrize("sampler", ["coverage", "keyframe", "random", "scene", "uniform"])
def test_same_call_same_frames(sampler: str) -> None:
    first = vidsampler.select(CLIP, sampler=sampler, threads=1)
    again = vidsampler.select(CLIP, sampler=sampler, threads=2)
    assert first.kept == again.kept


@pytest.mark.parametrize("sampler", ["coverage", "keyframe", "random", "scene", "uniform"])
def test_one_frame_video(tmp_path: Path, sampler: str) -> None:
    path = render(tmp_path / "one.mp4", 1)
    selection = vidsampler.select(path, sampler=sampler)
    assert [frame.index for frame in selection.kept] == [0]


def test_every_frame_of_the_demo_clip_carries_its_number() -> None:
    from vidsampler.video import Video

    with Video(CLIP) as video:
        assert video.index.frames == 550
        assert [read_stamp(f.rgb) for f in video.frames(range(550))] == list(range(550))
    assert CLIP.stat().st_size < 300_000


def test_seed() -> None:
    drawn = {vidsampler.select(CLIP, sampler="random", seed=s).kept for s in range(5)}
    assert len(drawn) == 5


def test_more_frames_than_candidates_raises_the_candidates() -> None:
    assert len(vidsampler.select(CLIP, k=100, sampler="coverage").kept) == 100
    assert len(vidsampler.select(CLIP, k=10_000, sampler="uniform").kept) == 550


def test_json_is_plain_data() -> None:
    data = json.loads(json.dumps(vidsampler.select(CLIP, k=2, sampler="uniform").to_json()))
    assert list(data) == [
        *["video", "sampler", "duration", "fps", "candidates", "kept", "gmacs", "seconds"]
    ]
    assert data["kept"][0] == {"index": 137, "pts": 137 * 512, "time": 5.48, "score": None}
    assert sorted(data["seconds"]) == ["decode", "sample"]


def test_frames_as_files(tmp_path: Path) -> None:
    selection = vidsampler.select(CLIP, k=12, sampler="uniform")
    written = selection.write_frames(tmp_path / "deep" / "kept")
    assert sorted(written) == written
    assert sorted((tmp_path / "deep" / "kept").iterdir()) == written
    assert all(FRAME_NAME.fullmatch(path.name) for path in written)
    for path, frame in zip(written, selection.kept, strict=True):
        picture = np.asarray(Image.open(path))
        assert picture.shape == (180, 320, 3)
        assert read_stamp(picture) == frame.index
    # Another selection into the same folder leaves nothing of the first.
    fewer = vidsampler.select(CLIP, k=2).write_frames(tmp_path / "deep" / "kept")
    assert sorted((tmp_path / "deep" / "kept").iterdir()) == fewer


@pytest.mark.parametrize(("k", "width"), [(1, 1280), (5, 1280), (40, 1920)])
def test_sheet(tmp_path: Path, k: int, width: int) -> None:
    path = tmp_path / "sheet.png"
    vidsampler.select(CLIP, k=k, sampler="uniform").write_sheet(path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[1] == width
    assert picture.std() > 20  # there are pictures on it


def test_sheet_of_all_candidates(tmp_path: Path) -> None:
    from vidsampler.sheet import MARK, WIDE

    selection = vidsampler.select(CLIP, k=8, candidates=30)
    assert len(selection.looked_at) == selection.candidates == 30
    selection.write_sheet(tmp_path / "all.png", every=True)
    picture = np.asarray(Image.open(tmp_path / "all.png").convert("RGB"))
    assert picture.shape[1] == WIDE
    assert (picture == MARK).all(-1).sum() > 1000  # the frames round the kept ones
    selection.write_sheet(tmp_path / "kept.png")
    kept = np.asarray(Image.open(tmp_path / "kept.png").convert("RGB"))
    assert kept.shape[1] == 1280


def test_sheet_of_very_many_candidates_shows_some(tmp_path: Path) -> None:
    selection = vidsampler.select(CLIP, k=3, sampler="random", candidates=300)
    shown = selection._shown(True)
    assert len(shown) == 120
    assert {frame.index for frame in selection.kept} <= {frame.index for frame in shown}
    assert [frame.index for frame in shown] == sorted({frame.index for frame in shown})
    assert selection._shown(False) == selection.kept


def test_narrower_frames(tmp_path: Path) -> None:
    selection = vidsampler.select(CLIP, k=2, sampler="uniform")
    for width, size in ((100, (100, 56)), (320, (320, 180)), (9999, (320, 180))):
        files = selection.write_frames(tmp_path, max_width=width)
        assert {Image.open(file).size for file in files} == {size}


def test_sheet_of_portrait_video(tmp_path: Path) -> None:
    path = render(tmp_path / "tall.mp4", 30, size=(96, 240))
    vidsampler.select(path, k=4).write_sheet(tmp_path / "sheet.jpg")
    assert Image.open(tmp_path / "sheet.jpg").width == 1280


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "at least 1 frame must be kept, not 0"),
        ({"candidates": 0}, "at least 1 candidate is needed"),
        ({"sampler": "covrage"}, "did you mean 'coverage'"),
        ({"start": 5.0, "end": 5.0}, "must be before"),
        ({"start": 99.0}, "no frame after 99 s"),
    ],
)
def test_wrong_numbers(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        vidsampler.select(CLIP, **options)  # type: ignore[arg-type]


def test_salvage_of_a_damaged_video(tmp_path: Path) -> None:
    path = render(tmp_path / "a.avi", 120, options=x264(10, 0))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError) as caught:
        vidsampler.select(path)
    assert caught.value.code == "truncated"
    selection = vidsampler.select(path, salvage=True)
    assert selection.kept
    assert [read_number(p) for p in selection.frames()] == [f.index for f in selection.kept]


def test_sheet_that_cannot_be_written(tmp_path: Path) -> None:
    selection = vidsampler.select(CLIP, k=1, sampler="uniform")
    with pytest.raises(VidsamplerError, match="cannot be written") as caught:
        selection.write_sheet(tmp_path / "nowhere" / "sheet.png")
    assert caught.value.code == "unwritable"
    with pytest.raises(UsageError, match="pictures are written as"):
        selection.write_sheet(tmp_path / "sheet.bmp")
    assert list(tmp_path.iterdir()) == []
