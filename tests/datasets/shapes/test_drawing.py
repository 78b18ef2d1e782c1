"""Outlines and layouts make facts true; pictures show them where the layout says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.shapes import sharpness
from vidsampler.datasets.shapes import pictures
from vidsampler.datasets.shapes.facts import (
    COLOURS,
    SHAPES,
    Colour,
    Fact,
    Shape,
    Thing,
    fact_pool,
)
from vidsampler.datasets.shapes.layout import lay_out
from vidsampler.datasets.shapes.outlines import (
    figure_area,
    moved,
    odd_figure,
    shape_figure,
    within,
)

POOL = fact_pool(200, 0)


def test_areas_of_shapes() -> None:
    # A regular polygon of n corners at distance r: n/2 r^2 sin(2 pi / n).
    assert figure_area(shape_figure("circle")) == pytest.approx(
        24 * 0.81 * math.sin(2 * math.pi / 48)
    )
    assert figure_area(shape_figure("square")) == pytest.approx(2 * 1.155**2)
    assert figure_area(shape_figure("triangle")) == pytest.approx(
        1.5 * 1.21 * math.sin(2 * math.pi / 3)
    )
    # Two bars of 2 by 0.64, their common middle once.
    assert figure_area(shape_figure("cross")) == pytest.approx(2 * 2 * 0.64 - 0.64**2)


def outline(figure: list[np.ndarray]) -> float:
    """The length of all outlines."""
    return sum(math.dist(a, b) for p in figure for a, b in zip(p, np.roll(p, 1, 0), strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_figures_cover_what_they_should(shape: Shape) -> None:
    like = shape_figure(shape)
    rng = np.random.default_rng(0)
    figures = [odd_figure(like, rng) for _ in range(60)]
    assert [figure_area(figure) for figure in figures] == pytest.approx([figure_area(like)] * 60)
    lengths = np.array([outline(figure) for figure in figures]) / outline(like)
    # Nothing is as smooth as a circle.
    assert 0.9 < np.median(lengths) < 1.25
    assert len({tuple(map(len, figure)) for figure in figures}) >= 3


def test_figures_are_moved() -> None:
    corner = [np.array([[1.0, 0.0]])]
    assert moved(corner, 10, 20, 2, 90)[0] == pytest.approx(np.array([[10, 22]]))
    square = [np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])]
    assert within(square, 0.75)[0].max(0) == pytest.approx([0.75, 0.75])
    assert within(square, 0.25)[0].max(0) == pytest.approx([0.5, 0.5])
    assert within(square, 2)[0] == pytest.approx(square[0])


@pytest.mark.parametrize("fact", POOL[:60], ids=str)
def test_layouts_make_facts_true(fact: Fact) -> None:
    rng = np.random.default_rng(0)
    numbers = {"two": 2, "three": 3, "four": 4}
    for _ in range(20):
        places = lay_out(fact, rng)
        for place in places:
            assert max(abs(place.x), abs(place.y)) + place.radius < 0.5
        apart = [
            math.dist((a.x, a.y), (b.x, b.y)) - a.radius - b.radius
            for i, a in enumerate(places)
            for b in places[:i]
        ]
        if fact.form == "inside":
            outer, inner = places
            assert (outer.thing, inner.thing) == (fact.second, fact.first)
            # The circle, the narrowest at its sides, reaches 0.9 of its radius.
            away = math.dist((outer.x, outer.y), (inner.x, inner.y))
            assert away + 1.155 * inner.radius < 0.9 * outer.radius
        elif fact.form == "count":
            assert [place.thing for place in places] == [fact.first] * numbers[fact.word]
            assert min(apart) > 0
        elif fact.form == "size":
            (place,) = places
            assert place.radius > 0.29 if fact.word == "big" else place.radius < 0.12
        else:
            first, second = places
            assert (first.thing, second.thing) == (fact.first, fact.second)
            assert min(apart) > 0
            down, aside = second.y - first.y, second.x - first.x
            if fact.form == "above":
                assert down > 2 * abs(aside)
            else:
                assert abs(aside) > 2 * abs(down)


def test_beside_has_no_side() -> None:
    fact = next(fact for fact in POOL if fact.form == "beside")
    rng = np.random.default_rng(0)
    left = sum(first.x < second.x for first, second in (lay_out(fact, rng) for _ in range(400)))
    assert 160 < left < 240


def test_a_fact_of_two_things_needs_both() -> None:
    with pytest.raises(ValueError, match="about two things"):
        lay_out(Fact("above", Thing("red", "star")), np.random.default_rng(0))


def where(picture: pictures.RGB, colour: Colour) -> tuple[float, float, int]:
    """Mean row and column of the pixels nearest in colour to a paint, and their number.

    Of the saturated paints only: no scenery is as vivid.
    """
    paint = np.array(pictures._PAINT[colour], float)
    unit = picture / np.maximum(np.linalg.norm(picture, axis=2, keepdims=True), 1)
    rows, columns = np.nonzero(unit @ (paint / np.linalg.norm(paint)) > 0.985)
    return float(rows.mean()), float(columns.mean()), len(rows)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_above_is_drawn_above(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fact = Fact("above", Thing("red", "square"), Thing("blue", "circle"))
    picture = pictures.informative(fact, 112, 144, rng)
    assert picture.shape == (112, 144, 3)
    (red_row, red_column, reds), (blue_row, blue_column, blues) = (
        where(picture, "red"),
        where(picture, "blue"),
    )
    assert min(reds, blues) > 200
    assert blue_row - red_row > 30
    assert abs(blue_column - red_column) < 25


def test_unrelated_pictures_cover_as_much() -> None:
    fact = Fact("size", Thing("red", "square"), word="big")
    sizes: list[list[int]] = [[], []]
    for seed in range(12):
        for drawn, size in zip((pictures.informative, pictures.unrelated), sizes, strict=True):
            size.append(where(drawn(fact, 112, 144, np.random.default_rng(seed)), "red")[2])
    assert np.mean(sizes[1]) == pytest.approx(np.mean(sizes[0]), rel=0.15)


def test_all_facts_can_be_drawn() -> None:
    drawn = {
        pictures.informative(
            Fact("size", Thing(colour, shape), word="big"), 64, 64, np.random.default_rng(0)
        ).tobytes()
        for colour in COLOURS
        for shape in SHAPES
    }
    assert len(drawn) == 36


def test_bad_pictures_are_bad() -> None:
    sharp, blurred, noisy = [], [], []
    for seed, fact in enumerate(POOL[:20]):
        rng = np.random.default_rng(seed)
        sharp.append(sharpness(pictures.informative(fact, 112, 144, rng)))
        blurred.append(sharpness(pictures.blurred(fact, 112, 144, rng)))
        noisy.append(sharpness(pictures.noisy(fact, 112, 144, rng)))
        assert pictures.black(112, 144, rng).max() < 16
    assert max(blurred) < min(sharp)
    assert min(noisy) > 2 * np.median(sharp)
