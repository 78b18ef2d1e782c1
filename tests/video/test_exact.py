"""Every frame that comes back is the wanted one: by the number in its pixels, and bit for bit.

The reference is a plain sequential decode of the whole file with PyAV.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.rendering import HEIGHT, WIDTH, numbered_picture, read_number, render
from tests.video.clips import CLIPS, COUNT, x264
from vidsampler.video import Video
from vidsampler.video.container import Deadline, PacketSource
from vidsampler.video.positions import uniform_positions

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str) -> Path:
        path = folder / name
        return path if path.exists() else render(path, COUNT, **CLIPS[name])

    return make


def digest(frame: Any) -> str:
    return hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest()


def reference(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [digest(frame) for frame in container.decode(video=0)]


def decoded(path: Path, numbers: np.ndarray, threads: int) -> dict[int, str]:
    found: dict[int, str] = {}

    def taker() -> Any:
        return lambda number, pts, frame: found.__setitem__(number, digest(frame))

    with Video(path, threads=threads) as video:
        missing = video.decode_into(numbers, taker)
    assert missing == []
    return found


@pytest.mark.parametrize("name", CLIPS)
def test_bit_exact(clip: Callable[[str], Path], name: str) -> None:
    path = clip(name)
    expected = reference(path)
    for threads in (1, 2):
        for k in (1, 7, 16, 64, len(expected)):
            numbers = uniform_positions(len(expected), k)
            found = decoded(path, numbers, threads)
            assert found == {int(n): expected[n] for n in numbers}, (threads, k)


@pytest.mark.parametrize("name", CLIPS)
def test_numbers_in_the_pixels(clip: Callable[[str], Path], name: str) -> None:
    path = clip(name)
    # The edit list cuts 30 frames away.
    first = 30 if name.startswith("edit-list") else 0
    for threads in (1, 2):
        with Video(path, threads=threads) as video:
            assert video.index.frames == COUNT - first
            for k in (1, 7, 16, 64):
                wanted = uniform_positions(video.index.frames, k)
                for size in (None, 96):
                    frames = video.frames(wanted, size)
                    assert [frame.number for frame in frames] == wanted.tolist()
                    assert [read_number(f.rgb) for f in frames] == (wanted + first).tolist()


@pytest.mark.parametrize("name", [n for n in CLIPS if n.split(".")[1] in ("mp4", "mkv", "mov")])
def test_no_fallback_is_needed(
    clip: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan alone finds all frames: the slow way from the start is for broken files."""
    path = clip(name)

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("decoded from the start")

    monkeypatch.setattr("vidsampler.video.reader.decode_in_order", refuse)
    with Video(path, threads=2) as video:
        video.frames(uniform_positions(video.index.frames, 16), 96)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "rotated.mp4"
    turned = degrees in (90, 270)
    size = (HEIGHT, WIDTH) if turned else (WIDTH, HEIGHT)

    class Turned:
        """Stores pictures turned back, so that the metadata makes them upright."""

        @staticmethod
        def picture(number: int, width: int, height: int) -> np.ndarray:
            return np.ascontiguousarray(np.rot90(numbered_picture(number), -degrees // 90))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.rendering.numbered_picture", Turned.picture)
        render(path, 60, options=x264(12, 2), rotate=degrees, size=size)
    for threads in (1, 2):
        with Video(path, threads=threads) as video:
            for size_ in (None, 96):
                frames = video.frames([0, 17, 33, 59], size_)
                assert [read_number(f.rgb) for f in frames] == [0, 17, 33, 59]
            info = video.info()
            assert (info.width, info.height, info.rotation) == (WIDTH, HEIGHT, degrees)


@pytest.mark.parametrize("name", ["one.mp4", "one.mkv", "one.ts", "one.gif", "one.avi"])
def test_one_frame(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {"codec": "gif", "pix_fmt": "rgb8"} if "gif" in name else {}
    path = render(tmp_path / name, [7], **options)
    with Video(path) as video:
        assert video.index.frames == 1
        (frame,) = video.frames([0])
        assert read_number(frame.rgb) == 7


def test_av1() -> None:
    """The clip was written by SVT-AV1: 90 numbered frames, a keyframe every 30."""
    path = DATA / "av1.mp4"
    expected = reference(path)
    assert len(expected) == 90
    for threads in (1, 2):
        numbers = uniform_positions(90, 16)
        assert decoded(path, numbers, threads) == {int(n): expected[n] for n in numbers}
        with Video(path, threads=threads) as video:
            assert [read_number(f.rgb) for f in video.frames(numbers)] == numbers.tolist()


def test_old_x264_with_444_chroma_needs_the_first_packet(tmp_path: Path) -> None:
    """Decoders undo a fault of x264 before core 151, which only the first packet names.

    That the frames are then right is proved on a real clip of that age, below.
    """
    path = render(tmp_path / "a.mp4", 30, pix_fmt="yuv444p", options=x264(10, 0))
    assert primer(path) is None
    data = path.read_bytes()
    start = data.index(b"x264 - core ") + len(b"x264 - core ")
    path.write_bytes(data[:start] + b"142" + data[start + 3 :])
    found = primer(path)
    assert found is not None
    assert found.is_keyframe
    path.write_bytes(data[:start] + b" 33" + data[start + 3 :])
    assert primer(path) is not None


def primer(path: Path) -> Any:
    source = PacketSource(path, Deadline(None, path))
    try:
        assert source.fresh
        return source.primer
    finally:
        source.close()


@pytest.mark.slow
def test_real_clips_bit_exact(real_clips: list[Path]) -> None:
    """All 157 clips of the test data, 16 frames of each."""
    for path in real_clips:
        expected = reference(path)
        with Video(path) as video:
            assert video.index.frames == len(expected), path
        numbers = uniform_positions(len(expected), 16)
        assert decoded(path, numbers, 2) == {int(n): expected[n] for n in numbers}, path
