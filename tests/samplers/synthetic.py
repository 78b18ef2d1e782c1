"""Pictures and features made for the tests of samplers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vidsampler.samplers.base import Features
from vidsampler.samplers.features import light_features

RGB = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 96, 160


def scene(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> RGB:
    """A sharp picture of coloured boxes on a coloured ground; another one for each seed."""
    draw = np.random.default_rng(seed)
    height, width = size
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = draw.integers(30, 226, 3)
    for _ in range(40):
        top, left = draw.integers(0, height - 4), draw.integers(0, width - 4)
        tall, wide = draw.integers(2, height // 3 + 1), draw.integers(2, width // 3 + 1)
        picture[top : top + tall, left : left + wide] = draw.integers(0, 256, 3)
    return picture


def moved(picture: RGB, pixels: int) -> RGB:
    """The picture a little to the side, as a camera that turns would show it."""
    return np.roll(picture, pixels, axis=1)


def blurred(picture: RGB, sigma: float) -> RGB:
    """Gaussian blur, each axis by a convolution; the border is repeated."""
    radius = int(3 * sigma + 1)
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    result = picture.astype(np.float64)
    for axis in (0, 1):
        padding = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(result, padding, mode="edge")
        length = picture.shape[axis]
        result = sum(
            weight * np.take(padded, range(i, i + length), axis=axis)
            for i, weight in enumerate(kernel)
        )
    return np.rint(result).astype(np.uint8)


def black() -> RGB:
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def features_of(pictures: list[RGB]) -> Features:
    return light_features(np.stack(pictures))


def shots(*lengths: int, seed: int = 100) -> list[RGB]:
    """Shots of so many frames, each a scene with a slowly moving camera."""
    return [
        moved(scene(seed + number), frame) for number, n in enumerate(lengths) for frame in range(n)
    ]
