"""`vidsampler embed`: a folder of videos becomes an index to search in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsampler import plainyaml
from vidsampler.cli import recipes
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import INTERRUPTED, SOME_FAILED, Bar, Output
from vidsampler.config import file_layer, flag_layer, set_layer

if TYPE_CHECKING:
    from vidsampler.embed import EmbedReport
    from vidsampler.search.plan import EmbedPlan

NAME = "embed"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler embed videos/ index/ --checkpoint runs/mine\n"
    "  vidsampler embed videos/ index/\n"
    "  vidsampler embed videos/ index/ --backbone ViT-B-16-quickgelu -k 12"
)


def command(
    context: typer.Context,
    videos: Annotated[Path, typer.Argument(metavar="VIDEOS", hidden=True)],
    index: Annotated[Path, typer.Argument(metavar="INDEX", hidden=True)],
    checkpoint: Annotated[
        Value,
        typer.Option("--checkpoint", metavar="DIR", help="A run of train, or a checkpoint."),
    ] = None,
    which: Annotated[
        Value, typer.Option("--which", metavar="NAME", help="best or last of it [default: best].")
    ] = None,
    backbone: Annotated[
        Value,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="Without a checkpoint: an open_clip model [default: ViT-B-32-quickgelu].",
        ),
    ] = None,
    pretrained: Annotated[
        Value, typer.Option("--pretrained", metavar="TAG", help="Its weights: a tag or a file.")
    ] = None,
    sampler: Annotated[
        Value,
        typer.Option(
            "--sampler",
            metavar="NAME",
            help="Who chooses frames [default: the checkpoint's, or uniform].",
        ),
    ] = None,
    top_k: Annotated[
        Value,
        typer.Option(
            "-k", "--top-k", metavar="K", help="Frames to keep [default: the checkpoint's, or 8]."
        ),
    ] = None,
    frames: Annotated[
        Value,
        typer.Option("--frames", metavar="N", help="Candidate frames to choose from."),
    ] = None,
    device: Annotated[
        Value, typer.Option("--device", metavar="NAME", help="cpu or cuda [default: cuda if any].")
    ] = None,
    workers: Annotated[
        Value,
        typer.Option("--workers", metavar="W", help="Decoding processes [default: automatic]."),
    ] = None,
    timeout: recipes.Timeout = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Use what decodes of a damaged file.")
    ] = False,
    retry_failed: recipes.RetryFailed = False,
    overwrite: recipes.Overwrite = False,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="Settings: a YAML file, as INDEX has one."),
    ] = None,
    settings: recipes.Set = None,
    dry_run: recipes.DryRun = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make an index of your own videos, or bring it up to date.

    VIDEOS is a folder of videos, walked through, or of shards; INDEX is a folder. Running it again
    adds what is new, redoes what has changed, drops what is gone, and needs no options. What failed
    is in INDEX/errors.jsonl.
    """
    from vidsampler.embed import embed

    out = output_of(context)
    layers = [file_layer(config, NAME)] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    layers += [
        flag_layer("--checkpoint", "checkpoint", checkpoint),
        flag_layer("--which", "which", which),
        flag_layer("--backbone", "name", backbone, "backbone"),
        flag_layer("--pretrained", "pretrained", pretrained, "backbone"),
        flag_layer("--sampler", "name", sampler, "sampler"),
        flag_layer("--top-k", "k", top_k, "sampler"),
        flag_layer("--frames", "frames", frames),
        flag_layer("--device", "device", device, "index"),
        flag_layer("--workers", "workers", workers, "index"),
        flag_layer("--timeout", "timeout", timeout, "index"),
        flag_layer("--salvage", "salvage", True if salvage else None, "index"),
    ]
    if dry_run:
        from vidsampler.search.plan import plan_embed

        plan = plan_embed(videos, index, layers, retry_failed=retry_failed, overwrite=overwrite)
        _print_plan(out, plan)
        return
    with Bar(out) as bar:
        report = embed(
            videos,
            index,
            layers=layers,
            retry_failed=retry_failed,
            overwrite=overwrite,
            progress=bar.show,
            asked_to_stop=lambda: out.note("writing the index; Ctrl-C again ends at once"),
        )
    _print_report(out, report, index)


def _print_report(out: Output, report: EmbedReport, index: Path) -> None:
    plain = report.to_json()
    if out.json:
        out.result(plain)
    else:
        errors = plain.pop("errors")
        rows = [(name, f"{value:,}") for name, value in plain.items()]
        rows += [(f"failed: {name}", f"{value:,}") for name, value in errors.items()]
        out.table(["what", "number"], rows, numbers="lr")
    if not report.texts:
        out.note(
            "note: its model reads no captions: ask this index by a video, "
            f"vidsampler search {index} --like FILE"
        )
    if report.interrupted:
        out.note("interrupted: run the same command again to go on")
        raise typer.Exit(INTERRUPTED)
    if report.failed:
        out.note(f"{report.failed:,} of {report.videos:,} videos failed: {index}/errors.jsonl")
        raise typer.Exit(SOME_FAILED)


def _print_plan(out: Output, plan: EmbedPlan) -> None:
    numbers = {
        "videos": len(plan.sources),
        "embed": len(plan.todo),
        "drop": len(plan.gone),
        "failed": len(plan.failed),
    }
    if out.json:
        out.result({"config": plan.config.to_plain(), **numbers, "writes": str(plan.index)})
        return
    out.raw(plainyaml.dump(plan.config.to_plain()))
    for name, number in numbers.items():
        out.line(f"# {name}: {number:,}")
    for error in plan.unreadable.values():
        out.line(f"# {error.message}")
    out.line(f"# would write: {plan.index}")
