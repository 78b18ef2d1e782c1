"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from vidsampler.cli.output import Output

Value = str | None
"""An option's text, read by the config tree, so that a flag, --set and a file have the same rules
and the same errors."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def output_of(context: typer.Context) -> Output:
    """The sink that `main` made for this run."""
    sink = context.obj
    assert isinstance(sink, Output), "commands run through vidsampler.cli.app.main"
    return sink
