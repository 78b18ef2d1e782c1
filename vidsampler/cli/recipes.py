"""Options of `extract` and `shard` that say which frames are stored, and how."""

from __future__ import annotations

from typing import Annotated

import typer

from vidsampler.cli.options import Value
from vidsampler.config import Layer, flag_layer
from vidsampler.extraction.layers import unsaid

Frames = Annotated[
    Value, typer.Option("--frames", metavar="N", help="N frames, evenly spread [default: 16].")
]
Fps = Annotated[Value, typer.Option("--fps", metavar="F", help="F frames for each second.")]
Keyframes = Annotated[bool, typer.Option("--keyframes", help="The file's keyframes: the quickest.")]
All = Annotated[bool, typer.Option("--all", help="Every frame.")]
Positions = Annotated[
    Value,
    typer.Option(
        "--positions",
        metavar="WHERE",
        help="With --frames: middle or start of each segment [default: middle].",
    ),
]
Size = Annotated[
    Value,
    typer.Option(
        "--size",
        metavar="S",
        help="Shorter side in pixels, never enlarged; null: as it is [default: 224].",
    ),
]
Quality = Annotated[
    Value, typer.Option("--quality", metavar="Q", help="Of JPEGs, 1 to 100 [default: 90].")
]
Store = Annotated[
    Value,
    typer.Option(
        "--store",
        metavar="KIND",
        help="jpeg, or mp4: one H.264 file a video at --fps [default: jpeg].",
    ),
]
Crf = Annotated[
    Value, typer.Option("--crf", metavar="C", help="Of mp4, 0 (best) to 51 [default: 23].")
]
Salvage = Annotated[bool, typer.Option("--salvage", help="Store what decodes of a damaged file.")]
Workers = Annotated[
    Value, typer.Option("--workers", metavar="W", help="Processes [default: automatic].")
]
Timeout = Annotated[
    Value,
    typer.Option(
        "--timeout", metavar="SECONDS", help="Give a video up after this long [default: 600]."
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Delete what earlier runs made here, and start.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the settings and the plan; write nothing.")
]


def recipe_layers(
    *,
    frames: Value,
    fps: Value,
    keyframes: bool,
    everything: bool,
    positions: Value,
    size: Value,
    quality: Value,
    store: Value,
    crf: Value,
    salvage: bool,
    section: str | None = None,
) -> list[Layer]:
    """What the flags say of a `Recipe`, in a section of the settings or at their top."""
    which = [
        flag_layer("--frames", "frames", frames, section),
        flag_layer("--fps", "fps", fps, section),
        flag_layer("--keyframes", "keyframes", True if keyframes else None, section),
        flag_layer("--all", "all", True if everything else None, section),
    ]
    return [
        # Two of these flags at once are an error; one takes the place of what a file says.
        *([unsaid(section)] if any(layer.values for layer in which) else []),
        *which,
        flag_layer("--positions", "positions", positions, section),
        flag_layer("--size", "size", size, section),
        flag_layer("--quality", "quality", quality, section),
        flag_layer("--store", "store", store, section),
        flag_layer("--crf", "crf", crf, section),
        flag_layer("--salvage", "salvage", True if salvage else None, section),
    ]
