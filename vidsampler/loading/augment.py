"""Augmentations of training: the same for all frames of a video, on uint8 pixels.

Each is a function of random numbers that it is given, so that a video gets the same picture
whichever thread, rank or restart it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

CROP_SCALE = (0.5, 1.0)
"""Which share of the picture's area a random crop has."""

CROP_RATIO = (3 / 4, 4 / 3)
"""Width over height of a random crop."""

CROP_TRIES = 10

DRAWS = 2 * CROP_TRIES + 3
"""Random numbers that an augmentation is given."""

RANDAUGMENT_OPS = 2
RANDAUGMENT_MAGNITUDE = 9
"""N = 2 and M = 9 of 30: the paper's for ImageNet."""

GREY = 128.0
"""What comes in from outside the picture where it is moved."""


class Region(NamedTuple):
    """A part of a picture, in pixels, perhaps to be mirrored left to right."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


def central_square(height: int, width: int) -> Region:
    """The largest square in the middle, at the place where `PixelInput` has it."""
    side = min(height, width)
    return Region((height - side) // 2, (width - side) // 2, side, side)


def mirrors(draws: Sequence[float]) -> bool:
    """Whether a video is mirrored left to right: every second one is.

    Args:
        draws: `DRAWS` numbers, of which the last counts, uniform in [0, 1).
    """
    return draws[-1] < 0.5


def random_region(height: int, width: int, draws: Sequence[float]) -> Region:
    """A random part for a random resized crop and flip.

    The share of the area is uniform from 0.5 to 1 and the logarithm of width over height uniform
    over 3/4 to 4/3 (Szegedy et al., "Going deeper with convolutions", section 6). What does not
    fit into the picture is drawn again, ten times at most; then it is the central square.

    Args:
        height, width: Of the picture.
        draws: `DRAWS` numbers, uniform in [0, 1).
    """
    mirrored = mirrors(draws)
    low, high = (math.log(ratio) for ratio in CROP_RATIO)
    for attempt in range(CROP_TRIES):
        share, ratio = draws[2 * attempt : 2 * attempt + 2]
        area = height * width * (CROP_SCALE[0] + (CROP_SCALE[1] - CROP_SCALE[0]) * share)
        aspect = math.exp(low + (high - low) * ratio)
        part_width, part_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < part_width <= width and 0 < part_height <= height:
            top = int(draws[-3] * (height - part_height + 1))
            left = int(draws[-2] * (width - part_width + 1))
            return Region(top, left, part_height, part_width, mirrored)
    return central_square(height, width)._replace(mirrored=mirrored)


def randaugment(frames_NCHW: Tensor, draws: Sequence[float]) -> Tensor:
    """Two random operations of magnitude 9 of 30 (Cubuk et al., RandAugment, arXiv 1909.13719).

    Operations and ranges are those of the paper: identity, rotation up to 30 degrees, shear up to
    0.3, translation up to 150/331 of the side, brightness, colour, contrast and sharpness changed
    by up to 0.9, posterising down to 4 bits, solarising from 255 down to 0, automatic contrast and
    equalisation of the histogram.

    Args:
        frames_NCHW: (N, 3, H, W) uint8, the frames of one video.
        draws: `DRAWS` numbers, of which the first four count, uniform in [0, 1).

    Returns:
        (N, 3, H, W) uint8.
    """
    names = list(_OPERATIONS)
    for each in range(RANDAUGMENT_OPS):
        which, sign = draws[2 * each : 2 * each + 2]
        operation = _OPERATIONS[names[int(which * len(names))]]
        strength = RANDAUGMENT_MAGNITUDE / 30
        frames_NCHW = operation(frames_NCHW, -strength if sign < 0.5 else strength)
    return frames_NCHW


def _functional() -> Any:
    from torchvision.transforms.v2 import functional

    return functional


def _moved(
    frames: Tensor,
    *,
    angle: float = 0.0,
    translate: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    functional = _functional()
    moved: Tensor = functional.affine(
        frames.contiguous(),  # it is slow with colours last
        angle=angle,
        translate=[round(each) for each in translate],
        scale=1.0,
        shear=[math.degrees(math.atan(each)) for each in shear],
        interpolation=functional.InterpolationMode.BILINEAR,
        fill=[GREY] * 3,
    )
    return moved


_TRANSLATION = 150 / 331

# What `strength` is to them: from -1 to 1, of which some take the size alone.
_OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda frames, _: frames,
    "rotate": lambda frames, s: _moved(frames, angle=30 * s),
    "shear x": lambda frames, s: _moved(frames, shear=(0.3 * s, 0)),
    "shear y": lambda frames, s: _moved(frames, shear=(0, 0.3 * s)),
    "translate x": lambda frames, s: _moved(
        frames, translate=(_TRANSLATION * s * frames.shape[-1], 0)
    ),
    "translate y": lambda frames, s: _moved(
        frames, translate=(0, _TRANSLATION * s * frames.shape[-2])
    ),
    "brightness": lambda frames, s: _functional().adjust_brightness(frames, 1 + 0.9 * s),
    "colour": lambda frames, s: _functional().adjust_saturation(frames, 1 + 0.9 * s),
    "contrast": lambda frames, s: _functional().adjust_contrast(frames, 1 + 0.9 * s),
    "sharpness": lambda frames, s: _functional().adjust_sharpness(
        frames.contiguous(memory_format=torch.channels_last), 1 + 0.9 * s
    ),
    "posterise": lambda frames, s: _functional().posterize(frames, 8 - round(4 * abs(s))),
    "solarise": lambda frames, s: _functional().solarize(frames, 255 * (1 - abs(s))),
    "contrast, automatic": lambda frames, _: _functional().autocontrast(frames.contiguous()),
    "equalise": lambda frames, _: _functional().equalize(frames),
}
