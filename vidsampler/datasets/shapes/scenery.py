"""Backgrounds: hills, clouds, a room, water. All pictures have one, whatever lies before it.

Colours come first, (3, height, width): light and shade then fall on rows of pixels, not on three
numbers at a time, which takes NumPy several times as long.
"""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.floating]


def scenery(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """(3, height, width) float32, 0 to 255: one of four kinds of background, in muted colours."""
    kinds = (_hills, _clouds, _room, _water)
    return kinds[int(rng.integers(len(kinds)))](height, width, rng)


def clouds(height: int, width: int, cells: int, rng: np.random.Generator) -> FloatArray:
    """(height, width) float32 of about -1 to 1: three octaves of smooth noise.

    Args:
        height: pixels.
        width: pixels.
        cells: how many of the largest bumps fit into the height.
        rng: draws them.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(3):
        rows = cells * 2**octave
        grid = rng.uniform(-1, 1, (rows + 1, rows * width // height + 2)).astype(np.float32)
        down, across = _bicubic(height, grid.shape[0]), _bicubic(width, grid.shape[1])
        total += (down @ grid @ across.T) * np.float32(0.5**octave)
    return total / np.float32(1.2)


@cache
def _bicubic(size: int, knots: int) -> FloatArray:
    """(size, knots) float32: what each knot has of each pixel, resized by Pillow's bicubic filter.

    As a product of small matrices it takes a fifth of the time of a resized image.
    """
    one_each = Image.fromarray(np.eye(knots, dtype=np.float32))
    return np.asarray(one_each.resize((knots, size), Image.Resampling.BICUBIC))


def _muted(rng: np.random.Generator, low: float, high: float) -> FloatArray:
    """(3, 1, 1) a colour of little saturation, 0 to 255, its value from `low` to `high`."""
    hue, saturation, value = rng.uniform(0, 1), rng.uniform(0.12, 0.42), rng.uniform(low, high)
    colour = np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * 255
    return colour[:, None, None]


def _between(share: FloatArray, one: FloatArray, other: FloatArray) -> FloatArray:
    """Colours between two: (height, width) shares of `other` give (3, height, width)."""
    return one + np.clip(share, 0, 1) * (other - one)


def _hills(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    rows = np.arange(height, dtype=np.float32)[:, None]
    sky = _between(rows / (height - 1), _muted(rng, 0.55, 0.85), _muted(rng, 0.65, 0.95))
    picture = np.repeat(sky, width, 2)
    texture = 1 + 0.14 * clouds(height, width, 6, rng)
    land = _muted(rng, 0.45, 0.7)
    for layer in range(3):
        knots = rng.uniform(-1, 1, 7)
        ridge = np.interp(np.arange(width) * (6 / (width - 1)), np.arange(7), knots)
        # Corners of a ridge are no hills.
        ridge = np.convolve(np.pad(ridge, 6, mode="edge"), np.ones(13) / 13, "valid")
        top = ((0.42 + 0.2 * layer + 0.09 * ridge) * height).astype(np.float32)
        cover = np.clip(rows - top + 0.5, 0, 1)
        ground = land * (1 - 0.22 * layer) * texture
        picture += cover * (ground - picture)
    return picture


def _clouds(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    share = 0.5 + 0.7 * clouds(height, width, 3, rng)
    picture = _between(share, _muted(rng, 0.3, 0.6), _muted(rng, 0.55, 0.9))
    return picture * (1 + 0.1 * clouds(height, width, 12, rng))


def _room(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    wall, floor = _muted(rng, 0.45, 0.85), _muted(rng, 0.3, 0.6)
    columns = np.arange(width, dtype=np.float32)
    stripes = 1 + 0.07 * np.sign(np.sin(columns / width * np.pi * rng.integers(8, 18)))
    picture = np.repeat(wall * stripes.astype(np.float32), height, 1)
    edge = int(height * rng.uniform(0.58, 0.78))
    depth = np.arange(height - edge, dtype=np.float32)[:, None] + 6
    # Planks run towards a point far behind the wall.
    across = (columns - width / 2) / depth * 1.6 + np.float32(rng.uniform(0, 9))
    picture[:, edge:] = floor * (1 + 0.13 * np.sin(np.floor(across) * 12.9898))
    return picture * (1 + 0.12 * clouds(height, width, 5, rng))


def _water(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    rows = np.arange(height, dtype=np.float32)[:, None]
    sway = clouds(height, width, 3, rng)
    length = 4 + 5 * rows / height
    share = 0.5 + 0.42 * np.sin(rows * (2 * np.pi / length) * 0.55 + 3.2 * sway)
    return _between(share, _muted(rng, 0.35, 0.6), _muted(rng, 0.5, 0.85))
