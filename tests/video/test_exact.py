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

import vidsampler
from tests.rendering import HEIGHT, WIDTH, numbered_picture, read_number, render
from tests.video.clips import CLIPS, COUNT, x264
from vidsampler.video import Video
from vidsampler.video.container import Deadline, PacketSource
from vidsampler.video.positions import uniform_positions
from vidsampler.video.reader import IndexChangedError

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


def remux(source: Path, target: Path, keyframe: int, options: dict[str, str]) -> Path:
    """Copies the packets from the given keyframe on, without decoding."""
    with av.open(str(source)) as old, av.open(str(target), "w", container_options=options) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        seen = 0
        for packet in old.demux(stream):
            seen += bool(packet.is_keyframe and packet.size)
            if seen > keyframe and packet.size:
                packet.stream = copy
                new.mux(packet)
    return target


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        *[
            (name, e)
            for name in ("open-gop.mp4", "mpeg4.mp4", "hevc-open.mp4")
            for e in ("mp4", "mkv")
        ],
        *[(name, e) for name in ("open-gop.ts", "mpeg2.ts", "hevc.ts") for e in ("mp4", "ts")],
    ],
)
def test_files_that_start_with_an_open_group(
    clip: Callable[[str], Path], tmp_path: Path, name: str, ending: str
) -> None:
    """Pictures shown before the first keyframe need what was cut away: they have no number."""
    if name == "hevc-open.mp4":
        options = {"x265-params": "keyint=30:min-keyint=30:open-gop=1:bframes=3:log-level=error"}
        whole = render(
            tmp_path / name, COUNT, codec="libx265", options=options | {"preset": "ultrafast"}
        )
    else:
        whole = clip(name)
    muxer = {"use_editlist": "0"} if ending == "mp4" else {}
    path = remux(whole, tmp_path / f"cut.{ending}", 1, muxer)
    expected = reference(path)
    with Video(path) as video:
        assert video.index.frames == len(expected)
    numbers = uniform_positions(len(expected), 20)
    for threads in (1, 2):
        assert decoded(path, numbers, threads) == {int(n): expected[n] for n in numbers}


@pytest.mark.parametrize(
    "name", ["open-gop.mp4", "open-gop.ts", "mpeg4.mp4", "mpeg2.ts", "hevc.ts", "vp8.webm"]
)
def test_many_calls_on_one_video(
    clip: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is known already of the groups, each call finds its frames by the plan alone."""
    path = clip(name)
    expected = reference(path)
    rng = np.random.default_rng(0)

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("decoded from the start")

    monkeypatch.setattr("vidsampler.video.reader.decode_in_order", refuse)
    for threads in (1, 3):
        with Video(path, threads=threads) as video:
            for _ in range(8):
                numbers = rng.integers(0, COUNT, rng.integers(1, 9))
                found: dict[int, str] = {}

                def take(number: int, pts: int, frame: Any, found: Any = found) -> None:
                    found[number] = digest(frame)

                if rng.random() < 0.3:
                    video.times(rng.integers(0, COUNT, 2))
                assert video.decode_into(numbers, lambda take=take: take) == []  # type: ignore[misc]
                assert found == {int(n): expected[n] for n in numbers}


def test_an_index_that_lies(tmp_path: Path) -> None:
    """The list of keyframes names a packet that is none: no frame changes its number silently."""
    path = render(tmp_path / "a.mp4", 120, options=x264(30, 3))
    expected = reference(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"stss") + 4
    count = int.from_bytes(data[start + 4 : start + 8], "big")
    assert count == 4
    place = start + 8 + 4 * (count - 1)
    data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + 3).to_bytes(4)
    path.write_bytes(data)
    for numbers in ([5, 40, 100], [100, 119], list(range(120))):
        try:
            found = decoded(path, np.array(numbers), 2)
        except IndexChangedError:
            found = {}
            with Video(path, trust_index=False) as video:
                assert video.index.frames == 120
                assert [read_number(f.rgb) for f in video.frames(numbers)] == numbers
        assert all(found[n] == expected[n] for n in found)
    assert [read_number(p) for p in vidsampler.select(path, k=6, sampler="uniform").frames()] == [
        *[10, 30, 50, 70, 90, 110]
    ]


@pytest.mark.slow
def test_real_clips_bit_exact(real_clips: list[Path]) -> None:
    """All 157 clips of the test data, 16 frames of each."""
    for path in real_clips:
        expected = reference(path)
        with Video(path) as video:
            assert video.index.frames == len(expected), path
        numbers = uniform_positions(len(expected), 16)
        assert decoded(path, numbers, 2) == {int(n): expected[n] for n in numbers}, path
