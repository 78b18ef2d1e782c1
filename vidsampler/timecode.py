"""Times as people write and read them: seconds, mm:ss, hh:mm:ss.mmm."""

from __future__ import annotations

import re

_TIME = re.compile(
    r"(?:(?:(?P<hours>\d+):)?(?P<minutes>\d+):)?(?P<seconds>\d+(?:\.\d*)?|\.\d+)", re.ASCII
)


def parse_time(text: str) -> float:
    """Reads a time in seconds ("75.5"), mm:ss ("1:15.5") or hh:mm:ss ("0:01:15.5").

    Returns:
        Seconds, never negative.

    Raises:
        ValueError: The text is not a time; the message says which forms are.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time; write seconds (75.5), mm:ss or hh:mm:ss.s")
    hours, minutes, seconds = (float(part or 0) for part in match.group(1, 2, 3))
    for unit, value, larger in (
        ("seconds", seconds, match["minutes"]),
        ("minutes", minutes, match["hours"]),
    ):
        if larger is not None and value >= 60:
            raise ValueError(f"{text!r} is not a time: {value:g} {unit} after a colon, 60 or more")
    total = hours * 3600 + minutes * 60 + seconds
    if total == float("inf"):
        raise ValueError(f"{text!r} is not a time: too large")
    return total


def format_time(seconds: float) -> str:
    """A time as h:mm:ss.mmm, rounded to the nearest millisecond; a sign only below zero."""
    thousandths = round(abs(seconds) * 1000)
    sign = "-" if seconds < 0 and thousandths else ""
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, thousandths = divmod(thousandths, 1000)
    return f"{sign}{hours}:{minutes:02d}:{whole:02d}.{thousandths:03d}"
