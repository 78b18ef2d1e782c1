"""YAML as one would expect it, and back."""

from __future__ import annotations

from typing import Any

import pytest

from vidsampler import plainyaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5", 1.5),
        (".inf", float("inf")),
        ("010", 10),
        ("0x10", 16),
        ("0o10", 8),
        ("-3", -3),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("null", None),
        ("~", None),
        ("", None),
        ("[1, 2]", [1, 2]),
        ("{a: {b: c}}", {"a": {"b": "c"}}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_values(text: str, value: Any) -> None:
    loaded = plainyaml.load(text)
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k: 1\nj: 2\nk: 3\n", "line 3: key 'k' stands there twice"),
        ("a: {b: 1, b: 2}", "line 1: key 'b' stands there twice"),
        ("a: [1", "line 1: "),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: \x00", "unacceptable character"),
        ("[" * 5000, "nested too deeply"),
        ("9" * 5000, "integer string conversion"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plainyaml.load(text)


@pytest.mark.parametrize(
    "value",
    [
        {"k": 8, "name": "uniform", "lr": 1e-5, "none": None, "flag": False},
        {
            "words": [
                "no",
                "true",
                "1:30",
                "010",
                "0o17",
                "1e-4",
                "~",
                "",
                "2020-01-01",
                "a: b",
                "é",
            ]
        },
        {"nested": {"list": [1, 2.0, [3]], "empty": [], "nothing": {}}},
        {"large": 1e300, "whole": 3.0, "infinite": float("inf")},
    ],
)
def test_what_is_written_reads_back_the_same(value: Any) -> None:
    again = plainyaml.load(plainyaml.dump(value))
    assert again == value
    assert list(again) == list(value)
    assert repr(again) == repr(value)
