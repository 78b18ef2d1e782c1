"""A small model config, and a look at errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import load_backbone
from vidsampler.config import configs_dir
from vidsampler.errors import VidsamplerError

TINY = configs_dir() / "backbones" / "tiny.json"


def refuses(kind: type[VidsamplerError], name: str, pretrained: str = "none") -> VidsamplerError:
    """The error of exactly this class that loading a backbone ends in."""
    with pytest.raises(VidsamplerError) as caught:
        load_backbone(BackboneConfig(name, pretrained))
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    return caught.value


def variant(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A model config like the tiny one's, but for a change."""
    config = json.loads(TINY.read_text())
    change(config)
    path = folder / "variant.json"
    path.write_text(json.dumps(config))
    return path
