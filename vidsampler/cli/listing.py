"""`vidsampler list`: everything registered, by kind."""

from __future__ import annotations

from typing import Annotated

import typer

from vidsampler import registry
from vidsampler.cli.options import Debug, Json, output_of
from vidsampler.cli.output import Output
from vidsampler.errors import UsageError, unknown

NAME = "list"
EXAMPLE = "\b\nExamples:\n  vidsampler list samplers\n  vidsampler list runs"

RUNS = "runs"
KINDS = (*registry.KINDS, RUNS)


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

    KIND is one of samplers, heads, backbones, methods, datasets; all of them by default. Or it is
    runs: the published ones, for train --run, with their figures (text to video).
    """
    out = output_of(context)
    if kind == RUNS:
        _print_runs(out)
        return
    if kind is not None and kind not in registry.KINDS:
        raise UsageError(unknown("kind", kind, KINDS), hint="see: vidsampler list -h")
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


def _print_runs(out: Output) -> None:
    from dataclasses import asdict

    from vidsampler.runs import published_run, run_names

    runs = {name: published_run(name) for name in run_names()}
    if out.json:
        plain = {
            name: {
                "method": run.method,
                "dataset": run.dataset,
                "sampler_from": run.sampler_from,
                "published": [asdict(figures) for figures in run.figures()],
            }
            for name, run in runs.items()
        }
        out.result({RUNS: plain})
        return
    rows = []
    for name, run in runs.items():
        # Of figures in several tables, the first.
        figures = next(iter(run.figures()), None)
        recalls = [] if figures is None else [figures.t2v.get(k) for k in ("R@1", "R@10")]
        gmacs = None if figures is None else figures.gmacs_per_video
        cells = ["" if each is None else f"{each:.1f}" for each in (*recalls, gmacs)]
        rows.append([name, run.method, *(cells if recalls else [""] * 3)])
    out.table(["run", "method", "R@1", "R@10", "GMACs"], rows, numbers="llrrr")
