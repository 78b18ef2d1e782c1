"""`vidsampler list`: everything registered, by kind."""

from __future__ import annotations

from typing import Annotated

import typer

from vidsampler import registry
from vidsampler.cli.options import Debug, Json, output_of

NAME = "list"
EXAMPLE = "\b\nExample:\n  vidsampler list samplers"


def command(
    context: typer.Context,
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", show_default=False, hidden=True),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List what is registered, by kind.

    KIND is one of samplers, heads, backbones, methods, datasets; all of them by default.
    """
    out = output_of(context)
    kinds = registry.KINDS if kind is None else (kind,)
    found = {
        each: {name: registry.entry(each, name).summary for name in registry.names(each)}
        for each in kinds
    }
    if out.json:
        out.result(found)
        return
    rows = [
        [each, name, summary]
        for each, entries in found.items()
        for name, summary in entries.items()
    ]
    if rows:
        out.table(["kind", "name", "what it is"], rows)
    empty = [each for each, entries in found.items() if not entries]
    if empty:
        out.note(f"none yet: {', '.join(empty)}")
