"""Towers without texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.frames_only import GridTower
from vidsampler.backbones.model import load_backbone
from vidsampler.errors import ConfigError, UsageError


def test_a_grid_holds_colours_and_edges_of_its_cells() -> None:
    pixels = torch.zeros(1, 3, 4, 4)
    pixels[0, 0, :2, :2] = 1.0  # red in the first of four cells
    pixels[0, :, 2:, 3] = 2.0  # a white stripe at the right edge of the last one
    found = GridTower(4, 2, 20)(pixels).view(5, 2, 2)
    assert found[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert found[1].tolist() == found[2].tolist() == [[0.0, 0.0], [0.0, 1.0]]
    # Steps of the brightness: red ends with 1/3 at half of the places that touch the border of its
    # cell; the stripe begins with 2; both less 0.15, times 4.
    across = (torch.tensor([[1 / 6, 0.0], [0.0, 1.0]]) - 0.15) * 4
    assert torch.allclose(found[3], across, atol=1e-6)
    down = (torch.tensor([[1 / 6, 0.5], [0.0, 0.0]]) - 0.15) * 4
    assert torch.allclose(found[4], down, atol=1e-6)


@pytest.mark.parametrize("name", ["grid", "small"])
def test_registered_towers(name: str) -> None:
    backbone = load_backbone(BackboneConfig(name, "none"))
    again = load_backbone(BackboneConfig(name, "none"))
    frames = torch.randn(3, 3, 64, 64)
    found = backbone.encode_frames(frames)
    assert found.shape == (3, backbone.width)
    assert torch.equal(found, again.encode_frames(frames))
    assert not backbone.has_texts
    for ask in (
        lambda: backbone.tokenize(["a"]),
        lambda: backbone.encode_texts(torch.zeros(1, 77)),
    ):
        with pytest.raises(UsageError, match=f"the backbone {name} sees frames and reads no"):
            ask()


@pytest.mark.parametrize(
    "vision",
    [
        {"image_size": 64, "grid": 7},
        {"image_size": 64, "small_cnn": [[16]]},
        {"small_cnn": [[16, 0]]},
    ],
)
def test_wrong_configs(tmp_path: Path, vision: dict[str, Any]) -> None:
    path = tmp_path / "tower.json"
    path.write_text(json.dumps({"embed_dim": 320, "vision_cfg": vision, "text_cfg": {}}))
    with pytest.raises(ConfigError, match="cannot be built"):
        load_backbone(BackboneConfig(str(path), "none"))
