"""`vidsampler extract`: folders of videos become shards."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsampler import plainyaml
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import Output, Progress
from vidsampler.config import Layer, file_layer, flag_layer, resolve, set_layer, to_plain
from vidsampler.extract import extract, find_videos
from vidsampler.extraction.settings import WHICH, ExtractConfig

if TYPE_CHECKING:
    from vidsampler.shards.run import Report

NAME = "extract"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler extract videos/ shards/\n"
    "  vidsampler extract videos/ shards/ --fps 1 --size 256\n"
    "  vidsampler extract videos/ small/ --config 3fps-224\n"
    "  vidsampler extract videos/ frames/ --config all-frames"
)
SOME_FAILED = 3
INTERRUPTED = 130


def command(
    context: typer.Context,
    videos: Annotated[str, typer.Argument(metavar="VIDEOS", hidden=True)],
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", hidden=True)],
    frames: Annotated[
        Value,
        typer.Option("--frames", metavar="N", help="N frames, evenly spread [default: 16]."),
    ] = None,
    fps: Annotated[
        Value, typer.Option("--fps", metavar="F", help="F frames for each second.")
    ] = None,
    keyframes: Annotated[
        bool, typer.Option("--keyframes", help="The file's keyframes: the quickest.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every frame.")] = False,
    positions: Annotated[
        Value,
        typer.Option(
            "--positions",
            metavar="WHERE",
            help="With --frames: middle or start of each segment [default: middle].",
        ),
    ] = None,
    size: Annotated[
        Value,
        typer.Option(
            "--size",
            metavar="S",
            help="Shorter side in pixels, never enlarged; null: as it is [default: 224].",
        ),
    ] = None,
    quality: Annotated[
        Value, typer.Option("--quality", metavar="Q", help="Of JPEGs, 1 to 100 [default: 90].")
    ] = None,
    store: Annotated[
        Value,
        typer.Option(
            "--store",
            metavar="KIND",
            help="jpeg, or mp4: one H.264 file a video at --fps [default: jpeg].",
        ),
    ] = None,
    crf: Annotated[
        Value, typer.Option("--crf", metavar="C", help="Of mp4, 0 (best) to 51 [default: 23].")
    ] = None,
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
    workers: Annotated[
        Value, typer.Option("--workers", metavar="W", help="Processes [default: automatic].")
    ] = None,
    timeout: Annotated[
        Value,
        typer.Option(
            "--timeout", metavar="SECONDS", help="Give a video up after this long [default: 600]."
        ),
    ] = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Store what decodes of a damaged file.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete what earlier runs made here, and start.")
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Settings: a YAML file, or default, all-frames or 3fps-224.",
        ),
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
    """Store frames of many videos in WebDataset shards, or in folders.

    VIDEOS is a folder, walked through, or one file; OUT is a folder. Running it again does only
    what is missing. What failed is in OUT/errors.jsonl.
    """
    out = output_of(context)
    layers = [file_layer(config, NAME)] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    layers += which_layers(frames, fps, keyframes=keyframes, everything=everything)
    layers += [
        flag_layer("--positions", "positions", positions, "recipe"),
        flag_layer("--size", "size", size, "recipe"),
        flag_layer("--quality", "quality", quality, "recipe"),
        flag_layer("--store", "store", store, "recipe"),
        flag_layer("--crf", "crf", crf, "recipe"),
        flag_layer("--salvage", "salvage", True if salvage else None, "recipe"),
        flag_layer("--layout", "layout", layout),
        flag_layer("--per-shard", "per_shard", per_shard),
        flag_layer("--workers", "workers", workers),
        flag_layer("--timeout", "timeout", timeout),
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


def which_layers(
    frames: str | None, fps: str | None, *, keyframes: bool, everything: bool
) -> list[Layer]:
    """The flags that say which frames; one of them takes the place of what a file says."""
    layers = [
        flag_layer("--frames", "frames", frames, "recipe"),
        flag_layer("--fps", "fps", fps, "recipe"),
        flag_layer("--keyframes", "keyframes", True if keyframes else None, "recipe"),
        flag_layer("--all", "all", True if everything else None, "recipe"),
    ]
    if not any(layer.values for layer in layers):
        return []
    neutral = {"frames": None, "fps": None, "keyframes": False, "all": False}
    assert set(neutral) == set(WHICH)
    return [Layer("{key}", {"recipe": neutral}), *layers]


class Bar:
    """The progress bar, which appears with the first news."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._stack = ExitStack()
        self._progress: Progress | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stack.close()

    def show(self, finished: int, total: int) -> None:
        """One video more is finished."""
        if self._progress is None:
            self._progress = self._stack.enter_context(self._out.progress(total, "videos"))
        self._progress.advance()

    def stopping(self) -> None:
        """The first Ctrl-C."""
        self._out.note("finishing the shard at hand; Ctrl-C again ends at once")


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
