"""What a video is, its times, its keyframes, and files that are broken."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.rendering import read_number, render
from tests.video.clips import x264
from vidsampler.errors import InputError
from vidsampler.video import Video, probe
from vidsampler.video.decode import scaled_size


def test_probe(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 50, options=x264(20, 2))
    info = probe(path)
    assert (info.width, info.height, info.rotation) == (256, 144, 0)
    assert (info.codec, info.pixel_format) == ("h264", "yuv420p")
    assert info.fps == pytest.approx(25)
    assert info.duration == pytest.approx(2.0)
    assert info.frames == 50
    assert info.size == path.stat().st_size


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.mov"])
def test_times_count_from_the_start(tmp_path: Path, name: str) -> None:
    path = render(tmp_path / name, 100, options=x264(30, 2))
    with Video(path) as video:
        assert video.times([0, 1, 50, 99]) == pytest.approx([0, 0.04, 2.0, 3.96], abs=1e-3)
        assert video.fps == pytest.approx(25)


def test_times_of_variable_rate(tmp_path: Path) -> None:
    pts = [0, 3, 4, 10, 50, 51, 99, 200]
    path = render(tmp_path / "a.mp4", 8, pts=pts, time_base=Fraction(1, 100))
    with Video(path) as video:
        assert video.times(range(8)) == pytest.approx([p / 100 for p in pts], abs=1e-4)


def test_times_count_from_the_containers_start_not_the_videos(tmp_path: Path) -> None:
    """Sound begins at 0, the picture 1.6 s later."""
    path = render(tmp_path / "a.mp4", 50, options=x264(20, 2), shift=40, audio=True)
    with Video(path) as video:
        assert video.times([0])[0] == pytest.approx(1.6, abs=0.1)


def test_window(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 100, options=x264(12, 3))
    with Video(path) as video:
        assert video.numbers_between(None, None) == (0, 100)
        assert video.numbers_between(1.0, 2.0) == (25, 50)
        assert video.numbers_between(1.01, 2.01) == (26, 51)
        assert video.numbers_between(50.0, None) == (100, 100)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.mp4", [0, 20, 40]), ("a.ts", [0, 20, 40]), ("a.mkv", [0, 20, 40]), ("a.avi", [0, 20, 40])],
)
def test_keyframes(tmp_path: Path, name: str, expected: list[int]) -> None:
    path = render(tmp_path / name, 50, options=x264(20, 3))
    with Video(path) as video:
        assert video.keyframes().tolist() == expected
        assert [read_number(f.rgb) for f in video.frames(expected)] == expected


def test_keyframes_of_open_groups_are_counted_as_shown(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 90, options=x264(30, 3, open_gop="1"))
    with Video(path) as video:
        numbers = video.keyframes()
        assert len(numbers) > 1
        kinds: dict[int, bool] = {}
        video.decode_into(
            numbers, lambda: lambda n, pts, frame: kinds.__setitem__(n, frame.key_frame)
        )
        assert kinds == {int(n): True for n in numbers}


def test_sizes() -> None:
    assert scaled_size(1280, 720, 224) == (398, 224)
    assert scaled_size(720, 1280, 224) == (224, 398)
    assert scaled_size(100, 50, 224) == (100, 50)
    assert scaled_size(1280, 720, None) == (1280, 720)
    assert scaled_size(5000, 2, 1) == (2500, 1)


def test_batches_give_the_same_frames(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 60, options=x264(20, 2))
    with Video(path) as video:
        whole = video.frames(range(60), 96)
        parts = list(video.iter_frames(range(60), 96, batch=7))
    assert [f.number for f in parts] == list(range(60))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)


def fault(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        Video(path, **options).frames([0])  # type: ignore[arg-type]
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.code


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    assert fault(tmp_path / "nowhere.mp4") == "missing"
    assert fault(tmp_path) == "not-video"
    (tmp_path / "empty.mp4").touch()
    assert fault(tmp_path / "empty.mp4") == "empty"
    (tmp_path / "text.mp4").write_text("This is no video.\n" * 50)
    assert fault(tmp_path / "text.mp4") == "not-video"
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    assert fault(tmp_path / "noise.mp4") == "not-video"


def test_sound_alone(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16000), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert fault(path) == "no-video"


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("ffconcat version 1.0\nfile {target}\n", "list.mp4"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n", "hls.mp4"),
        ("#EXTM3U\n#EXTINF:5,\n{target}\n", "hls.m3u8"),
    ],
)
def test_scripts_that_name_other_files_open_nothing(tmp_path: Path, script: str, name: str) -> None:
    target = render(tmp_path / "real.mp4", 10)
    path = tmp_path / name
    path.write_text(script.format(target=target))
    assert fault(path) == "not-video"


def test_names_that_look_like_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp4", "http:b.mp4", "-.mp4", "file:c.mp4", "a b'\"@é.x.mp4"):
        render(tmp_path / "plain.mp4", 5).rename(tmp_path / name)
        with Video(name) as video:
            assert video.index.frames == 5


@pytest.mark.parametrize("name", ["a.mp4", "front.mp4", "a.mkv", "a.avi"])
def test_a_file_cut_in_half(tmp_path: Path, name: str) -> None:
    options = {"movflags": "faststart"} if name == "front.mp4" else {}
    path = render(tmp_path / name, 100, options=x264(10, 2), container_options=options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert fault(path) == "truncated"
    if name == "a.mp4":  # its index is gone
        assert fault(path, salvage=True) == "truncated"
        return
    with Video(path, salvage=True) as video:
        assert 20 < video.index.frames < 80
        frames = video.frames(range(video.index.frames))
        assert len(frames) >= video.index.frames - 3
        assert [read_number(f.rgb) for f in frames] == [f.number for f in frames]


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 100, options=x264(10, 0))
    with Video(path) as video:
        entries = [(e.pos, e.size) for e in video._source.stream.index_entries]
    data = bytearray(path.read_bytes())
    for position, size in entries[50:60]:  # one group
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    with (
        Video(path) as video,
        pytest.raises(InputError, match=r"frames cannot be decoded") as error,
    ):
        video.frames(range(100))
    assert error.value.code == "damaged"
    with Video(path, salvage=True) as video:
        assert [f.number for f in video.frames(range(100))] == [*range(50), *range(60, 100)]


def test_deadline(tmp_path: Path) -> None:
    path = render(tmp_path / "a.ts", 100)
    assert fault(path, timeout=0.0) == "timeout"


def test_deadline_while_decoding(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 300, options=x264(300, 2))
    with Video(path, timeout=60) as video:
        video._deadline._end = 0.0
        with pytest.raises(InputError, match="not done after 60 s"):
            video.frames([299])


def test_numbers_and_sizes_out_of_range(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", 20)
    with Video(path) as video:
        for numbers in ([-1], [20], [0, 20]):
            for call in (video.frames, video.pts, video.times):
                with pytest.raises(IndexError, match="of a video of 20"):
                    call(numbers)
        with pytest.raises(ValueError, match="at least 1 pixel"):
            video.frames([0], 0)
        assert video.frames([]) == []
    for threads in (0, -1, 65):
        with pytest.raises(ValueError, match="threads must be 1 to 64"):
            Video(path, threads=threads)


def test_nothing_stays_open(tmp_path: Path) -> None:
    path = render(tmp_path / "a.ts", 60)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert fault(path, timeout=0.0) == "timeout"
        with Video(path, threads=3) as video:
            video.frames([1, 30, 59], 64)
    assert len(os.listdir("/proc/self/fd")) == before


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = render(tmp_path / "a.mp4", 5)
    monkeypatch.setattr("vidsampler.video.container.MAX_PIXELS", 256 * 144 - 1)
    assert fault(path) == "too-large"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to become another user")
def test_without_permission(tmp_path: Path, as_nobody: Callable[[Path], str]) -> None:
    path = render(tmp_path / "a.mp4", 5)
    path.chmod(0)
    assert "unreadable" in as_nobody(path)
