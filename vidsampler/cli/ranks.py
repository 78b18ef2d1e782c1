"""What commands with --nproc have in common: one process speaks, and the exit code is right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from vidsampler.cli.output import Output, as_error


def leads() -> bool:
    """Whether this process talks to the user: of several the first one does."""
    from vidsampler.training.launch import under_torchrun

    return not under_torchrun() or os.environ["RANK"] == "0"


def one_speaks(out: Output) -> None:
    """Of several processes one prints the JSON object; errors of the others are text."""
    if not leads():
        out.json = False


def start(processes: int) -> int | None:
    """Runs this very command in several processes, where they are wanted and not there yet.

    Returns:
        Its exit code; None: this process is to do the work.

    Raises:
        VidsamplerError: Of the process that failed first.
    """
    from vidsampler.training.launch import launch, under_torchrun

    return launch(sys.argv[1:], processes) if processes > 1 and not under_torchrun() else None


@contextmanager
def leaving_errors(out: Output) -> Iterator[None]:
    """Around the work of a process: an error is left to `start`, if that began the process."""
    from vidsampler.training.launch import leave_error

    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        known = as_error(error)
        if not leave_error(known):
            raise
        if out.debug:
            out.problem(known)
        raise typer.Exit(known.exit_code) from error


def end(code: int) -> None:
    """Ends the command with an exit code that is no failure, such as 3.

    Of several processes, who started them says so: torchrun takes it for a failure.

    Raises:
        typer.Exit: This is the only process.
    """
    from vidsampler.training.launch import leave_code, under_torchrun

    if not under_torchrun():
        raise typer.Exit(code)
    leave_code(code)
