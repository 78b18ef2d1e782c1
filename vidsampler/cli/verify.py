"""`vidsampler verify`: shards are read back, and what is damaged is named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidsampler.cli import recipes
from vidsampler.cli.options import Debug, Json, output_of
from vidsampler.cli.output import SOME_FAILED, Bar
from vidsampler.errors import UsageError
from vidsampler.verify import verify

NAME = "verify"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler verify shards/\n"
    "  vidsampler verify shards/ --repair && vidsampler extract videos/ shards/"
)


def command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="SHARDS", hidden=True)],
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Put damaged shards aside, for extract to make again."),
    ] = False,
    workers: recipes.Workers = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Read shards back and name what is damaged.

    SHARDS is what extract or shard made. Every byte is compared, every picture decoded.
    """
    out = output_of(context)
    if workers is not None and not workers.isdecimal():
        raise UsageError(f"--workers takes a number, not {workers!r}")
    with Bar(out, "shards") as bar:
        result = verify(
            folder,
            repair=repair,
            workers=None if workers is None else int(workers),
            progress=bar.show,
        )
    if out.json:
        out.result(result.to_json())
    else:
        plain = result.to_json()
        rows = [
            (name, f"{plain[name]:,}")
            for name in ("shards", "samples", "frames", "bytes", "seconds")
        ]
        out.table(["what", "number"], rows, numbers="lr")
        if result.findings:
            out.line()
            out.table(
                ["shard", "class", "what is wrong"],
                [(each.shard, each.kind, each.message) for each in result.findings],
            )
    if not result.findings:
        return
    shards = {finding.shard for finding in result.findings}
    count = len(result.findings)
    findings = "finding" if count == 1 else "findings"
    out.note(f"{count:,} {findings}; shards: {len(shards):,} of {result.shards:,}")
    if result.repaired:
        out.note(
            f"put aside: {len(result.repaired):,}; run the command that made them again, and they "
            "are made again"
        )
    elif repair:
        out.note("nothing there that could be made again by its plan: copy it again")
    else:
        out.note("hint: add --repair, and run the command that made them again")
    raise typer.Exit(SOME_FAILED)
