"""Pictures as files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidsampler.errors import UsageError, VidsamplerError
from vidsampler.video.images import encode_image, image_format, write_image


def picture() -> np.ndarray:
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 4, columns * 3, rows + columns], -1).astype(np.uint8)


def test_png_keeps_every_pixel() -> None:
    decoded = np.asarray(Image.open(io.BytesIO(encode_image(picture(), "PNG"))))
    np.testing.assert_array_equal(decoded, picture())


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_stay_near(format: str) -> None:
    decoded = np.asarray(Image.open(io.BytesIO(encode_image(picture(), format, 95))))
    assert np.abs(decoded.astype(int) - picture()).mean() < 3


def test_quality_is_size() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert len(encode_image(noise, quality=95)) > 2 * len(encode_image(noise, quality=30))


def test_same_picture_same_bytes() -> None:
    assert encode_image(picture()) == encode_image(picture())


def test_written_whole_under_its_name_with_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.PNG"
    write_image(path, picture())
    assert [p.name for p in tmp_path.iterdir()] == ["a.PNG"]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture())
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(VidsamplerError, match="cannot be written"):
        write_image(tmp_path / "nowhere" / "a.png", picture())
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(VidsamplerError, match="cannot be written"):
        write_image(tmp_path / "taken.png", picture())
    assert os.listdir(tmp_path) == ["taken.png"]


def test_unknown_endings() -> None:
    assert image_format(Path("a.JPEG")) == "JPEG"
    with pytest.raises(UsageError, match="pictures are written as"):
        image_format(Path("a.tiff"))


def test_colours_of_scaled_frames_are_right() -> None:
    """Beside a scaling in floating point: no level too dark, and no chroma lost."""
    import av
    from PIL import Image

    from vidsampler.video.decode import FrameConverter

    rows, columns = np.mgrid[0:720, 0:960].astype(np.float32)
    waves = [np.sin(columns / (60 + 9 * c) + rows / 71 + c) for c in range(3)]
    picture = (128 + 90 * np.stack(waves, -1)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
    planes = [
        np.frombuffer(bytes(p), np.uint8).reshape(p.height, p.line_size)[:, : p.width]
        for p in frame.planes
    ]
    luma, blue, red = (
        np.asarray(
            Image.fromarray(plane.astype(np.float32)).resize((299, 224), Image.Resampling.BICUBIC)
        )
        for plane in planes
    )
    y, u, v = luma - 16, blue - 128, red - 128
    # ITU-R BT.601, limited range.
    wanted = np.stack(
        [1.164384 * y + 1.596027 * v, 1.164384 * y - 0.391762 * u - 0.812968 * v,
         1.164384 * y + 2.017232 * u], -1
    )  # fmt: skip
    found = FrameConverter(224)(frame).astype(np.float32)
    inside = (wanted > 2) & (wanted < 253)
    assert np.abs(found - wanted)[inside].mean() < 0.6
    assert abs((found - wanted)[inside].mean()) < 0.1


@pytest.mark.parametrize("stored", ["yuv420p", "yuv422p", "yuva420p", "yuvj420p", "nv12"])
@pytest.mark.parametrize("size", [None, 112])
@pytest.mark.parametrize("full_range", [False, True])
def test_every_pixel_is_written(stored: str, size: int | None, full_range: bool) -> None:
    """Widths that are no multiple of 16: nothing of what was in memory shows in the picture."""
    import av
    from av.video.reformatter import ColorRange

    from vidsampler.video.decode import FrameConverter

    rows, columns = np.mgrid[0:224, 0:534].astype(np.float32)
    waves = [np.sin(columns / (60 + 9 * c) + rows / 71 + c) for c in range(3)]
    picture = (128 + 90 * np.stack(waves, -1)).astype(np.uint8)
    full_range |= stored.startswith("yuvj")
    wanted_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format=stored, dst_color_range=wanted_range
    )
    frame.color_range = wanted_range
    found = []
    for fill in (0, 255, 90):
        memory = [np.full((224, 534 + i), fill, np.uint8) for i in range(40)]
        del memory  # what the next pictures are allocated in
        found.append(FrameConverter(size)(frame))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    if size is None:
        error = found[0].astype(float) - picture
        assert np.abs(error).max() <= 5
        assert abs(error.mean()) < 0.7
