"""`vidsampler select`: the frames of a video that matter."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidsampler import plainyaml, registry
from vidsampler.cli.inputs import STDIN, Item, collect, opened
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import Output, StdoutError, as_error
from vidsampler.cli.targets import (
    Target,
    check_inputs_are_kept,
    check_targets,
    plan_targets,
)
from vidsampler.config import SelectConfig, file_layer, flag_layer, resolve, set_layer, to_plain
from vidsampler.errors import UsageError
from vidsampler.lists import is_list
from vidsampler.timecode import format_time

if TYPE_CHECKING:
    from vidsampler.select import Selection

NAME = "select"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler select clip.mp4\n"
    "  vidsampler select clip.mp4 -k 16 --from 1:30 --sheet sheet.png\n"
    "  vidsampler select videos/ --json > kept.json"
)
SOME_FAILED = 3
CSV_HEADER = ("video", "index", "pts", "time", "score")


def command(
    context: typer.Context,
    videos: Annotated[list[str], typer.Argument(metavar="VIDEOS", hidden=True)],
    top_k: Annotated[
        Value, typer.Option("-k", "--top-k", metavar="K", help="Frames to keep [default: 8].")
    ] = None,
    sampler: Annotated[
        Value,
        typer.Option(
            "--sampler",
            metavar="NAME",
            help="Who chooses [default: coverage]; see: vidsampler list samplers.",
        ),
    ] = None,
    candidates: Annotated[
        Value,
        typer.Option(
            "--candidates", metavar="N", help="Frames to look at and choose from [default: 64]."
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
    layers = [file_layer(config, NAME)] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    layers += [
        flag_layer("--top-k", "k", top_k),
        flag_layer("--sampler", "sampler", sampler),
        flag_layer("--candidates", "candidates", candidates),
        flag_layer("--from", "start", start),
        flag_layer("--to", "end", end),
        flag_layer("--seed", "seed", seed),
        flag_layer("--threads", "threads", threads),
        flag_layer("--timeout", "timeout", timeout),
        flag_layer("--salvage", "salvage", True if salvage else None),
    ]
    resolved = resolve(SelectConfig, layers)
    registry.check_training_free(resolved.sampler)
    items = collect(videos)
    # By the words, not by what they hold: a folder gives the same shape of output with one video
    # in it as with ten.
    first_is_many = os.path.isdir(videos[0]) or is_list(videos[0])
    many = len(items) > 1 or len(videos) > 1 or first_is_many
    targets = plan_targets([item.stem for item in items], frames_dir, sheet, many=many)
    check_targets(frames_dir, sheet)
    check_inputs_are_kept([item.name for item in items], targets)
    if dry_run:
        _check_files(items)
        _print_plan(out, resolved, items, targets)
        return
    _Run(out, resolved, as_csv=as_csv, many=many).over(items, targets)


class _Run:
    """One run over the videos: what is printed while it goes, and at its end."""

    def __init__(self, out: Output, config: SelectConfig, *, as_csv: bool, many: bool) -> None:
        self._out = out
        self._config = config
        self._as_csv = as_csv
        self._many = many

    def over(self, items: list[Item], targets: list[Target]) -> None:
        results: list[dict[str, Any]] = []
        failed = 0
        if self._as_csv:
            self._out.raw(_csv_line(CSV_HEADER))
        with self._out.progress(len(items), "videos") as progress:
            for item, target in zip(items, targets, strict=True):
                try:
                    selection = self._one(item, target)
                except Exception as caught:
                    # Whatever happens with one of several videos, the others go on.
                    if len(items) == 1 or isinstance(caught, BrokenPipeError | StdoutError):
                        raise
                    error = as_error(caught)
                    failed += 1
                    with progress.paused():
                        self._out.problem(error)
                    results.append({"video": item.name, "error": error.to_json()})
                else:
                    results.append(selection.to_json())
                    with progress.paused():
                        self._print(item, selection, last=item is items[-1])
                progress.advance()
        if self._out.json:
            self._out.result({"videos": results} if self._many else results[0])
        if failed:
            self._out.note(f"{failed} of {len(items)} videos failed")
            raise typer.Exit(SOME_FAILED)

    def _one(self, item: Item, target: Target) -> Selection:
        """Chooses and writes the frames of one video."""
        from vidsampler.select import make_folder, select

        settings = asdict(self._config)
        if target.sheet is not None:
            make_folder(target.sheet.parent)
        with opened(item) as path:
            selection = select(path, settings.pop("k"), **settings)
            # By the name that the user gave: of standard input the path is nobody's, and other
            # names are shown as they were written.
            reading = {**selection.reading, "path": path}
            selection = replace(selection, video=item.name, reading=reading)
            if target.frames is not None:
                selection.write_frames(target.frames)
            if target.sheet is not None:
                selection.write_sheet(target.sheet)
        return selection

    def _print(self, item: Item, selection: Selection, *, last: bool) -> None:
        out = self._out
        if len(selection.kept) < self._config.k:
            kept = len(selection.kept)
            frames = "frame" if kept == 1 else "frames"
            few = f"{kept} {frames} kept, {self._config.k} were asked for"
            out.note(f"{item.name}: {few}")
        if out.json:
            return
        if self._as_csv:
            for frame in selection.kept:
                score = "" if frame.score is None else f"{frame.score:.6g}"
                out.raw(_csv_line((item.name, frame.index, frame.pts, f"{frame.time:.6f}", score)))
            return
        out.line("standard input" if item.name == STDIN else item.name)
        out.line(
            f"{format_time(selection.duration)} at {selection.fps:.5g} fps; "
            f"{selection.sampler} kept {len(selection.kept)} of {selection.candidates} candidates"
        )
        rows = [
            [
                str(number),
                str(kept.index),
                format_time(kept.time),
                "-" if kept.score is None else f"{kept.score:.4f}",
            ]
            for number, kept in enumerate(selection.kept, 1)
        ]
        out.table(["#", "frame", "time", "score"], rows, numbers="rrrr")
        if not last:
            out.line()


def _csv_line(cells: tuple[Any, ...]) -> str:
    text = io.StringIO()
    # With this line end the writer quotes carriage returns too.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _check_files(items: list[Item]) -> None:
    from vidsampler.video.container import check_file

    for item in items:
        if item.error is not None:
            raise item.error
        if item.name != STDIN:
            check_file(Path(item.name))


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
