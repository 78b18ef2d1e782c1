"""Frames of a sample as pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.loading.stored import SIDE, Picture, by_pillow, number_in, picture
from tests.rendering import render
from vidsampler import extract
from vidsampler.errors import InputError
from vidsampler.loading.augment import Region, central_square
from vidsampler.loading.pictures import FrameDecoder, IntArray
from vidsampler.shards import Reader, Sample
from vidsampler.video.images import encode_image


def everything(count: int) -> IntArray:
    return np.arange(count)


def sample_of(*pictures: bytes, ending: str = "jpg") -> Sample:
    members = {f"{i:03d}.{ending}": memoryview(data) for i, data in enumerate(pictures)}
    return Sample("clip", "clip.mp4", members)


def decoded(sample: Sample, size: int, frames: int = 1, region: object = central_square) -> Picture:
    out = np.full((frames, size, size, 3), 77, np.uint8)
    FrameDecoder().decode(sample, everything, region, out)  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize(("beside", "above"), [(0, 0), (31, 0), (0, 17)])
def test_jpegs_to_the_bit(beside: int, above: int) -> None:
    data = [encode_image(picture(n, beside, above), quality=90) for n in (5, 1000)]
    out = decoded(sample_of(*data), SIDE, 2)
    assert [number_in(rgb) for rgb in out] == [5, 1000]
    for rgb, coded in zip(out, data, strict=True):
        expected = by_pillow(coded)[above : above + SIDE, beside : beside + SIDE]
        np.testing.assert_array_equal(rgb, expected)


def test_what_is_left_is_black() -> None:
    out = decoded(sample_of(encode_image(picture(3))), SIDE, 3)
    assert number_in(out[0]) == 3
    assert not out[1:].any()


@pytest.mark.parametrize("size", [64, 150, 250])
def test_resized_as_pillow_does(size: int) -> None:
    data = encode_image(picture(77, 20), quality=95)
    out = decoded(sample_of(data), size)
    square = Image.fromarray(by_pillow(data)[:, 20 : 20 + SIDE])
    expected = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))
    assert np.abs(out[0].astype(int) - expected).max() <= 2
    assert number_in(out[0]) == 77


def test_a_part_mirrored() -> None:
    data = encode_image(picture(9))
    whole = by_pillow(data)
    part = decoded(sample_of(data), 50, region=lambda height, width: Region(7, 30, 50, 50, True))
    np.testing.assert_array_equal(part[0], whole[7:57, 30:80][:, ::-1])
    full = decoded(sample_of(data), SIDE, region=lambda h, w: Region(0, 0, h, w, True))
    np.testing.assert_array_equal(full[0], whole[:, ::-1])


def test_other_kinds_of_picture() -> None:
    rgb = picture(300)
    for ending in ("png", "webp"):
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, ending, lossless=True)
        np.testing.assert_array_equal(
            decoded(sample_of(buffer.getvalue(), ending=ending), SIDE)[0], rgb
        )
    for mode in ("L", "CMYK"):
        buffer = io.BytesIO()
        Image.fromarray(rgb).convert(mode).save(buffer, "JPEG", quality=95)
        data = buffer.getvalue()
        np.testing.assert_array_equal(decoded(sample_of(data), SIDE)[0], by_pillow(data))
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", progressive=True)
    np.testing.assert_array_equal(
        decoded(sample_of(buffer.getvalue()), SIDE)[0], by_pillow(buffer.getvalue())
    )


def test_frames_of_several_sizes() -> None:
    small, large = (np.full((side, side, 3), side, np.uint8) for side in (20, 60))
    out = decoded(sample_of(*(encode_image(each) for each in (small, large, small))), 60, 3)
    assert [int(rgb.mean()) for rgb in out] == [20, 60, 20]


@pytest.mark.parametrize("damage", ["cut", "overwritten", "noise", "empty", "not a picture"])
def test_damaged_pictures(damage: str) -> None:
    data = bytearray(encode_image(picture(4), quality=90))
    if damage == "cut":
        del data[-3000:]
    elif damage == "overwritten":
        # Other readers go on with grey.
        data[4000:5000] = bytes(1000)
    elif damage == "noise":
        data[2000:2200] = np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes()
    elif damage == "empty":
        data.clear()
    else:
        data[:] = b"GIF89a, it says" * 20
    sample = sample_of(encode_image(picture(3)), bytes(data))
    with pytest.raises(InputError, match="frame 1 of clip cannot be decoded") as caught:
        decoded(sample, SIDE, 2)
    assert caught.value.code == "damaged"


def test_too_many_pixels() -> None:
    data = bytearray(encode_image(picture(4)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(InputError, match="60000 x 60000 are over the limit") as caught:
        decoded(sample_of(bytes(data)), SIDE)
    assert caught.value.code == "too-large"


def test_no_frames() -> None:
    with pytest.raises(InputError, match="clip has no frames"):
        decoded(Sample("clip", "clip.mp4", {"json": memoryview(b"{}")}), 8)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("mp4")
    (folder / "videos").mkdir()
    render(folder / "videos" / "clip.mp4", 200, size=(SIDE, SIDE))
    extract(
        folder / "videos", folder / "shards", fps=5.0, store="mp4", size=None, crf=10, workers=1
    )
    return Reader(folder / "shards")["clip"]


@pytest.mark.parametrize("places", [[0], [39], [0, 39], [11, 12, 13], [5, 17, 30], list(range(40))])
def test_frames_of_an_mp4(mp4: Sample, places: list[int]) -> None:
    numbers = mp4.facts["numbers"]
    assert len(numbers) == 40
    stored = []

    def choose(count: int) -> IntArray:
        stored.append(count)
        return np.array(places)

    out = np.full((len(places) + 1, SIDE, SIDE, 3), 9, np.uint8)
    chosen = FrameDecoder().decode(mp4, choose, central_square, out)
    assert stored == [40]
    assert chosen.tolist() == places
    assert [number_in(rgb) for rgb in out[:-1]] == [numbers[place] for place in places]
    assert not out[-1].any()


@pytest.mark.parametrize("damage", ["cut", "other", "inside"])
def test_damaged_mp4(mp4: Sample, damage: str) -> None:
    data = bytearray(mp4.members["mp4"])
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "other":
        data[:] = b"#EXTM3U\nfile:///etc/hostname\n"
    else:
        at = data.index(b"mdat") + 400
        data[at : at + 12000] = bytes(12000)
    sample = Sample("clip", "clip.mp4", {"mp4": memoryview(bytes(data))})
    with pytest.raises(InputError, match="the mp4 of clip") as caught:
        decoded(sample, SIDE, 40)
    assert caught.value.code == "damaged"
