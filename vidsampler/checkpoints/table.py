"""From the tensors of a file to those of a retriever: which becomes which, strictly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vidsampler.checkpoints.reading import Checkpoint
from vidsampler.errors import UsageError
from vidsampler.retriever_config import RetrieverConfig

Change = Callable[..., Tensor]
MOST_LAYERS = 256


def same(tensor: Tensor) -> Tensor:
    """The tensor as it is."""
    return tensor


def transposed(tensor: Tensor) -> Tensor:
    """A matrix that multiplies from the other side."""
    return tensor.T


def stacked(*tensors: Tensor) -> Tensor:
    """Rows of q, k and v, one below the other, as `in_proj` of attention has them."""
    return torch.cat(tensors)


def scalar(tensor: Tensor) -> Tensor:
    """One number, with or without an axis."""
    return tensor.reshape(()) if tensor.numel() == 1 else tensor


class Recipe(NamedTuple):
    """How a tensor of a retriever is made.

    Attributes:
        keys: Tensors of the file; those of several keys must have one shape.
        change: What is done to them.
    """

    keys: tuple[str, ...]
    change: Change = same


Names = Sequence[tuple[str, Callable[[str], Recipe]]]
"""How a retriever's tensors begin -> from the rest of a name to its recipe; the first that fits."""


def moved(to: str) -> Callable[[str], Recipe]:
    """Another beginning, the same rest."""
    return lambda rest: Recipe((to + rest,))


@dataclass
class Described:
    """What a family's file says, and what it does not say.

    Attributes:
        settings: Of the retriever, as a config file has them.
        names: Where its tensors come from.
        fixed: Dotted setting -> the value that the tensors fix, and the tensor that does.
        assumed: Dotted setting -> why it has its value: the file does not say.
        ignored: Keys, or how they begin up to a dot, that have no counterpart -> why.
        notes: What cannot be equal to the published system, one sentence each.
        asks: Dotted setting -> what to say where the user does not give it.
        drawn: Tensors that no file holds -> how to make one.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    names: list[tuple[str, Callable[[str], Recipe]]] = field(default_factory=list)
    fixed: dict[str, tuple[Any, str]] = field(default_factory=dict)
    assumed: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    asks: dict[str, str] = field(default_factory=dict)
    drawn: dict[str, Callable[[RetrieverConfig], Tensor]] = field(default_factory=dict)


class Source:
    """The tensors of a file, asked for by name.

    Args:
        checkpoint: The file.
        family: Whose it is, for messages.
    """

    def __init__(self, checkpoint: Checkpoint, family: str) -> None:
        self.path = checkpoint.path
        self.tensors = checkpoint.tensors
        self.config = checkpoint.config
        self.family = family

    def under(self, *prefixes: str) -> list[str]:
        """The names that begin so."""
        return [key for key in self.tensors if key.startswith(prefixes)]

    def ignored(self, described: Described) -> set[str]:
        """The names that have no counterpart; those of `Described.ignored` that end in a dot are
        how several begin.
        """
        return {
            key
            for name in described.ignored
            for key in (self.under(name) if name.endswith(".") else (name,))
            if key in self.tensors
        }

    def shape(self, key: str, axes: int) -> tuple[int, ...]:
        """The sizes of a tensor, each at least 1.

        Raises:
            UsageError: It is missing, or has another number of axes.
        """
        return self.made(Recipe((key,)), axes)

    def made(self, recipe: Recipe, axes: int) -> tuple[int, ...]:
        """The sizes of what a recipe makes; nothing is read."""
        if lacking := [key for key in recipe.keys if key not in self.tensors]:
            raise self.misses(lacking, ())
        shapes = [tuple(self.tensors[key].shape) for key in recipe.keys]
        if len(set(shapes)) > 1:
            raise self.misfits(
                f"{recipe.keys[0]} is {shapes[0]}, but one beside it is "
                f"{next(each for each in shapes if each != shapes[0])}"
            )
        shape = tuple(recipe.change(*(torch.empty(each, device="meta") for each in shapes)).shape)
        if len(shape) != axes or 0 in shape:
            raise self.misfits(f"{recipe.keys[0]} is {shapes[0]}; expected {axes} axes of numbers")
        return shape

    def layers(self, prefix: str) -> int:
        """How many numbered blocks there are under a name, from 0 on.

        Raises:
            UsageError: There are none, or numbers are missing.
        """
        found = {key.removeprefix(prefix).partition(".")[0] for key in self.under(prefix)}
        wanted = {str(number) for number in range(len(found))}
        if not found or found != wanted:
            lacking = min(wanted - found, default="0")
            raise self.misses([f"{prefix}{lacking}.*"], ())
        if len(found) > MOST_LAYERS:
            raise self.misfits(f"there are {len(found):,} blocks {prefix}*")
        return len(found)

    def square(self, key: str, count: int) -> int:
        """The side of a square of so many places.

        Raises:
            UsageError: It is no square.
        """
        side = isqrt(max(count, 0))
        if side < 1 or side * side != count:
            raise self.misfits(f"{key} has {count} places for patches, which is no square")
        return side

    def misses(self, keys: Sequence[str], left: Iterable[str]) -> UsageError:
        """The error of tensors that are not there; `left` are those that nobody asks for."""
        message = f"there is no {keys[0]}"
        if near := get_close_matches(keys[0], list(left), n=1, cutoff=0.8):
            message += f", only {near[0]}, which has no meaning there"
        if len(keys) > 1:
            message += f" ({len(keys)} tensors are missing)"
        return self.misfits(message)

    def misfits(self, why: str) -> UsageError:
        """The error of a file that is not what it was taken for."""
        return UsageError(
            f"{self.path} is no {self.family} checkpoint: {why}",
            hint="if it is of another system, name it with --from",
            code="foreign",
        )


def recipes(source: Source, described: Described, expected: dict[str, Tensor]) -> dict[str, Recipe]:
    """How each tensor of a retriever is made of the file, once everything has been checked.

    Those that no file holds are left to `Described.drawn`.

    Args:
        source: The file.
        described: What it is.
        expected: The retriever's tensors; only their shapes and types are looked at.

    Raises:
        UsageError: A tensor is missing, has another shape, or has no meaning.
    """
    found = {
        name: _recipe(name, described.names) for name in expected if name not in described.drawn
    }
    used = {key for recipe in found.values() for key in recipe.keys}
    ignored = source.ignored(described)
    left = [key for key in source.tensors if key not in used and key not in ignored]
    lacking = sorted(key for key in used if key not in source.tensors)
    if lacking:
        raise source.misses(lacking, left)
    for name, recipe in found.items():
        wanted = tuple(expected[name].shape)
        shape = source.made(recipe, len(wanted))
        if shape != wanted:
            key = recipe.keys[0]
            there = tuple(source.tensors[key].shape)
            as_ours = "" if there == shape and len(recipe.keys) == 1 else f", read as {shape},"
            raise source.misfits(f"{key} is {there}{as_ours} where {wanted} is expected")
        floats = {source.tensors[key].is_floating_point() for key in recipe.keys}
        if floats != {expected[name].is_floating_point()}:
            raise source.misfits(f"{recipe.keys[0]} is {source.tensors[recipe.keys[0]].dtype}")
    if left:
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        raise source.misfits(
            f"{left[0]} {tuple(source.tensors[left[0]].shape)} has no meaning there{more}"
        )
    return found


def _recipe(name: str, names: Names) -> Recipe:
    for prefix, recipe in names:
        if name.startswith(prefix):
            return recipe(name.removeprefix(prefix))
    raise AssertionError(f"no family says where {name} comes from")
