"""The one place that writes: data to stdout, everything else to stderr.

`--json` prints exactly one object for a command, whether it works or fails. rich is imported only
where a terminal shows its work.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from vidsampler.errors import VidsamplerError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SOME_FAILED = 3
"""Exit code: finished, but some of several items failed."""
INTERRUPTED = 130
"""Exit code: the user ended it, and what was done stays."""

PLAIN_PROGRESS_SECONDS = 10.0


class StdoutError(OSError):
    """Stdout took no more, so there is nowhere to print a result or an error as JSON."""


@dataclass
class Output:
    """Prints for one run of the command line.

    Attributes:
        json: Print one JSON object in place of text.
        debug: Show tracebacks.
    """

    json: bool = False
    debug: bool = False

    def line(self, text: str = "") -> None:
        """One line of data."""
        _write(f"{printable(text)}\n")

    def raw(self, text: str) -> None:
        """Data as it is, such as a script or a CSV row."""
        _write(text)

    def result(self, data: dict[str, Any]) -> None:
        """The one JSON object; indented only for a person at a terminal.

        Raises:
            ValueError: A number in it is not finite, which JSON cannot say.
        """
        # ASCII escapes keep it valid whatever bytes a file name has and whatever the locale is.
        indent = 2 if _is_terminal(sys.stdout) else None
        _write(json.dumps(data, indent=indent, allow_nan=False) + "\n")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: str = ""
    ) -> None:
        """A table: rich on a terminal, aligned plain text in a pipe.

        Args:
            columns: Headings.
            rows: Cells, one text for each column.
            numbers: One letter for each column, "r" to align right; the rest align left.
        """
        right = [numbers[i : i + 1] == "r" for i in range(len(columns))]
        cells = [[printable(cell) for cell in row] for row in rows]
        if _is_terminal(sys.stdout):
            _rich_table(columns, cells, right)
            return
        table = [list(columns), *cells]
        widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
        for row in table:
            parts = (
                cell.rjust(width) if is_right else cell.ljust(width)
                for cell, width, is_right in zip(row, widths, right, strict=True)
            )
            _write("  ".join(parts).rstrip() + "\n")

    def flush(self) -> None:
        """Hands over what is printed so far; the last chance to learn that it cannot be."""
        _write("", flush=True)

    def note(self, text: str) -> None:
        """One line for a person, to stderr."""
        _say(f"{printable(text)}\n")

    def problem(self, error: VidsamplerError) -> None:
        """An error as text on stderr, with its hint; the run may go on."""
        self.note(f"error: {error.message}")
        if error.hint:
            self.note(f"hint: {error.hint}")
        if self.debug:
            traceback.print_exception(error, file=sys.stderr)

    def failure(self, error: VidsamplerError) -> None:
        """The error that ends the run: JSON on stdout where that was asked for."""
        if self.json:
            self.result({"error": error.to_json()})
            if self.debug:
                traceback.print_exception(error, file=sys.stderr)
        else:
            self.problem(error)

    @contextmanager
    def progress(self, total: int, what: str) -> Iterator[Progress]:
        """A bar with the time left on a terminal, a plain line now and then elsewhere."""
        if total < 2 or not _is_terminal(sys.stderr):
            yield Progress(total, what)
            return
        bar = _rich_bar()
        with bar:
            yield Progress(total, what, bar, bar.add_task(what, total=total, rate=""))


class Progress:
    """How far a run over several items is."""

    def __init__(
        self,
        total: int,
        what: str,
        bar: RichProgress | None = None,
        task: TaskID | None = None,
    ) -> None:
        self._total = total
        self._what = what
        self._bar = bar
        self._task = task
        self._done = 0
        self._begun = self._said = time.monotonic()

    def advance(self, news: str = "") -> None:
        """One item more is done.

        Args:
            news: A few words beside the rate, such as the loss.
        """
        self._done += 1
        if self._bar is not None and self._task is not None:
            rate = self._done / max(1e-9, time.monotonic() - self._begun)
            self._bar.update(self._task, advance=1, rate=f"{rate:.3g}/s {news}".rstrip())
            return
        now = time.monotonic()
        if now - self._said >= PLAIN_PROGRESS_SECONDS and self._done < self._total:
            self._said = now
            rate = self._done / max(1e-9, now - self._begun)
            left = (self._total - self._done) / rate
            words = [f"{self._done}/{self._total} {self._what}", f"{rate:.3g}/s"]
            words += [f"{left:.0f} s left", *([news] if news else [])]
            _say(", ".join(words) + "\n")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes the bar away while something else is printed."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            _write("", flush=True)
            self._bar.start()


class Bar:
    """The progress bar, which appears with the first news."""

    def __init__(self, out: Output, what: str = "videos") -> None:
        self._out = out
        self._what = what
        self._stack = ExitStack()
        self._progress: Progress | None = None
        self._shown = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar away; more news bring a new one."""
        self._stack.close()
        self._progress = None
        self._shown = 0

    def show(self, finished: int, total: int) -> None:
        """So many are finished."""
        if self._progress is None:
            self._progress = self._stack.enter_context(self._out.progress(total, self._what))
        while self._shown < finished:
            self._shown += 1
            self._progress.advance()

    def stopping(self) -> None:
        """The first Ctrl-C."""
        self._out.note("finishing the shard at hand; Ctrl-C again ends at once")


def printable(text: str) -> str:
    """Text with control characters spelled out: a file name must not drive the terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _write(text: str, *, flush: bool = False) -> None:
    try:
        sys.stdout.write(text)
        if flush:
            sys.stdout.flush()
    except OSError as error:
        raise StdoutError(error.errno, error.strerror) from error


def _say(text: str) -> None:
    """To stderr. Where nobody can read it any more, as after a Ctrl-C that ended the other end of
    a pipe too, the work goes on all the same.
    """
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        abandon(sys.stderr)


def abandon(stream: TextIO) -> None:
    """Points a stream nowhere, so that Python's own last flush does not fail once more."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        # A stream without a descriptor, as under a test, has nothing left to flush.
        return


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: list[bool]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, is_right in zip(columns, right, strict=True):
        table.add_column(Text(column), justify="right" if is_right else "left", overflow="fold")
    for row in rows:
        # Text, not str: a file name in square brackets is no markup.
        table.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout, highlight=False).print(table)


def _rich_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )


def as_error(error: Exception) -> VidsamplerError:
    """Any exception as one to show; what is no mistake of the user's is called internal."""
    if isinstance(error, VidsamplerError):
        return error
    if isinstance(error, OSError):
        return VidsamplerError(_os_message(error), code="io")
    return VidsamplerError(
        f"internal error: {type(error).__name__}: {error}",
        hint="run again with --debug and report what it prints, with the output of: vidsampler env",
        code="internal",
    )


def _os_message(error: OSError) -> str:
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
    why = error.strerror or str(error) or type(error).__name__
    return f"{names}: {why}" if names else why
