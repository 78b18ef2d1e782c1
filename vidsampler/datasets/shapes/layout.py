"""Where the things of a fact lie in its picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vidsampler.datasets.shapes.facts import NUMBERS, Fact, Thing


@dataclass(frozen=True)
class Place:
    """One thing in a picture.

    Attributes:
        thing: what lies there.
        x: its middle, to the right, -0.5 to 0.5 in the central square.
        y: its middle, down, likewise.
        radius: its size, in sides of the square.
        degrees: how far it is turned.
    """

    thing: Thing
    x: float
    y: float
    radius: float
    degrees: float


def lay_out(fact: Fact, rng: np.random.Generator) -> list[Place]:
    """Things at places that make a fact true, drawn at random; those below come first."""
    if fact.form == "count":
        count = 2 + NUMBERS.index(fact.word)
        radius = rng.uniform(0.12, 0.155)
        return [_place(fact.first, x, y, radius, rng) for x, y in _scattered(count, radius, rng)]
    if fact.form == "size":
        radius = rng.uniform(0.3, 0.36) if fact.word == "big" else rng.uniform(0.09, 0.115)
        x, y = rng.uniform(-1, 1, 2) * min(0.47 - radius, 0.25)
        return [_place(fact.first, x, y, radius, rng)]
    if fact.second is None:
        raise ValueError(f"a fact of the form {fact.form} is about two things: {fact}")
    if fact.form == "inside":
        outer = rng.uniform(0.32, 0.37)
        x, y = rng.uniform(-0.07, 0.07, 2)
        dx, dy = rng.uniform(-0.02, 0.02, 2)
        inner = outer * rng.uniform(0.36, 0.42)
        return [
            _place(fact.second, x, y, outer, rng),
            _place(fact.first, x + dx, y + dy, inner, rng),
        ]
    sizes = rng.uniform(0.15, 0.19, 2)
    apart = sizes.sum() + rng.uniform(0.05, 0.12)
    aside = rng.uniform(-0.08, 0.08)
    x, y = rng.uniform(-0.5, 0.5, 2) * (0.94 - apart - sizes.sum(), 0.94 - 2 * sizes.max() - 0.16)
    near, far = (x - apart / 2, y - aside), (x + apart / 2, y + aside)
    if fact.form == "above":
        near, far = (near[1], near[0]), (far[1], far[0])
    elif rng.random() < 0.5:
        near, far = far, near
    return [_place(fact.first, *near, sizes[0], rng), _place(fact.second, *far, sizes[1], rng)]


def _place(thing: Thing, x: float, y: float, radius: float, rng: np.random.Generator) -> Place:
    return Place(thing, float(x), float(y), float(radius), float(rng.uniform(-14, 14)))


def _scattered(count: int, radius: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Places that keep clear of each other: on a ring about the middle, each moved a little."""
    start = rng.uniform(0, 2 * math.pi)
    ring = (radius + 0.055) / math.sin(math.pi / count)
    places = []
    for i in range(count):
        angle = start + 2 * math.pi * i / count
        dx, dy = rng.uniform(-0.025, 0.025, 2)
        places.append((ring * math.cos(angle) + dx, ring * math.sin(angle) + dy))
    return places
