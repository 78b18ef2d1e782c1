"""`vidsampler export`: the CLIP of a trained retriever, for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidsampler.checkpoints.names import NAMINGS
from vidsampler.cli.options import Debug, Json, output_of
from vidsampler.errors import UsageError, unknown

NAME = "export"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler export runs/adaclip clip/open_clip_model.safetensors\n"
    "  vidsampler export runs/adaclip clip/model.safetensors --to huggingface"
)
WHICH = ("best", "last")


def command(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", show_default=False, hidden=True)],
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, hidden=True)],
    naming: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TOOL",
            help="openclip, or huggingface: transformers' CLIPModel [default: openclip].",
        ),
    ] = NAMINGS[0],
    which: Annotated[
        str,
        typer.Option("--which", metavar="WHICH", help="Of a run: best or last [default: best]."),
    ] = WHICH[0],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the CLIP of a trained retriever for other tools.

    RUN is a run folder or a checkpoint. FILE ends in .safetensors; a config of the model goes
    beside it. Sampler and head stay behind, as no other tool has them.
    """
    from vidsampler.checkpoints.exporting import export_clip

    out = output_of(context)
    if which not in WHICH:
        raise UsageError(unknown("checkpoint of a run", which, WHICH))
    done = export_clip(run, file, naming=naming, which=which)
    if out.json:
        out.result(done.to_json())
        return
    out.line(f"{done.weights}: {done.tensors} tensors, {done.parameters:,} parameters")
    out.line(f"{done.config}: how {done.backbone} is built")
