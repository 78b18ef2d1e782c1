"""`vidsampler extract`: folders of videos become shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsampler import plainyaml
from vidsampler.cli import recipes
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import INTERRUPTED, SOME_FAILED, Bar, Output
from vidsampler.config import file_layer, flag_layer, resolve, set_layer, to_plain
from vidsampler.extract import extract, find_videos
from vidsampler.extraction.layers import one_way
from vidsampler.extraction.settings import ExtractConfig

if TYPE_CHECKING:
    from vidsampler.shards.run import Report

NAME = "extract"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler extract videos/ shards/\n"
    "  vidsampler extract videos/ shards/ --fps 1 --size 256\n"
    "  vidsampler extract list.csv small/ --config 3fps-224\n"
    "  vidsampler extract videos/ frames/ --config all-frames"
)


def command(
    context: typer.Context,
    videos: Annotated[str, typer.Argument(metavar="VIDEOS", hidden=True)],
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", hidden=True)],
    frames: recipes.Frames = None,
    fps: recipes.Fps = None,
    keyframes: recipes.Keyframes = False,
    everything: recipes.All = False,
    positions: recipes.Positions = None,
    size: recipes.Size = None,
    quality: recipes.Quality = None,
    store: recipes.Store = None,
    crf: recipes.Crf = None,
    layout: Annotated[
        Value,
        typer.Option(
            "--layout",
            metavar="KIND",
            help="shards, or folders: STEM/image_00001.jpg [default: shards].",
        ),
    ] = None,
    per_shard: Annotated[
        Value, typer.Option("--per-shard", metavar="N", help="Videos a shard [default: 128].")
    ] = None,
    workers: recipes.Workers = None,
    timeout: recipes.Timeout = None,
    engine: Annotated[
        Value,
        typer.Option("--engine", metavar="NAME", help="local, or ray: a cluster [default: local]."),
    ] = None,
    address: Annotated[
        Value,
        typer.Option("--address", metavar="A", help="Of a Ray cluster [default: one starts here]."),
    ] = None,
    salvage: recipes.Salvage = False,
    retry_failed: recipes.RetryFailed = False,
    overwrite: recipes.Overwrite = False,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Settings: a YAML file, or default, all-frames or 3fps-224.",
        ),
    ] = None,
    settings: recipes.Set = None,
    dry_run: recipes.DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Store frames of many videos in WebDataset shards.

    VIDEOS is a folder, walked through, one file, or a list of files (.txt, .csv or .jsonl); OUT
    is a folder. Running it again does only what is missing. What failed is in OUT/errors.jsonl.
    """
    out = output_of(context)
    layers = [file_layer(config, NAME)] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    layers = one_way(layers, "recipe")
    layers += recipes.recipe_layers(
        frames=frames,
        fps=fps,
        keyframes=keyframes,
        everything=everything,
        positions=positions,
        size=size,
        quality=quality,
        store=store,
        crf=crf,
        salvage=salvage,
        section="recipe",
    )
    layers += [
        flag_layer("--layout", "layout", layout),
        flag_layer("--per-shard", "per_shard", per_shard),
        flag_layer("--workers", "workers", workers),
        flag_layer("--timeout", "timeout", timeout),
        flag_layer("--engine", "engine", engine),
        flag_layer("--address", "address", address),
    ]
    resolved = resolve(ExtractConfig, layers).explicit()
    if dry_run:
        _print_plan(out, resolved, videos, out_folder)
        return
    with Bar(out) as bar:
        report = extract(
            videos,
            out_folder,
            resolved,
            retry_failed=retry_failed,
            overwrite=overwrite,
            progress=bar.show,
            asked_to_stop=bar.stopping,
        )
    print_report(out, report, out_folder)


def print_report(out: Output, report: Report, folder: Path) -> None:
    """The result, and the exit code that it means."""
    if out.json:
        out.result(report.to_json())
    else:
        plain = report.to_json()
        errors = plain.pop("errors")
        rows = [(name, f"{value:,}") for name, value in plain.items()]
        rows += [(f"failed: {name}", f"{value:,}") for name, value in errors.items()]
        out.table(["what", "number"], rows, numbers="lr")
    if report.interrupted:
        out.note("interrupted: run the same command again to go on")
        raise typer.Exit(INTERRUPTED)
    if report.failed:
        out.note(f"{report.failed:,} of {report.videos:,} videos failed: {folder}/errors.jsonl")
        raise typer.Exit(SOME_FAILED)


def _print_plan(out: Output, config: ExtractConfig, videos: str, folder: Path) -> None:
    found = find_videos(videos, folder)
    if out.json:
        out.result({"config": to_plain(config), "videos": list(found.paths), "writes": str(folder)})
        return
    out.raw(plainyaml.dump(to_plain(config)))
    out.line(f"# videos: {len(found.paths):,}")
    for name in list(found.paths)[:10]:
        out.line(f"# video: {name}")
    if len(found.paths) > 10:
        out.line("# ...")
    for error in found.unreadable.values():
        out.line(f"# {error.message}")
    out.line(f"# would write: {folder}")
