"""One video into a spool."""

from __future__ import annotations

import io
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.rendering import read_number, render
from vidsampler.errors import ConfigError, VidsamplerError
from vidsampler.extraction.settings import Recipe
from vidsampler.extraction.video import Stored, VideoTask, store_video
from vidsampler.video import Video

CLIP = Path(__file__).parents[1] / "data" / "clip.mp4"


def store(
    path: Path, folder: Path, recipe: Recipe, *, folders: bool = False, timeout: float | None = None
) -> tuple[Stored, Path]:
    spool = folder / "spool"
    task = VideoTask("key", path.name, path, recipe, spool, folders=folders, timeout=timeout)
    return store_video(task), spool


def facts_of(stored: Stored) -> dict[str, object]:
    data = stored.members[-1].data
    assert stored.members[-1].name == "json"
    assert data is not None
    facts: dict[str, object] = json.loads(data)
    return facts


def pictures(stored: Stored, spool: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    data = spool.read_bytes()
    return [
        np.asarray(Image.open(io.BytesIO(data[each.offset : each.offset + each.size])))
        for each in stored.members[:-1]
    ]


def test_the_right_frames_are_stored(tmp_path: Path) -> None:
    clip = render(tmp_path / "n.mp4", 60)
    stored, spool = store(clip, tmp_path, Recipe(frames=7, size=None))
    wanted = [4, 12, 21, 30, 38, 47, 55]
    assert [read_number(picture) for picture in pictures(stored, spool)] == wanted
    assert [each.name for each in stored.members] == [
        *(f"{i:03d}.jpg" for i in range(7)),
        "json",
    ]
    assert stored.frames == 7
    facts = facts_of(stored)
    assert facts["numbers"] == wanted
    with Video(clip) as video:
        assert facts["pts"] == video.pts(wanted).tolist()
        assert facts["times"] == pytest.approx(video.times(wanted).tolist(), abs=1e-6)
        info = video.info()
    for name in ("codec", "width", "height", "rotation", "frames", "container"):
        assert facts[name] == getattr(info, name)
    assert facts["bytes"] == clip.stat().st_size
    assert facts["source"] == "n.mp4"
    assert Fraction(str(facts["time_base"])) == info.time_base


def test_folders_count_from_one(tmp_path: Path) -> None:
    clip = render(tmp_path / "n.mp4", 12)
    stored, spool = store(clip, tmp_path, Recipe(all=True, size=None), folders=True)
    assert stored.frames == 12
    names = sorted(path.name for path in spool.iterdir())
    assert names == [f"image_{i:05d}.jpg" for i in range(1, 13)]
    found = [read_number(np.asarray(Image.open(spool / name))) for name in names]
    assert found == list(range(12))


def test_sizes_are_of_the_shorter_side_and_never_enlarged(tmp_path: Path) -> None:
    for size, shape in ((90, (90, 160, 3)), (500, (180, 320, 3)), (None, (180, 320, 3))):
        stored, spool = store(CLIP, tmp_path, Recipe(frames=1, size=size))
        assert pictures(stored, spool)[0].shape == shape


def read_mp4(path: Path) -> tuple[list[float], tuple[int, int], float]:
    """(times, (width, height), duration) of a file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [float(frame.time or 0) for frame in container.decode(stream)]
        assert stream.duration is not None
        assert stream.time_base is not None
        return times, (stream.width, stream.height), float(stream.duration * stream.time_base)


@pytest.mark.parametrize(
    ("source_size", "rate", "rotate", "size"),
    [
        ((320, 240), 25, None, (298, 224)),
        ((240, 320), 25, None, (224, 298)),
        ((320, 240), 25, 90, (224, 298)),
        ((320, 240), 15, None, (298, 224)),
    ],
    ids=["landscape", "portrait", "rotated", "15 fps"],
)
def test_three_a_second_at_224(
    tmp_path: Path,
    source_size: tuple[int, int],
    rate: int,
    rotate: int | None,
    size: tuple[int, int],
) -> None:
    source = render(tmp_path / "n.mp4", 4 * rate, rate=rate, size=source_size, rotate=rotate)
    stored, spool = store(source, tmp_path, Recipe(fps=3, store="mp4"))
    assert stored.members[0].name == "mp4"
    assert stored.members[0].size == spool.stat().st_size
    times, found, duration = read_mp4(spool)
    assert found == size
    assert times == pytest.approx([i / 3 for i in range(12)], abs=1e-6)
    with Video(source) as video:
        assert abs(duration - video.duration) < 1 / 3 + 1e-6
    assert facts_of(stored)["numbers"] == [int(i * rate / 3 + 1e-6) for i in range(12)]
    shutil.move(spool, tmp_path / "small.mp4")
    with Video(tmp_path / "small.mp4") as small:
        assert small.keyframes().tolist() == [0]


def test_a_slow_video_keeps_its_length_as_mp4(tmp_path: Path) -> None:
    source = render(tmp_path / "n.mp4", 4, rate=2)
    stored, spool = store(source, tmp_path, Recipe(fps=6, store="mp4", size=None))
    times, _, duration = read_mp4(spool)
    assert stored.frames == len(times) == 12
    assert duration == pytest.approx(2.0)
    assert facts_of(stored)["numbers"] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    for recipe in (Recipe(frames=4), Recipe(fps=2, store="mp4")):
        found = set()
        for _ in range(2):
            stored, spool = store(CLIP, tmp_path, recipe)
            found.add((spool.read_bytes(), stored.members[-1].data))
        assert len(found) == 1


def test_faults_of_the_video_are_failures_and_leave_no_spool(tmp_path: Path) -> None:
    whole = CLIP.read_bytes()
    files = {
        "empty.mp4": (b"", "empty", "open"),
        "text.mp4": (b"not a video" * 50, "not-video", "open"),
        "cut.mp4": (whole[: len(whole) // 2], "truncated", "open"),
    }
    for name, (data, code, stage) in files.items():
        (tmp_path / name).write_bytes(data)
        stored, spool = store(tmp_path / name, tmp_path, Recipe())
        assert stored.failure is not None
        assert (stored.failure.kind, stored.failure.stage) == (code, stage)
        assert stored.failure.message.startswith(f"{name}: ")
        assert not spool.exists()
    stored, spool = store(tmp_path / "none.mp4", tmp_path, Recipe())
    assert stored.failure is not None
    assert stored.failure.kind == "missing"


def test_a_damaged_video_is_refused_or_salvaged(tmp_path: Path) -> None:
    clip = render(tmp_path / "n.mp4", 100, options={"g": "10", "bf": "0"})
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 8] = bytes(len(data) // 8)
    clip.write_bytes(data)
    stored, spool = store(clip, tmp_path, Recipe(all=True, size=None))
    assert stored.failure is not None
    assert stored.failure.kind == "damaged"
    assert not spool.exists()
    saved, spool = store(clip, tmp_path, Recipe(all=True, size=None, salvage=True))
    assert saved.failure is None
    assert 50 < saved.frames < 100
    numbers = facts_of(saved)["numbers"]
    assert isinstance(numbers, list)
    assert len(numbers) == saved.frames == len(saved.members) - 1
    spool.unlink()
    folder, spool = store(clip, tmp_path, Recipe(all=True, size=None, salvage=True), folders=True)
    names = sorted(path.name for path in spool.iterdir())
    assert names == [f"image_{i:05d}.jpg" for i in range(1, folder.frames + 1)]


def test_a_deadline_is_a_failure(tmp_path: Path) -> None:
    stored, _ = store(CLIP, tmp_path, Recipe(all=True, size=None), timeout=1e-4)
    assert stored.failure is not None
    assert stored.failure.kind == "timeout"


def test_no_room_is_no_fault_of_the_video(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    task = VideoTask("k", "clip.mp4", CLIP, Recipe(frames=2), tmp_path / "file" / "spool")
    with pytest.raises(VidsamplerError, match="cannot be written") as caught:
        store_video(task)
    assert caught.value.code == "unwritable"


def test_frames_that_h264_cannot_store_are_a_failure_with_its_name(tmp_path: Path) -> None:
    wide = tmp_path / "wide.mov"
    with av.open(str(wide), "w") as out:
        stream = out.add_stream("png", rate=5)
        stream.width, stream.height, stream.pix_fmt = 30000, 16, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 30000, 3), np.uint8), format="rgb24")
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    recipe = Recipe(fps=3, store="mp4", size=None)
    stored = store_video(VideoTask("wide", "wide.mov", wide, recipe, tmp_path / "spool"))
    assert stored.failure is not None
    assert stored.failure.kind == "unsupported"
    assert stored.failure.message == "wide.mov: H.264 cannot store its frames of 30000 x 16"
    assert not (tmp_path / "spool").exists()


def test_a_rate_too_small_for_a_file() -> None:
    assert Recipe(fps=0.001, store="mp4").fps == 0.001
    with pytest.raises(ConfigError, match="fps of an mp4 must be at least"):
        Recipe(fps=0.0001, store="mp4")
