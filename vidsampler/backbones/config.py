"""Settings of a backbone, and the backbones of our own. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from vidsampler.errors import ConfigError

Precision = Literal["fp32", "bf16", "auto"]
"""What a backbone computes in, as it is set; see `BackboneConfig`."""


@dataclass(frozen=True)
class BackboneConfig:
    """Which image-text model, with which weights.

    Attributes:
        name: an open_clip model, a registered backbone, the path of an open_clip model config
            (json, or a folder with one), or `hf-hub:ORG/NAME` (`--backbone`).
        pretrained: a tag of the model, a weights file, a hub id `ORG/NAME`, `none` (random
            weights from `seed`) or `auto`: the weights beside the config, OpenAI's if the model
            has them, or else its only tag (`--pretrained`).
        precision: `fp32`; `bf16`: autocast over fp32 weights; or `auto`: bf16 where the device has
            instructions for it, else fp32.
        words: L, token ids of a caption with its start and end; the rest is cut off. 32 for short
            captions, 64 for paragraphs.
        seed: of random weights.
    """

    name: str = "ViT-B-32-quickgelu"
    pretrained: str = "auto"
    precision: Precision = "fp32"
    words: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ConfigError(f"precision must be fp32, bf16 or auto, not {self.precision!r}")
        if self.words < 2:
            raise ConfigError(
                f"words must be at least 2 (a caption's start and end), not {self.words}"
            )
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, not {self.seed}")


class OwnBackbone(NamedTuple):
    """A backbone that is registered here.

    Attributes:
        file: its open_clip model config, below the folder of shipped configs.
        pretrained: what `auto` means for it.
    """

    file: str
    pretrained: str


TINY = OwnBackbone("backbones/tiny.json", "none")
SHAPES = OwnBackbone("backbones/shapes.json", "none")
GRID = OwnBackbone("backbones/grid.json", "none")
SMALL = OwnBackbone("backbones/small.json", "none")
