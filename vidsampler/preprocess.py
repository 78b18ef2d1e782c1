"""From decoded frames to what a network takes: crop, resize, normalise, on the frames' device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Interpolation = Literal["bicubic", "bilinear"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness (ITU-R BT.601), as Pillow has them."""


@dataclass(frozen=True)
class PixelInput:
    """A square picture for a network: the middle of each frame, resized and normalised.

    Frames that have the size already are not resampled.

    Attributes:
        size: Height and width of the result.
        crop: Which fraction of the shorter side the central square has. Resizing the shorter side
            to 256 and cropping 224 is 0.875 and size 224.
        mean: What is subtracted from red, green and blue, 0 to 1.
        std: What they are divided by then.
        interpolation: How to resize; always with antialiasing.
    """

    size: int
    crop: float = 1.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be more than 0 and at most 1, not {self.crop:g}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be more than 0, not {min(self.std):g}")

    def __call__(self, frames: Tensor) -> Tensor:
        """Prepares frames.

        Args:
            frames: (..., 3, H, W) uint8 RGB.

        Returns:
            (..., 3, size, size) float32.

        Raises:
            ValueError: The frames are not uint8, or have no three colours.
        """
        flat = _flatten(frames)
        height, width = flat.shape[-2:]
        # Cropping first is the same picture, and leaves less to resize.
        side = max(1, int(self.crop * min(height, width) + 0.5))
        top, left = (height - side) // 2, (width - side) // 2
        square = flat[..., top : top + side, left : left + side]
        pixels = _resize(square, self.size, self.interpolation)
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1) * 255
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1) * 255
        pixels = pixels.sub_(mean).div_(std)
        return pixels.view(*frames.shape[:-2], self.size, self.size)


@dataclass(frozen=True)
class GreyInput:
    """The whole picture squashed to a small grey square, 0 to 1, as one row of numbers.

    Attributes:
        size: Height and width of the square.
    """

    size: int = 56

    def __call__(self, frames: Tensor) -> Tensor:
        """Prepares frames.

        Args:
            frames: (..., 3, H, W) uint8 RGB.

        Returns:
            (..., size * size) float32, row by row.

        Raises:
            ValueError: The frames are not uint8, or have no three colours.
        """
        pixels = _resize(_flatten(frames), self.size, "bicubic")
        luma = torch.tensor(LUMA, device=pixels.device).view(3, 1, 1) / 255
        return (pixels * luma).sum(1).view(*frames.shape[:-3], self.size * self.size)


def _flatten(frames: Tensor) -> Tensor:
    """(..., 3, H, W) as (M, 3, H, W), checked."""
    if frames.dtype != torch.uint8 or frames.dim() < 4 or frames.shape[-3] != 3:
        raise ValueError(
            "frames must be (..., 3, height, width) uint8, "
            f"got {tuple(frames.shape)} {frames.dtype}"
        )
    return frames.flatten(0, -4)


def _resize(frames: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """(M, 3, H, W) uint8 to (M, 3, size, size) float32, 0 to 255, rounded as Pillow rounds.

    PyTorch has a fast kernel for uint8 on the CPU alone; elsewhere a colour may differ by one step.
    Frames often come with colours last, an order in which what follows would be slow.
    """
    if frames.shape[-2:] == (size, size):
        return frames.contiguous().to(torch.float32)
    if frames.device.type != "cpu":
        frames = frames.to(torch.float32)
    resized = functional.interpolate(
        frames, (size, size), mode=interpolation, antialias=True, align_corners=False
    )
    if resized.dtype == torch.uint8:
        return resized.contiguous().to(torch.float32)
    return resized.round_().clamp_(0, 255)
