"""Times are read and written the way people do."""

from __future__ import annotations

import pytest

from vidsampler.timecode import format_time, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("75", 75.0),
        ("75.5", 75.5),
        (".5", 0.5),
        ("1:15.5", 75.5),
        ("01:02:03.25", 3723.25),
        ("90:00", 5400.0),
        ("100:00:00", 360000.0),
        (" 2 ", 2.0),
    ],
)
def test_reading(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "-1", "abc", "1:", ":30", "1:2:3:4", "1m30s", "nan", "inf", "1e3", "1,5", "٣", "1 2"],
)
def test_what_is_no_time_is_an_error_that_shows_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time; write seconds \(75.5\), mm:ss or hh:mm"):
        parse_time(text)


@pytest.mark.parametrize("text", ["1:75", "1:60", "1:60:00", "0:99:00"])
def test_sixty_after_a_colon_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="60 or more"):
        parse_time(text)


def test_a_number_beyond_floats_is_an_error() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_time("9" * 400)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0:00:00.000"),
        (1.0005, "0:00:01.000"),
        (59.9996, "0:01:00.000"),
        (3723.25, "1:02:03.250"),
        (360000.0, "100:00:00.000"),
        (-0.04, "-0:00:00.040"),
        (-0.0001, "0:00:00.000"),
    ],
)
def test_writing(seconds: float, text: str) -> None:
    assert format_time(seconds) == text
