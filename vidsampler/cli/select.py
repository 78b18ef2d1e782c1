"""`vidsampler select`: the frames of a video that matter."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vidsampler import plainyaml, registry
from vidsampler.cli.inputs import Item, collect
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import Output
from vidsampler.cli.select_run import Run, Wishes, check_files
from vidsampler.cli.targets import (
    Target,
    check_inputs_are_kept,
    check_targets,
    plan_targets,
)
from vidsampler.config import (
    Layer,
    SelectConfig,
    file_layer,
    flag_layer,
    resolve,
    set_layer,
    to_plain,
)
from vidsampler.errors import UsageError
from vidsampler.handover import check_format
from vidsampler.lists import is_list

NAME = "select"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler select clip.mp4\n"
    "  vidsampler select clip.mp4 -k 16 --from 1:30 --sheet sheet.png\n"
    "  vidsampler select clip.mp4 --query 'a dog' --backbone ViT-B-32-quickgelu\n"
    "  vidsampler select clip.mp4 --for qwen3-vl --frames-dir kept > message.json\n"
    "  vidsampler select videos/ --json > kept.json"
)


def command(
    context: typer.Context,
    videos: Annotated[list[str], typer.Argument(metavar="VIDEOS", hidden=True)],
    top_k: Annotated[
        Value,
        typer.Option(
            "-k",
            "--top-k",
            metavar="K",
            help="Frames to keep [default: the checkpoint's, or 8].",
        ),
    ] = None,
    sampler: Annotated[
        Value,
        typer.Option(
            "--sampler",
            metavar="NAME",
            help="Who chooses [default: coverage]; see: vidsampler list samplers.",
        ),
    ] = None,
    checkpoint: Annotated[
        Value,
        typer.Option(
            "--checkpoint", metavar="RUN", help="The sampler that this run of train has learned."
        ),
    ] = None,
    candidates: Annotated[
        Value,
        typer.Option(
            "--candidates",
            metavar="N",
            help="Frames to look at [default: the checkpoint's, or 64].",
        ),
    ] = None,
    start: Annotated[
        Value,
        typer.Option("--from", metavar="TIME", help="Start here: seconds, mm:ss or hh:mm:ss.s."),
    ] = None,
    end: Annotated[Value, typer.Option("--to", metavar="TIME", help="End here.")] = None,
    frames_dir: Annotated[
        Path | None,
        typer.Option(
            "--frames-dir",
            metavar="DIR",
            help="Write the kept frames here at full size; several videos get a folder each.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE",
            help="Write a contact sheet (png, jpg, webp); several videos get FILE-STEM.png each.",
        ),
    ] = None,
    sheet_all: Annotated[
        bool,
        typer.Option("--sheet-all", help="Show all candidates on it, the kept ones marked."),
    ] = False,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query",
            metavar="TEXT",
            help="Keep frames that show this; may be repeated. Needs --backbone; samplers: mdp3 "
            "(default), aks, bolt, topscore.",
        ),
    ] = None,
    backbone: Annotated[
        Value,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="Image-text model for --query: an open_clip model, or the path of one.",
        ),
    ] = None,
    pretrained: Annotated[
        Value,
        typer.Option(
            "--pretrained", metavar="TAG", help="Its weights: a tag or a file [default: auto]."
        ),
    ] = None,
    precision: Annotated[
        Value, typer.Option("--precision", metavar="P", help="fp32, bf16 or auto [default: fp32].")
    ] = None,
    min_gap: Annotated[
        Value,
        typer.Option(
            "--min-gap", metavar="SECONDS", help="Frames for --query are so far apart [default: 0]."
        ),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Do not keep features for the next --query."),
    ] = False,
    hand_over: Annotated[
        Value,
        typer.Option(
            "--for",
            metavar="MODEL",
            help="Print message content with frames and times: qwen3-vl, qwen2.5-vl, openai, "
            "anthropic or gemini.",
        ),
    ] = None,
    max_width: Annotated[
        int | None,
        typer.Option(
            "--max-width",
            metavar="PIXELS",
            help="Make wider frames of --frames-dir and --for smaller.",
        ),
    ] = None,
    json: Json = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print video,index,pts,time,score lines.")
    ] = False,
    seed: Annotated[
        Value, typer.Option("--seed", metavar="S", help="For random samplers [default: 0].")
    ] = None,
    threads: Annotated[
        Value, typer.Option("--threads", metavar="T", help="Decoding threads [default: automatic].")
    ] = None,
    timeout: Annotated[
        Value,
        typer.Option("--timeout", metavar="SECONDS", help="Give a video up after this long."),
    ] = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Use what decodes of a damaged file.")
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="FILE", help="Settings: a YAML file, or default or quick."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings and the plan; write nothing.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Print the frames of a video that are worth keeping.

    VIDEOS are video files, folders of videos, lists of files (.txt, .csv, .jsonl), or - for
    standard input. Flags win over --set, and --set over --config.
    """
    out = output_of(context)
    if json and as_csv:
        raise UsageError("choose one of --json and --csv")
    wishes = _wishes(as_csv, hand_over, max_width, sheet_all, frames_dir, sheet)
    layers = [file_layer(config, NAME)] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    layers += [
        flag_layer("--top-k", "k", top_k),
        flag_layer("--sampler", "sampler", sampler),
        flag_layer("--checkpoint", "checkpoint", checkpoint),
        flag_layer("--candidates", "candidates", candidates),
        flag_layer("--from", "start", start),
        flag_layer("--to", "end", end),
        flag_layer("--seed", "seed", seed),
        flag_layer("--threads", "threads", threads),
        flag_layer("--timeout", "timeout", timeout),
        flag_layer("--salvage", "salvage", True if salvage else None),
        Layer("--query", {"query": query} if query else {}),
        flag_layer("--backbone", "backbone", backbone),
        flag_layer("--pretrained", "pretrained", pretrained),
        flag_layer("--precision", "precision", precision),
        flag_layer("--min-gap", "min_gap", min_gap),
        flag_layer("--no-cache", "cache", False if no_cache else None),
    ]
    resolved = resolve(SelectConfig, layers).explicit()
    if resolved.sampler is not None:
        registry.check_ready(resolved.sampler, question=bool(resolved.query))
    items = collect(videos)
    # By the words, not by what they hold: a folder gives the same shape of output with one video
    # in it as with ten.
    first_is_many = os.path.isdir(videos[0]) or is_list(videos[0])
    many = len(items) > 1 or len(videos) > 1 or first_is_many
    targets = plan_targets([item.stem for item in items], frames_dir, sheet, many=many)
    check_targets(frames_dir, sheet)
    check_inputs_are_kept([item.name for item in items], targets)
    if dry_run:
        check_files(items)
        _print_plan(out, resolved, items, targets)
        return
    Run(out, resolved, wishes, many=many).over(items, targets)


def _wishes(
    as_csv: bool,
    hand_over: str | None,
    max_width: int | None,
    sheet_all: bool,
    frames_dir: Path | None,
    sheet: Path | None,
) -> Wishes:
    """What is to come out; what would do nothing is an error."""
    if hand_over is not None:
        check_format(hand_over)
        if as_csv:
            raise UsageError("choose one of --for and --csv")
    if max_width is not None and max_width < 1:
        raise UsageError(f"--max-width must be at least 1 pixel, not {max_width}")
    if max_width is not None and hand_over is None and frames_dir is None:
        raise UsageError("--max-width is for the frames of --frames-dir or --for")
    if sheet_all and sheet is None:
        raise UsageError("--sheet-all is about the contact sheet", hint="add --sheet sheet.png")
    return Wishes(as_csv, hand_over, max_width, sheet_all)


def _print_plan(
    out: Output, config: SelectConfig, items: list[Item], targets: list[Target]
) -> None:
    """The settings as YAML that --config takes back, the plan as comments after them."""
    writes = [str(path) for each in targets for path in (each.frames, each.sheet) if path]
    if out.json:
        videos = [item.name for item in items if item.error is None]
        out.result({"config": to_plain(config), "videos": videos, "writes": writes})
        return
    out.raw(plainyaml.dump(to_plain(config)))
    for item in items:
        out.line(f"# video: {item.name}" if item.error is None else f"# {item.error.message}")
    for path in writes:
        out.line(f"# would write: {path}")
