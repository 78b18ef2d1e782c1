"""What tests of backbones share."""

from __future__ import annotations

import pytest

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone, load_backbone


@pytest.fixture(scope="package")
def tiny() -> Backbone:
    """The tiny backbone; tests must leave it as it is."""
    return load_backbone(BackboneConfig("tiny"))
