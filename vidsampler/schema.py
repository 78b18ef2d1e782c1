"""Checks plain data against a dataclass, key by key, and builds it.

Knows bool, int, float, str, Path, None, Literal, unions, list, tuple, dict and nested dataclasses.
A field's metadata may hold "parse", a function from text to the field's value that raises
ValueError (times are written 1:30).
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vidsampler import plainyaml
from vidsampler.errors import ConfigError, unknown

T = TypeVar("T")
Path_ = tuple[str, ...]
Leaves = dict[Path_, Any]

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


def read_leaves(
    cls: type, values: Mapping[str, Any], place: str, *, text: bool = False, above: Path_ = ()
) -> Leaves:
    """Checks nested values against a dataclass.

    Args:
        cls: The dataclass.
        values: Nested mapping of field names to plain values.
        place: Where the values came from, with "{key}" for the dotted key.
        text: The values are words of the command line.
        above: Names of the fields that lead here.

    Returns:
        (name, name, ...) -> checked value, one for every key that was given.

    Raises:
        ConfigError: An unknown key or a value of a wrong type.
    """
    hints = get_type_hints(cls)
    known = {each.name: each for each in fields(cls)}
    leaves: Leaves = {}
    for key, value in values.items():
        path = (*above, str(key))
        if key not in known:
            dotted = [".".join((*above, name)) for name in known]
            # The message itself names the key, so the place goes without it.
            origin = place.replace("{key}", "").rstrip(": ")
            raise ConfigError(f"{origin}: {unknown('key', '.'.join(path), dotted)}")
        where = place.replace("{key}", ".".join(path))
        nested = nested_dataclass(hints[key])
        if nested is not None and text and isinstance(value, str):
            value = _from_yaml(value)
        if nested is not None and isinstance(value, Mapping):
            leaves.update(read_leaves(nested, value, place, text=text, above=path))
        else:
            leaves[path] = _field_value(known[key], value, hints[key], where, text)
    return leaves


def build(cls: type[T], leaves: Leaves, *, above: Path_ = (), base: T | None = None) -> T:
    """Builds a dataclass from checked values.

    Args:
        cls: The dataclass.
        leaves: Values as `read_leaves` returns them.
        above: Names of the fields that lead here.
        base: Where fields without a value take theirs from; the class's defaults otherwise.

    Raises:
        ConfigError: A field without a default has no value, or the class refuses the values.
    """
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for each in fields(cls):  # type: ignore[arg-type]  # T is always a dataclass here
        path = (*above, each.name)
        default = _default(each) if base is None else getattr(base, each.name)
        nested = nested_dataclass(hints[each.name])
        if path in leaves:
            arguments[each.name] = leaves[path]
        elif nested is not None and any(other[: len(path)] == path for other in leaves):
            start = default if isinstance(default, nested) else None
            arguments[each.name] = build(nested, leaves, above=path, base=start)
        elif default is not MISSING:
            arguments[each.name] = default
        else:
            raise ConfigError(f"the key {'.'.join(path)!r} is missing and has no default")
    try:
        return cls(**arguments)
    except ValueError as error:
        prefix = f"{'.'.join(above)}: " if above else ""
        raise ConfigError(f"{prefix}{error}") from error


def nested_dataclass(hint: Any) -> type | None:
    """The dataclass that a field holds (perhaps beside None), or None."""
    members = get_args(hint) if _is_union(hint) else (hint,)
    for member in members:
        if isinstance(member, type) and is_dataclass(member):
            return member
    return None


def _default(each: Field[Any]) -> Any:
    return each.default_factory() if each.default_factory is not MISSING else each.default


def _field_value(each: Field[Any], value: Any, hint: Any, where: str, text: bool) -> Any:
    parse = each.metadata.get("parse")
    if parse is not None and isinstance(value, str) and not (text and _is_null(value, hint)):
        try:
            return parse(value)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
    return _convert(value, hint, where, text)


def _convert(value: Any, hint: Any, where: str, text: bool) -> Any:
    """The value as its type wants it, or a ConfigError."""
    if _is_union(hint):
        return _convert_union(value, hint, where, text)
    if text and isinstance(value, str) and hint not in (str, Path):
        if get_origin(hint) is Literal and value in get_args(hint):
            return value
        value = _from_yaml(value)
    origin = get_origin(hint) or hint
    if origin is Any:
        return value
    if origin is Literal:
        return _convert_literal(value, hint, where)
    if origin is float and type(value) is int:
        # Exact for every number that anybody writes; a number too large for a float is an error.
        if abs(value) < 1 << 1023:
            return float(value)
    elif origin is float and isinstance(value, float) and not math.isnan(value):
        return value
    elif origin is Path and isinstance(value, (str, Path)):
        return Path(value)
    elif origin in (list, tuple) and isinstance(value, (list, tuple)):
        return _convert_sequence(value, hint, where)
    elif origin is dict and isinstance(value, Mapping):
        return _convert_mapping(value, hint, where)
    elif origin in (bool, int, str, type(None)) and type(value) is origin:
        return value
    raise ConfigError(f"{where}: expected {_expected(hint)}, not {_shown(value)}")


def _convert_union(value: Any, hint: Any, where: str, text: bool) -> Any:
    if type(None) in get_args(hint) and (value is None or (text and _is_null(value, hint))):
        return None
    members = [member for member in get_args(hint) if member is not type(None)]
    if len(members) == 1:
        return _convert(value, members[0], where, text)
    # Text fits `str` always, so the narrower members are asked first.
    for member in sorted(members, key=lambda member: member in (str, Path)):
        try:
            return _convert(value, member, where, text)
        except ConfigError:
            continue
    raise ConfigError(f"{where}: expected {_expected(hint)}, not {_shown(value)}")


def _convert_literal(value: Any, hint: Any, where: str) -> Any:
    for choice in get_args(hint):
        # Not by == alone: True == 1, but a bool is no number here.
        if type(value) is type(choice) and value == choice:
            return choice
    if isinstance(value, str):
        raise ConfigError(f"{where}: {unknown('value', value, map(str, get_args(hint)))}")
    raise ConfigError(f"{where}: expected {_expected(hint)}, not {_shown(value)}")


def _convert_sequence(value: Any, hint: Any, where: str) -> Any:
    arguments = get_args(hint)
    kind = get_origin(hint) or hint
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise ConfigError(f"{where}: expected {_expected(hint)}, not {_shown(value)}")
        members = arguments
    else:
        members = (arguments[0] if arguments else Any,) * len(value)
    return kind(
        _convert(each, member, f"{where}[{number}]", False)
        for number, (each, member) in enumerate(zip(value, members, strict=True))
    )


def _convert_mapping(value: Mapping[Any, Any], hint: Any, where: str) -> dict[Any, Any]:
    key_hint, value_hint = get_args(hint) or (Any, Any)
    return {
        _convert(key, key_hint, f"{where}, key {key!r}", False): _convert(
            each, value_hint, f"{where}.{key}", False
        )
        for key, each in value.items()
    }


def _from_yaml(text: str) -> Any:
    """A word of the command line as YAML reads it; the word itself where it is no YAML."""
    try:
        return plainyaml.load(text)
    except ValueError:
        return text


def _is_null(value: Any, hint: Any) -> bool:
    return type(None) in get_args(hint) and isinstance(value, str) and value in ("null", "~")


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _expected(hint: Any) -> str:
    arguments = get_args(hint)
    if _is_union(hint):
        return " or ".join(_expected(member) for member in arguments)
    origin = get_origin(hint) or hint
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)}: [{', '.join(map(_expected, arguments))}]"
    if origin in (list, tuple):
        return f"a list of {_expected(arguments[0])}" if arguments else "a list"
    if origin is dict or is_dataclass(origin):
        return "a mapping"
    return _WORDS.get(origin, str(origin))


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
