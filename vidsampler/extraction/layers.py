"""Layers of settings that say which frames to take, of which only one way can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vidsampler.config import Layer
from vidsampler.extraction.settings import WHICH


def unsaid(section: str | None = None) -> Layer:
    """A layer after which no way to take frames is said, in a section or at the top."""
    neutral = {name: False if name in ("keyframes", "all") else None for name in WHICH}
    return Layer("{key}", neutral if section is None else {section: neutral})


def one_way(layers: Iterable[Layer], section: str | None = None) -> list[Layer]:
    """The layers, each of which takes the place of whatever an earlier one said in another way."""
    found = []
    for layer in layers:
        values = layer.values if section is None else layer.values.get(section)
        if isinstance(values, Mapping) and any(values.get(name) for name in WHICH):
            found.append(unsaid(section))
        found.append(layer)
    return found
