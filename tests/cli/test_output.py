"""The one sink: what goes where, and what it looks like in a pipe and on a terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from vidsampler.cli.output import Output, printable
from vidsampler.errors import InputError


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Puts a terminal in place of stdout and stderr.

    No fixture, because pytest puts its own streams back between a fixture and its test.
    """
    screen = Terminal()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return screen


def test_json_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({"video": "\u00e9\udcff\x1b.mp4", "kept": [1, None]})
    out = capsys.readouterr().out
    assert out == '{"video": "\\u00e9\\udcff\\u001b.mp4", "kept": [1, null]}\n'


def test_json_is_indented_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    Output().result({"a": [1]})
    assert terminal.getvalue() == json.dumps({"a": [1]}, indent=2) + "\n"


def test_json_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Output().result({"score": float("nan")})


def test_errors_go_to_stderr_or_become_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError("a.mp4: no such file", hint="check the name", code="missing")
    Output().failure(error)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        "error: a.mp4: no such file\nhint: check the name\n",
    )
    Output(json=True).failure(error)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": error.to_json()}
    assert captured.err == ""


def test_a_table_in_a_pipe_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(["#", "name"], [["1", "[red]a"], ["10", "b\x1b"]], numbers="r")
    assert capsys.readouterr().out == " #  name\n 1  [red]a\n10  b\\x1b\n"


def test_a_table_on_a_terminal_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    Output().table(["#", "name"], [["1", "[red]a"], ["10", "x" * 100]], numbers="r")
    text = terminal.getvalue()
    assert "[red]a" in text
    assert "\x1b[1m" in text
    plain = text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines())) <= 80


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with Output().progress(3, "videos") as progress:
        progress.advance()
    assert not any(f"\x1b[{color}m" in terminal.getvalue() for color in (32, 36, 90, 91))


def test_progress_shows_a_bar_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with Output().progress(3, "videos") as progress:
        for _ in range(3):
            with progress.paused():
                Output().line("data")
            progress.advance()
    assert "3/3" in terminal.getvalue()
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with Output().progress(3, "videos") as progress:
        progress.advance()
    assert pipe.getvalue() == ""


def test_progress_in_a_pipe_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("vidsampler.cli.output.time.monotonic", lambda: next(clock))
    with Output().progress(4, "videos") as progress:
        for _ in range(4):
            progress.advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "2/4 videos, 0.167/s, 12 s left\n"


def test_one_item_needs_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with Output().progress(1, "videos") as progress, progress.paused():
        progress.advance()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é 日", "plain é 日"), ("a\nb\x1b[31m", r"a\nb\x1b[31m"), ("\udcff", r"\udcff")],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown
