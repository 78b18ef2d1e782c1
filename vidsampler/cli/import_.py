"""`vidsampler import`: a published checkpoint becomes a folder that other commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsampler.checkpoints.names import FAMILIES
from vidsampler.cli import recipes
from vidsampler.cli.options import Debug, Json, Value, output_of
from vidsampler.cli.output import Output
from vidsampler.config import flag_layer, set_layer

if TYPE_CHECKING:
    from vidsampler.checkpoints.importing import Imported

NAME = "import"
EXAMPLE = (
    "\b\nExamples:\n"
    "  vidsampler import trained_model.pth imported/ --top-k 12\n"
    "  vidsampler import clip4clip.bin seq/ --from clip4clip\n"
    "  vidsampler import xpool.pth xpool/ --set head.heads=4"
)


def command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, hidden=True)],
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", show_default=False, hidden=True)],
    family: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SYSTEM",
            help=f"{', '.join(FAMILIES)} [default: by its tensors' names].",
        ),
    ] = None,
    frames: Annotated[
        Value, typer.Option("--frames", metavar="N", help="Candidate frames it was trained with.")
    ] = None,
    top_k: Annotated[
        Value, typer.Option("-k", "--top-k", metavar="K", help="Frames that AdaCLIP keeps.")
    ] = None,
    settings: recipes.Set = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Convert a checkpoint of a published system.

    FILE is a torch file or safetensors of CLIP4Clip, mmSampler, AdaCLIP, X-Pool, T-MASS or
    EMCL-Net. Nothing in it is executed. OUT is a new folder, with the settings, the weights and a
    model card that says what cannot be equal; eval and others take it.
    """
    from vidsampler.checkpoints.importing import import_checkpoint

    out = output_of(context)
    layers = [set_layer(assignment) for assignment in settings or ()]
    layers += [
        flag_layer("--frames", "frames", frames),
        flag_layer("--top-k", "k", top_k, "sampler"),
    ]
    done = import_checkpoint(file, out_folder, family=family, layers=layers)
    if out.json:
        out.result(done.to_json())
    else:
        _print(out, done)


def _print(out: Output, done: Imported) -> None:
    config = done.config
    kept = f", K = {config.sampler.k}" if config.sampler.k is not None else ""
    out.line(
        f"{done.folder}: {done.family}, {done.tensors} tensors, {done.parameters:,} parameters, "
        f"{done.seconds:.1f} s"
    )
    out.line(
        f"backbone {config.backbone.name}, sampler {config.sampler.name}{kept}, head "
        f"{config.head.name}, N = {config.frames}"
    )
    if done.unwrapped:
        out.note("names: a leading module. is gone")
    if done.widened:
        out.note(f"{done.widened} tensors of half precision became float32")
    for key, why in done.left_out.items():
        out.note(f"left out: {key} ({why})")
    for key, (value, why) in done.assumed.items():
        out.note(f"assumed: {key} = {value} ({why}); change it with --set {key}=...")
    for note in done.notes:
        out.note(f"not equal: {note}")
