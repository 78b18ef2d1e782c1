"""`vidsampler flops`: what a video costs, in multiply-adds and in time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsampler.cli import recipes
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import Output
from vidsampler.config import file_layer, flag_layer, set_layer
from vidsampler.errors import UsageError, unknown

if TYPE_CHECKING:
    from vidsampler.flops import Flops
    from vidsampler.latency import Latency

NAME = "flops"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler flops --method mmsampler --frames 16 --kept 11.031\n"
    "  vidsampler flops --method adaclip --kept 12 --accounting published\n"
    "  vidsampler flops --method adaclip --kept 8 --latency\n"
    "  vidsampler flops runs/shapes-adaclip --latency"
)


def command(
    context: typer.Context,
    checkpoint: Annotated[
        str | None,
        typer.Argument(metavar="[CHECKPOINT]", help="A run or a folder of weights, as it is."),
    ] = None,
    method: Annotated[
        Value,
        typer.Option(
            "--method", metavar="NAME", help="See: vidsampler list methods. [default: clip4clip]"
        ),
    ] = None,
    backbone: Annotated[
        Value,
        typer.Option("--backbone", metavar="NAME", help="An open_clip model [default: as METHOD]."),
    ] = None,
    frames: Annotated[
        Value,
        typer.Option("--frames", metavar="N", help="Candidate frames [default: as METHOD]."),
    ] = None,
    kept: Annotated[
        float | None,
        typer.Option(
            "--kept", metavar="K", help="Kept frames, such as 11.031 [default: N].", min=0
        ),
    ] = None,
    sampler: Annotated[
        Value, typer.Option("--sampler", metavar="NAME", help="Another sampler.")
    ] = None,
    head: Annotated[Value, typer.Option("--head", metavar="NAME", help="Another head.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="NAME", help="The method as it is on a dataset."),
    ] = None,
    accounting: Annotated[
        str,
        typer.Option(
            "--accounting",
            metavar="HOW",
            help="counted, or published: the papers' constants.",
        ),
    ] = "counted",
    latency: Annotated[
        bool, typer.Option("--latency", help="Measure the time too, on this machine.")
    ] = False,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Settings: a YAML file.")
    ] = None,
    settings: recipes.Set = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Count what a video costs, in multiply-adds.

    No weights are needed. The image tower sees K frames, the sampler N. One multiply-add is two
    FLOPs; the GFLOPs of the papers are multiply-adds.
    """
    from vidsampler.flops import ACCOUNTINGS, flops
    from vidsampler.methods import method_config

    out = output_of(context)
    chosen = next((each for each in ACCOUNTINGS if each == accounting), None)
    if chosen is None:
        raise UsageError(unknown("accounting", accounting, ACCOUNTINGS))
    layers = [file_layer(config, "methods")] if config is not None else []
    layers += [set_layer(assignment) for assignment in settings or ()]
    layers += [
        flag_layer("--backbone", "name", backbone, "backbone"),
        flag_layer("--frames", "frames", frames),
        flag_layer("--sampler", "name", sampler, "sampler"),
        flag_layer("--head", "name", head, "head"),
    ]
    if sampler == "topk":
        # Any K does: what it costs is said by --kept.
        layers.insert(0, flag_layer("", "k", "1", "sampler"))
    if checkpoint is not None:
        if method is not None or dataset is not None:
            raise UsageError("a checkpoint has its own settings; leave --method and --dataset out")
        from vidsampler.retriever_files import saved_config
        from vidsampler.run_folder import weights_folder

        resolved = saved_config(weights_folder(Path(checkpoint), "best"), layers)
    else:
        resolved = method_config(method or "clip4clip", dataset, layers)
    if kept is None and resolved.sampler.k is not None and checkpoint is not None:
        kept = min(resolved.sampler.k, resolved.frames)
    counted = flops(resolved, kept=kept, accounting=chosen)
    timed = None
    if latency:
        from vidsampler.latency import measure

        timed = measure(resolved, max(1, round(counted.kept)))
    if out.json:
        name = (method or "clip4clip") if checkpoint is None else checkpoint
        report = counted.to_json(name, resolved.backbone.name)
        out.result(report if timed is None else {**report, "latency": timed.to_json()})
        return
    _print(out, counted)
    if timed is not None:
        out.line()
        _print_latency(out, timed)


def _print(out: Output, counted: Flops) -> None:
    rows = []
    for name, gmacs in counted.parts().items():
        seen = counted.encoded if name == "backbone" else counted.frames
        rows.append(
            [
                name.replace("_", " "),
                f"{gmacs:.5f}",
                f"{2 * gmacs:.5f}",
                f"{seen:g}",
                f"{seen * gmacs:.3f}",
            ]
        )
    rows.append(["a video", "", "", "", f"{counted.per_video:.3f}"])
    out.table(
        ["part", "GMACs/frame", "GFLOPs/frame", "frames", "GMACs/video"], rows, numbers="lrrrr"
    )
    out.line(
        f"{counted.per_video:.3f} GMACs = {2 * counted.per_video:.3f} GFLOPs a video "
        f"({counted.accounting}); K = {counted.kept:g} of N = {counted.frames}"
    )
    out.line(
        f"beside: {counted.retrieval_head:.6f} GMACs for a text and a video in the head, "
        f"{counted.text:.3f} for a text"
    )


def _print_latency(out: Output, timed: Latency) -> None:
    rows = [[name, f"{value:.1f}"] for name, value in timed.parts_ms.items()]
    rows.append([f"{timed.kept} of {timed.frames} frames", f"{timed.kept_only_ms:.1f}"])
    rows.append([f"all {timed.frames} frames", f"{timed.all_frames_ms:.1f}"])
    out.table(["part", "ms/video"], rows, numbers="lr")
    out.line(
        f"{timed.ratio:.2f} of the time of all frames, on {timed.device}, {timed.precision}, "
        f"{timed.videos} videos a batch, random weights, medians of {timed.repeats}"
    )
    if timed.ratio >= 1:
        out.line("fewer operations, but no less time: the extractor costs more than it saves")
