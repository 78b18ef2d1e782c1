"""Image towers without a text tower, for retrievers that learn from videos alone.

A model config asks for one by its `vision_cfg`: `small_cnn`, the stages of our small convolutional
network, which learns; or `grid`, which is computed and has nothing to learn. open_clip has no part
in them, so that nothing of its is imported.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vidsampler.errors import ConfigError
from vidsampler.samplers.small_cnn import SmallCNN

SMALL, GRID = "small_cnn", "grid"

GRID_CHANNELS = 5
"""Numbers of a cell: three colours, edges across and down."""

_EDGE_MEAN, _EDGE_SCALE = 0.15, 4.0
"""Makes edges of usual frames count about as much as their colours."""


def is_frames_only(model: dict[str, Any]) -> bool:
    """Whether a model config asks for such a tower."""
    vision = model.get("vision_cfg", {})
    return SMALL in vision or GRID in vision


class FramesOnly(nn.Module):
    """An image tower and the logit scale.

    Args:
        name: For messages.
        model: ``embed_dim`` and ``vision_cfg``: ``image_size``, and either ``small_cnn``, the
            channels of each stage and its further blocks, or ``grid``, cells a side.

    Raises:
        ConfigError: The config is another.
    """

    def __init__(self, name: str, model: dict[str, Any]) -> None:
        super().__init__()
        vision = model["vision_cfg"]
        try:
            size, width = int(vision["image_size"]), int(model["embed_dim"])
            if GRID in vision:
                self.visual: nn.Module = GridTower(size, int(vision[GRID]), width)
            else:
                stages = tuple((int(wide), int(more)) for wide, more in vision[SMALL])
                self.visual = SmallTower(stages, size, width)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ConfigError(f"backbone config {name} cannot be built: {error}") from error
        # CLIP's own: a temperature of 0.07 to begin with.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pixels_MCHW: Tensor, normalize: bool = False) -> Tensor:
        """(M, D) features; `Backbone` never asks for normalised ones."""
        features: Tensor = self.visual(pixels_MCHW)
        return features


class SmallTower(nn.Module):
    """The small network and a projection to the joint width."""

    def __init__(self, stages: tuple[tuple[int, int], ...], size: int, width: int) -> None:
        super().__init__()
        self.image_size = size
        self.network = SmallCNN(stages)
        self.projection = nn.Linear(self.network.width, width)

    def forward(self, pixels_MCHW: Tensor) -> Tensor:
        """(M, 3, size, size) to (M, D)."""
        features: Tensor = self.projection(self.network(pixels_MCHW))
        return features


class GridTower(nn.Module):
    """Mean colours and mean edges of the cells of a grid: nothing in it learns."""

    def __init__(self, size: int, cells: int, width: int) -> None:
        super().__init__()
        if cells < 1 or size % cells or width != GRID_CHANNELS * cells**2:
            raise ValueError(
                f"a grid of {cells} needs an image_size that it divides and an embed_dim of "
                f"{GRID_CHANNELS * cells**2}, not {size} and {width}"
            )
        self.image_size = size
        self._cell = size // cells

    def forward(self, pixels_MCHW: Tensor) -> Tensor:
        """(M, 3, size, size) normalised to (M, 5 cells^2)."""
        luma_M1HW = pixels_MCHW.mean(1, keepdim=True)
        across = (luma_M1HW[..., 1:] - luma_M1HW[..., :-1]).abs()
        down = (luma_M1HW[..., 1:, :] - luma_M1HW[..., :-1, :]).abs()
        edges_M2HW = torch.cat(
            [functional.pad(across, (0, 1)), functional.pad(down, (0, 0, 0, 1))], 1
        )
        edges_M2HW = (edges_M2HW - _EDGE_MEAN) * _EDGE_SCALE
        maps_MCHW = torch.cat([pixels_MCHW, edges_M2HW], 1)
        return functional.avg_pool2d(maps_MCHW, self._cell).flatten(1)
