"""`vidsampler shard`: frames meet their captions, or become shards of another cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidsampler import plainyaml
from vidsampler.cli import recipes
from vidsampler.cli.extract import print_report
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import INTERRUPTED, SOME_FAILED, Bar, Output
from vidsampler.config import Layer, file_layer, flag_layer, resolve, set_layer, to_plain
from vidsampler.errors import UsageError
from vidsampler.packing.settings import ShardConfig

if TYPE_CHECKING:
    from vidsampler.joined import Joined
    from vidsampler.shard import Source

NAME = "shard"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler shard videos/ msrvtt/ --dataset msrvtt --annotations msrvtt_data/\n"
    "  vidsampler shard shards/ fewer/ --shards 8\n"
    "  vidsampler shard frames/ shards/ --frames 16"
)


def command(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", hidden=True)],
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", hidden=True)],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="NAME", help="Join captions; see: vidsampler list datasets."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            metavar="DIR",
            help="Folder of the annotation files [default: SOURCE].",
        ),
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option("--splits", metavar="A,B", help="Only these splits [default: all]."),
    ] = None,
    rate: Annotated[
        Value,
        typer.Option(
            "--rate", metavar="R", help="Pictures a second, of folders that do not say it."
        ),
    ] = None,
    per_shard: Annotated[
        Value,
        typer.Option("--per-shard", metavar="N", help="At most N videos a shard [default: 128]."),
    ] = None,
    shards: Annotated[
        Value, typer.Option("--shards", metavar="S", help="S shards of equal numbers of videos.")
    ] = None,
    frames: Annotated[
        Value,
        typer.Option(
            "--frames",
            metavar="N",
            help="Keep N frames of each, evenly spread [default: as there are].",
        ),
    ] = None,
    fps: recipes.Fps = None,
    keyframes: recipes.Keyframes = False,
    everything: recipes.All = False,
    positions: recipes.Positions = None,
    size: recipes.Size = None,
    quality: recipes.Quality = None,
    store: recipes.Store = None,
    crf: recipes.Crf = None,
    salvage: recipes.Salvage = False,
    workers: recipes.Workers = None,
    timeout: recipes.Timeout = None,
    retry_failed: recipes.RetryFailed = False,
    overwrite: recipes.Overwrite = False,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Settings: a YAML file.")
    ] = None,
    settings: recipes.Set = None,
    dry_run: recipes.DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make shards of a dataset, or shards of another cut.

    SOURCE is a folder of shards, of folders of pictures (VIDEO/image_00001.jpg), or, with
    --dataset, of videos; OUT is a folder. Pictures are copied as they are. --fps, --size and the
    like are for videos.
    """
    from vidsampler.join import join, join_config
    from vidsampler.shard import find_any_source, find_source, shard

    out = output_of(context)
    layers = [file_layer(config, NAME)] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    joins = dataset is not None or any("dataset" in layer.values for layer in layers)
    if not joins and (annotations or splits or rate):
        raise UsageError(
            "--annotations, --splits and --rate need a dataset", hint="such as --dataset msrvtt"
        )
    found = find_any_source(source, leave_out=out_folder) if joins else find_source(source)
    recipe = recipes.recipe_layers(
        frames=frames if found.kind == "videos" else None,
        fps=fps,
        keyframes=keyframes,
        everything=everything,
        positions=positions if found.kind == "videos" else None,
        size=size,
        quality=quality,
        store=store,
        crf=crf,
        salvage=salvage,
    )
    if found.kind == "videos":
        frames = positions = None
    else:
        _refuse_recipe(found, recipe)
    layers += [
        flag_layer("--per-shard", "per_shard", per_shard),
        flag_layer("--shards", "shards", shards),
        flag_layer("--frames", "frames", frames),
        flag_layer("--positions", "positions", positions),
        flag_layer("--workers", "workers", workers),
        flag_layer("--timeout", "timeout", timeout),
    ]
    if not joins:
        resolved = resolve(ShardConfig, layers)
        if dry_run:
            _print_plan(out, found, to_plain(resolved), out_folder)
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
        return
    layers.append(flag_layer("--rate", "rate", rate))
    if splits is not None:
        names = [name.strip() for name in splits.split(",") if name.strip()]
        if not names:
            raise UsageError("--splits names no split", hint="such as --splits train,val")
        layers.append(Layer("--splits", {"splits": names}))
    wanted = join_config(dataset, layers, recipe)
    if dry_run:
        _print_plan(out, found, wanted.to_plain(), out_folder)
        return
    with Bar(out) as bar:
        joined = join(
            source,
            out_folder,
            annotations,
            wanted,
            retry_failed=retry_failed,
            overwrite=overwrite,
            progress=bar.show,
            asked_to_stop=bar.stopping,
        )
    _print_joined(out, joined, out_folder)


def _refuse_recipe(found: Source, recipe: list[Layer]) -> None:
    """Pictures are copied: what would change them has no effect."""
    for layer in recipe:
        if layer.values:
            raise UsageError(
                f"{layer.place} is for videos; {found.folder} holds {found.kind}, whose pictures "
                "are copied as they are",
                hint="run extract again for other pictures",
            )


def _print_joined(out: Output, joined: Joined, folder: Path) -> None:
    if out.json:
        out.result(joined.to_json())
    else:
        names = ["videos", "captions", "missing", "unreadable", "shards"]
        rows = [
            [name, *(f"{counts[each]:,}" for each in names)]
            for name, counts in joined.to_json()["splits"].items()
        ]
        out.table(["split", *names], rows, numbers="lrrrrr")
    for line in joined.differences:
        out.note(line)
    for name, count in joined.notes.items():
        out.note(f"{name.replace('_', ' ')}: {count:,}")
    short = sum(len(split.short) for split in joined.splits.values())
    if short:
        out.note(f"{short:,} videos have fewer frames than candidates are wanted: dataset.json")
    missing = sum(len(split.missing) for split in joined.splits.values())
    if missing:
        out.note(f"{missing:,} videos are missing: {folder}/dataset.json names them")
    if joined.interrupted:
        out.note("interrupted: run the same command again to go on")
        raise typer.Exit(INTERRUPTED)
    if joined.failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(joined.errors.items()))
        out.note(f"{joined.failed:,} videos failed ({kinds}): {folder}/*/errors.jsonl")
        raise typer.Exit(SOME_FAILED)


def _print_plan(out: Output, found: Source, plain: dict[str, Any], folder: Path) -> None:
    if out.json:
        out.result({"config": plain, "videos": list(found.origins), "writes": str(folder)})
        return
    out.raw(plainyaml.dump(plain))
    out.line(f"# {found.kind}: {len(found.origins):,} videos")
    out.line(f"# would write: {folder}")
