"""Whole and cut containers, by their outermost boxes."""

from pathlib import Path

import pytest

from tests.rendering import render
from vidsampler.video.structure import missing_bytes


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.webm"])
def test_whole_and_cut(tmp_path: Path, name: str) -> None:
    codec = "libvpx" if name.endswith("webm") else "libx264"
    path = render(tmp_path / name, 40, codec=codec)
    assert missing_bytes(path) == 0
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    # The index at the end of an mp4 is a box of its own, which a cut takes away unseen.
    missing = missing_bytes(path)
    assert 0 < missing <= len(data) - len(data) // 2


def test_formats_that_promise_nothing(tmp_path: Path) -> None:
    path = render(tmp_path / "a.ts", 10)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert missing_bytes(path) == 0
    for content in (b"", b"x", b"plain text, not a video at all", b"\x1a\x45\xdf\xa3", b"RIFF"):
        path.write_bytes(content)
        assert missing_bytes(path) <= 4


def test_sizes_of_64_bits_and_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    box = (8).to_bytes(4, "big") + b"ftyp"
    large = (1).to_bytes(4, "big") + b"mdat" + (1016).to_bytes(8, "big")
    path.write_bytes(box + large + bytes(500))
    assert missing_bytes(path) == 500
    path.write_bytes(box + (0).to_bytes(4, "big") + b"mdat" + bytes(500))
    assert missing_bytes(path) == 0
