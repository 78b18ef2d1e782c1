"""Outlines of the shapes that captions name, and of figures that no caption names.

A figure is a list of polygons, each (n, 2) float, x to the right and y down. Shapes lie inside the
circle of radius 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from vidsampler.datasets.shapes.facts import Shape

Polygon = npt.NDArray[np.floating]
Figure = list[Polygon]


@cache
def shape_figure(shape: Shape) -> Figure:
    """The outline of a shape; not to be changed."""
    return [_SHAPES[shape]()]


def odd_figure(like: Figure, rng: np.random.Generator) -> Figure:
    """A figure that no caption names: a splash, a bean, a squiggle, a sprig of leaves or a bolt.

    Args:
        like: it covers as much as this figure, and its outline is about as long: of a few that
            are drawn it is the one that comes nearest.
        rng: draws the figures.
    """
    wanted = math.log(_raggedness(like))
    drawn = [_ODD[int(rng.integers(len(_ODD)))](rng) for _ in range(_TRIES)]
    figure = min(drawn, key=lambda figure: abs(math.log(_raggedness(figure)) - wanted))
    points = np.concatenate(figure)
    middle = (points.min(0) + points.max(0)) / 2
    scale = math.sqrt(figure_area(like) / figure_area(figure))
    return [(polygon - middle) * scale for polygon in figure]


def figure_area(figure: Figure) -> float:
    """What the polygons cover, overlaps counted twice (shoelace formula)."""
    return sum(_area(polygon, _following(polygon)) for polygon in figure)


def _area(polygon: Polygon, following: Polygon) -> float:
    (x, y), (next_x, next_y) = polygon.T, following.T
    return abs(float(x @ next_y - y @ next_x)) / 2


def _following(polygon: Polygon) -> Polygon:
    """For each corner the next one. Not by np.roll, which took a tenth of all rendering."""
    return np.concatenate([polygon[1:], polygon[:1]])


def _raggedness(figure: Figure) -> float:
    """The squared length of all outlines by the area; about 12.6 for a circle, the least."""
    length = area = 0.0
    for polygon in figure:
        following = _following(polygon)
        length += float(np.sqrt(np.square(following - polygon).sum(1)).sum())
        area += _area(polygon, following)
    return length**2 / area


def moved(figure: Figure, x: float, y: float, radius: float, degrees: float) -> Figure:
    """A figure turned, scaled and moved to its place, in this order."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cos, sin], [-sin, cos]]) * radius
    return [polygon @ turn + np.array([x, y]) for polygon in figure]


def within(figure: Figure, half: float) -> Figure:
    """A figure pushed into the square from -half to half, or to its middle if it is larger."""
    points = np.concatenate(figure)
    low, high = points.min(0), points.max(0)
    push = np.where(
        high - low > 2 * half,
        -(low + high) / 2,
        np.maximum(-half - low, 0) + np.minimum(half - high, 0),
    )
    return [polygon + push for polygon in figure]


def _polar(radii: npt.ArrayLike, count: int, start: float = -math.pi / 2) -> Polygon:
    angles = start + np.arange(count) * (2 * math.pi / count)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    polygon: Polygon = circle * np.reshape(np.asarray(radii), (-1, 1))
    return polygon


def _circle() -> Polygon:
    return _polar(0.9, 48)


def _square() -> Polygon:
    return _polar(1.1, 4, -math.pi / 4) * 1.05


def _triangle() -> Polygon:
    return moved([_polar(1.1, 3)], 0, 0.15, 1, 0)[0]


def _star() -> Polygon:
    return _polar([1.1, 0.46] * 5, 10)


def _cross() -> Polygon:
    arm = 0.32
    corner = np.array([[-arm, -1], [arm, -1], [arm, -arm]])
    quarter = np.array([[0, 1], [-1, 0]])
    turned = [corner @ np.linalg.matrix_power(quarter, i) for i in range(4)]
    return np.concatenate(turned)


def _heart() -> Polygon:
    t = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2], 1) / 16.5


_SHAPES: dict[Shape, Callable[[], Polygon]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "heart": _heart,
}


def _splash(rng: np.random.Generator) -> Figure:
    """A blot with uneven lobes."""
    angles = np.linspace(0, 2 * math.pi, 56, endpoint=False)
    radii = np.ones(56)
    for lobes, height in ((2, 0.3), (3, 0.3), (5, 0.16)):
        radii += height * rng.uniform(0.6, 1) * np.cos(lobes * angles + rng.uniform(0, 7))
    return [_polar(np.maximum(radii, 0.3), 56)]


def _bean(rng: np.random.Generator) -> Figure:
    """A bent blot with round ends."""
    t = np.linspace(-1, 1, 24)
    angles = rng.uniform(0.9, 1.5) * t
    line = np.stack([np.sin(angles), -np.cos(angles)], 1)
    return [_ribbon(line, rng.uniform(0.34, 0.5) * (1 - t**2) ** 0.4 * (1.1 - 0.3 * t))]


def _squiggle(rng: np.random.Generator) -> Figure:
    """A thick wavy line."""
    t = np.linspace(-1, 1, 40)
    waves, phase = rng.uniform(0.8, 1.4), rng.uniform(0, 2 * math.pi)
    line = np.stack([t, 0.36 * np.sin(waves * math.pi * t + phase) + 0.15 * t**2], 1)
    return [_ribbon(line, rng.uniform(0.16, 0.26) * (1.15 - t**2))]


def _sprig(rng: np.random.Generator) -> Figure:
    """Three leaves from one point."""
    t = np.linspace(0, 1, 14)
    width = rng.uniform(0.24, 0.36) * np.sin(math.pi * t)
    figure = []
    for angle in np.array([-0.75, 0, 0.75]) + rng.uniform(-0.2, 0.2, 3):
        bend = rng.uniform(-0.35, 0.35)
        line = np.stack([t, bend * t * (1 - t)], 1) * rng.uniform(0.85, 1.1)
        figure += moved([_ribbon(line, width)], 0, 0, 1, math.degrees(angle))
    return figure


def _bolt(rng: np.random.Generator) -> Figure:
    """A jagged band."""
    corners = int(rng.integers(3, 6))
    x = np.linspace(-1, 1, corners) + rng.uniform(-0.08, 0.08, corners)
    y = rng.uniform(0.28, 0.4) * (-1.0) ** np.arange(corners) * rng.uniform(0.7, 1.2, corners)
    half = rng.uniform(0.24, 0.42) * np.linspace(1.15, 0.85, corners)
    upper, lower = np.stack([x, y - half], 1), np.stack([x, y + half], 1)
    return [np.concatenate([upper, lower[::-1]])]


def _ribbon(line: Polygon, half: Polygon) -> Polygon:
    """A band along a line: (n, 2) points and (n,) half widths give (2n, 2)."""
    # What np.gradient gives, which takes ten times as long for so few points.
    along = np.empty_like(line)
    along[1:-1] = (line[2:] - line[:-2]) / 2
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    x, y = along.T
    aside = np.empty_like(line)
    scale = half / np.sqrt(x * x + y * y)
    aside[:, 0], aside[:, 1] = -y * scale, x * scale
    return np.concatenate([line + aside, (line - aside)[::-1]])


_TRIES = 4
_ODD = (_splash, _bean, _squiggle, _sprig, _bolt)
