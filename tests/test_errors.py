"""Errors carry a code and an exit code, and cross process borders whole."""

from __future__ import annotations

import pickle

import pytest

from vidsampler.errors import ConfigError, InputError, UsageError, VidsamplerError, unknown


@pytest.mark.parametrize(
    ("kind", "code", "exit_code"),
    [
        (VidsamplerError, "failed", 1),
        (UsageError, "usage", 2),
        (ConfigError, "config", 2),
        (InputError, "unreadable", 2),
    ],
)
def test_each_class_has_its_code_and_exit_code(
    kind: type[VidsamplerError], code: str, exit_code: int
) -> None:
    error = kind("it broke")
    assert (error.code, error.exit_code, error.hint, str(error)) == (
        code,
        exit_code,
        None,
        "it broke",
    )


@pytest.mark.parametrize("kind", [VidsamplerError, UsageError, ConfigError, InputError])
def test_pickling_keeps_message_hint_and_code(kind: type[VidsamplerError]) -> None:
    error = pickle.loads(pickle.dumps(kind("it broke", hint="mend it", code="timeout")))
    assert type(error) is kind
    assert error.to_json() == {"code": "timeout", "message": "it broke", "hint": "mend it"}


def test_unknown_names_the_nearest_and_all() -> None:
    assert unknown("sampler", "unifrom", ["random", "uniform"]) == (
        "unknown sampler 'unifrom'; did you mean 'uniform'? (one of: random, uniform)"
    )


def test_unknown_compares_without_case() -> None:
    assert "did you mean 'MSRVTT'?" in unknown("dataset", "msrvtt", ["MSRVTT", "MSVD"])


def test_unknown_without_anything_near_or_at_all() -> None:
    assert unknown("sampler", "zzz", ["uniform"]) == "unknown sampler 'zzz' (one of: uniform)"
    assert unknown("head", "mean", []) == "unknown head 'mean' (none is registered yet)"
