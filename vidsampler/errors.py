"""Errors that a user can act on, and the wording of "did you mean".

Every error that a user's mistake can cause is a `VidsamplerError`: the command line prints its
message (and hint) without a traceback and leaves with its exit code. Anything else is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

RANK_LOST = "rank-lost"
"""The code of an error that only says that another process has failed."""


class VidsamplerError(Exception):
    """An error with a message for the user; also the class of failures at run time.

    Args:
        message: One sentence: what is wrong, where, and why. No trailing full stop.
        hint: What to do next, such as a command to run.
        code: A short stable word for machines; the class's own where it is not given.
    """

    default_code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        # Only the message is an argument of Exception: unpickling calls the class with it and
        # then restores hint and code from the instance's dictionary.
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code

    def to_json(self) -> dict[str, str | None]:
        """The error as the command line's JSON shows it."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(VidsamplerError):
    """A wrong argument: an unknown name, a number out of range, an unwritable output."""

    default_code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A configuration file, `--set` or flag that does not fit the config tree."""

    default_code = "config"


class InputError(VidsamplerError):
    """A video that cannot be used.

    Its code is one of: missing, empty, unreadable, not-video, no-video, truncated, damaged,
    too-large, unsupported, index, timeout.
    """

    default_code = "unreadable"
    exit_code = 2


class DeadlineError(InputError):
    """A video took longer than it was given; a failure at run time, not of the input."""

    default_code = "timeout"
    exit_code = 1


_MOST_LISTED = 40
"""A message lists no more names than this: open_clip alone has some 130 models."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is not known, with the nearest one that is.

    Args:
        what: The kind of thing, such as "sampler".
        name: What the user wrote.
        known: The valid names, in the order to show them.

    Returns:
        Such as "unknown sampler 'unifrom'; did you mean 'uniform'? (one of: random, uniform)".
    """
    names = list(known)
    message = f"unknown {what} {name!r}"
    # Compared without case, because "Uniform" is a spelling of "uniform", not another word.
    folded = {candidate.casefold(): candidate for candidate in names}
    near = get_close_matches(name.casefold(), folded, n=1)
    if near:
        message += f"; did you mean {folded[near[0]]!r}?"
    if len(names) > _MOST_LISTED:
        message += f" ({len(names)} are known)"
    elif names:
        message += f" (one of: {', '.join(names)})"
    else:
        message += " (none is registered yet)"
    return message
