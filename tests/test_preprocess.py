"""Pictures for networks, beside Pillow and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vidsampler.preprocess import IMAGENET_MEAN, IMAGENET_STD, GreyInput, PixelInput

PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
"""Leaves 0 to 1."""


def picture(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: waves and an edge, so that every fault of the resizing shows."""
    y, x = np.mgrid[:height, :width] / 7.0
    waves = [127 + 120 * np.sin(x + 2 * y), 127 + 120 * np.cos(3 * x - y), 255.0 * (x > y)]
    return np.stack(waves, -1).astype(np.uint8)


def frames(*pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("filter_name", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("height", "width", "crop", "box"),
    [
        (96, 160, 1.0, (32, 0, 128, 96)),
        (160, 96, 1.0, (0, 32, 96, 128)),
        (128, 200, 0.875, (44, 8, 156, 120)),  # 112 of 128, from (200 - 112) / 2
        (40, 50, 1.0, (5, 0, 45, 40)),  # enlarged
    ],
)
def test_the_middle_as_pillow_resizes_it(
    height: int, width: int, crop: float, box: tuple[int, int, int, int], filter_name: Any
) -> None:
    source = picture(height, width)
    made = PixelInput(64, crop, interpolation=filter_name, **PLAIN)(frames(source))
    resample = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    expected = Image.fromarray(source).crop(box).resize((64, 64), resample[filter_name])
    difference = (made[0].permute(1, 2, 0) * 255).numpy() - np.asarray(expected, np.float32)
    assert made.shape == (1, 3, 64, 64)
    # One step of rounding at most.
    assert np.abs(difference).max() < 1.01
    assert np.abs(difference).mean() < 0.05


def test_what_has_the_size_is_not_resampled() -> None:
    source = picture(256, 300)
    made = PixelInput(224, 0.875, **PLAIN)(frames(source))
    expected = source[16:240, 38:262].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(made[0].numpy(), expected, rtol=1e-6)


def test_normalised_by_hand() -> None:
    grey = torch.full((2, 5, 3, 20, 30), 51, dtype=torch.uint8)
    made = PixelInput(10)(grey)
    assert made.shape == (2, 5, 3, 10, 10)
    assert made.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        expected = torch.full((2, 5, 10, 10), (0.2 - mean) / std)
        torch.testing.assert_close(made[:, :, channel], expected)
    # x / 127.5 - 1
    half = PixelInput(10, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(grey)
    torch.testing.assert_close(half, torch.full_like(half, 51 / 127.5 - 1))


def test_frames_are_left_alone() -> None:
    source = frames(picture(32, 32))
    before = source.clone()
    PixelInput(32)(source)
    GreyInput(32)(source)
    assert torch.equal(source, before)


def test_grey_squashes_the_whole_picture() -> None:
    source = picture(90, 120)
    made = GreyInput()(frames(source, source[:, ::-1])[None])
    assert made.shape == (1, 2, 3136)
    small = Image.fromarray(source).resize((56, 56), Image.Resampling.BICUBIC)
    expected = np.asarray(small, np.float64) @ [0.299, 0.587, 0.114] / 255
    np.testing.assert_allclose(made[0, 0].view(56, 56).numpy(), expected, atol=1.01 / 255)
    white = GreyInput(8)(torch.full((1, 3, 20, 20), 255, dtype=torch.uint8))
    torch.testing.assert_close(white, torch.ones(1, 64))


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8).byte(), torch.zeros(2, 8, 8, 3).byte()],
    ids=["float", "one frame", "colours last"],
)
def test_other_frames_are_an_error(wrong: Tensor) -> None:
    for make in (PixelInput(8), GreyInput(8)):
        with pytest.raises(ValueError, match=r"must be .* uint8, got"):
            make(wrong)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0},
        {"size": 8, "crop": 0.0},
        {"size": 8, "crop": 1.5},
        {"size": 8, "std": (1, 0, 1)},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        PixelInput(**settings)
