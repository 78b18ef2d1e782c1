"""`vidsampler shard`: frames that are already pictures become shards of another cut."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidsampler import plainyaml
from vidsampler.cli.extract import Bar, print_report
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.config import file_layer, flag_layer, resolve, set_layer, to_plain
from vidsampler.packing.settings import ShardConfig
from vidsampler.shard import find_source, shard

NAME = "shard"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler shard shards/ fewer/ --shards 8\n"
    "  vidsampler shard frames/ shards/ --frames 16"
)


def command(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", hidden=True)],
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", hidden=True)],
    per_shard: Annotated[
        Value,
        typer.Option("--per-shard", metavar="N", help="At most N videos a shard [default: 128]."),
    ] = None,
    shards: Annotated[
        Value, typer.Option("--shards", metavar="S", help="S shards of equal numbers of videos.")
    ] = None,
    frames: Annotated[
        Value,
        typer.Option("--frames", metavar="N", help="Keep N frames of each, evenly spread."),
    ] = None,
    positions: Annotated[
        Value,
        typer.Option(
            "--positions",
            metavar="WHERE",
            help="With --frames: middle or start of each segment [default: middle].",
        ),
    ] = None,
    workers: Annotated[
        Value, typer.Option("--workers", metavar="W", help="Processes [default: automatic].")
    ] = None,
    timeout: Annotated[
        Value,
        typer.Option(
            "--timeout", metavar="SECONDS", help="Give a video up after this long [default: 600]."
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete what earlier runs made here, and start.")
    ] = False,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Settings: a YAML file.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings and the plan; write nothing.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Pack frames that are already pictures into shards.

    SOURCE is a folder of shards, or of folders of pictures (VIDEO/image_00001.jpg); OUT is a
    folder. The pictures are copied as they are.
    """
    out = output_of(context)
    layers = [file_layer(config, NAME)] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    layers += [
        flag_layer("--per-shard", "per_shard", per_shard),
        flag_layer("--shards", "shards", shards),
        flag_layer("--frames", "frames", frames),
        flag_layer("--positions", "positions", positions),
        flag_layer("--workers", "workers", workers),
        flag_layer("--timeout", "timeout", timeout),
    ]
    resolved = resolve(ShardConfig, layers)
    if dry_run:
        found = find_source(source)
        plain = to_plain(resolved)
        if out.json:
            out.result({"config": plain, "videos": list(found.origins), "writes": str(out_folder)})
            return
        out.raw(plainyaml.dump(plain))
        out.line(f"# {found.kind}: {len(found.origins):,} videos")
        out.line(f"# would write: {out_folder}")
        return
    with Bar(out) as bar:
        report = shard(
            source,
            out_folder,
            resolved,
            retry_failed=retry_failed,
            overwrite=overwrite,
            progress=bar.show,
            asked_to_stop=bar.stopping,
        )
    print_report(out, report, out_folder)
