"""What captions speak of: coloured shapes, how many, how large, and how they lie.

No fact tells left from right, so that flipping a picture keeps its caption true.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np

Colour = Literal["red", "yellow", "green", "blue", "purple", "white"]
Shape = Literal["circle", "square", "triangle", "star", "cross", "heart"]
Form = Literal["above", "beside", "inside", "count", "size"]
COLOURS: tuple[Colour, ...] = get_args(Colour)
SHAPES: tuple[Shape, ...] = get_args(Shape)
FORMS: tuple[Form, ...] = get_args(Form)
WIDE: tuple[Shape, ...] = ("circle", "square", "heart")
"""Shapes that another one fits into."""
NUMBERS = ("two", "three", "four")
SIZES = ("small", "big")


@dataclass(frozen=True)
class Thing:
    """One shape of one colour."""

    colour: Colour
    shape: Shape

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Fact:
    """What one informative picture shows.

    Attributes:
        form: how its things lie: `first` above, beside or inside `second`, several of `first`, or
            one `first` of some size.
        first: the thing named first.
        second: the other thing; None for `count` and `size`.
        word: the number or the size; empty for the others.
    """

    form: Form
    first: Thing
    second: Thing | None = None
    word: str = ""

    def __str__(self) -> str:
        if self.form == "count":
            return f"{self.word} {self.first}{'es' if self.first.shape == 'cross' else 's'}"
        if self.form == "size":
            return f"a {self.word} {self.first}"
        return f"a {self.first} {self.form} a {self.second}"


def caption(facts: Sequence[Fact]) -> str:
    """One sentence that names facts in the order in which they are shown."""
    return ", then ".join(map(str, facts))


@cache
def fact_pool(count: int, seed: int) -> tuple[Fact, ...]:
    """The facts that the videos of a dataset share.

    They come in pairs of siblings that differ in one respect only: which thing is above, one
    colour, the number, or the size. Knowing the colours alone does not tell siblings apart.

    Args:
        count: how many, 1 to 200.
        seed: other facts for each.

    Returns:
        `count` different facts, of all forms in equal numbers (as far as `count` allows).
    """
    rng = np.random.default_rng([seed, 1])
    facts: dict[Fact, None] = {}
    # Not one after the other of the same form: a count that is cut keeps all forms.
    pairs = [_pairs(form, rng) for form in FORMS]
    while len(facts) < count:
        for each in pairs:
            pair = next(each)
            while any(_same_picture(fact) in facts or fact in facts for fact in pair):
                pair = next(each)
            facts.update(dict.fromkeys(pair))
    return tuple(facts)[:count]


def _pairs(form: Form, rng: np.random.Generator) -> Iterator[tuple[Fact, Fact]]:
    """Siblings of one form, endlessly, at random."""
    while True:
        # Two things of a fact differ in colour and shape: neither alone tells which is which.
        colours = [COLOURS[i] for i in rng.permutation(len(COLOURS))]
        shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))]
        one, two = Thing(colours[0], shapes[0]), Thing(colours[1], shapes[1])
        if form == "above":
            yield Fact(form, one, two), Fact(form, two, one)
        elif form == "beside":
            yield Fact(form, one, two), Fact(form, one, Thing(colours[2], shapes[1]))
        elif form == "inside":
            wide = [shape for shape in WIDE if shape != shapes[0]]
            outer = wide[int(rng.integers(len(wide)))]
            yield (
                Fact(form, one, Thing(colours[1], outer)),
                Fact(form, one, Thing(colours[2], outer)),
            )
        elif form == "count":
            few, many = sorted(rng.permutation(len(NUMBERS))[:2])
            yield Fact(form, one, word=NUMBERS[few]), Fact(form, one, word=NUMBERS[many])
        else:
            yield Fact(form, one, word=SIZES[0]), Fact(form, one, word=SIZES[1])


def _same_picture(fact: Fact) -> Fact:
    """The other wording of the same picture, or the fact itself where there is none."""
    if fact.form != "beside" or fact.second is None:
        return fact
    return Fact(fact.form, fact.second, fact.first)
