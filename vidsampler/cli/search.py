"""`vidsampler search`: the videos of an index that fit a text."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidsampler.cli.options import Debug, Json, output_of
from vidsampler.cli.output import Output
from vidsampler.cli.targets import check_targets
from vidsampler.errors import UsageError
from vidsampler.timecode import format_time

if TYPE_CHECKING:
    from vidsampler.search.index import Hit, Index

NAME = "search"
EXAMPLE = (
    "\b\nExamples:\n"
    '  vidsampler search index/ "a dog on a beach"\n'
    '  vidsampler search index/ "a goal" -k 20 --sheet goals.jpg\n'
    "  vidsampler search index/ --like clip.mp4"
)


def command(
    context: typer.Context,
    index: Annotated[Path, typer.Argument(metavar="INDEX", hidden=True)],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", show_default=False, hidden=True)
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="FILE", help="Find what is like this video."),
    ] = None,
    top_k: Annotated[int, typer.Option("-k", "--top-k", metavar="K", help="So many videos.")] = 10,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet", metavar="FILE", help="Write a picture of the best moments (png, jpg, webp)."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="DIR", help="Where the weights are, if they were moved."
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the index with its checksums first.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find videos by a text, or by another video.

    INDEX is what embed made. Each video comes with its score, and with the time of the kept frame
    that fits best.
    """
    out = output_of(context)
    if (text is None) == (like is None):
        raise UsageError(
            "give either a text or --like FILE",
            hint='such as: vidsampler search INDEX "a dog on a beach"',
        )
    check_targets(None, sheet)
    began = time.perf_counter()
    from vidsampler.search.index import Index, check_question

    check_question("a video" if text is None else text, top_k)
    opened = Index.open(index, checkpoint=checkpoint, verify=verify)
    hits = opened.search_like(like, top_k) if like is not None else opened.search(text or "", top_k)
    seconds = opened.seconds
    # What is not accounted for elsewhere is the reading of the list and this package's own modules.
    seconds["imports"] += time.perf_counter() - began - sum(seconds.values())
    if sheet is not None:
        _write_sheet(out, opened, hits, str(like) if text is None else text, sheet)
    _print(out, opened, hits, text, like)


def _print(out: Output, index: Index, hits: list[Hit], text: str | None, like: Path | None) -> None:
    seconds = {name: round(value, 4) for name, value in index.seconds.items()}
    if out.json:
        question = {"like": str(like)} if text is None else {"text": text}
        out.result(
            {
                "index": str(index.folder),
                **question,
                "videos": len(index),
                "results": [hit.to_json() for hit in hits],
                "seconds": seconds,
            }
        )
        return
    rows = [
        [str(number), f"{hit.score:.4f}", format_time(hit.time), hit.source]
        for number, hit in enumerate(hits, 1)
    ]
    out.table(["#", "score", "best at", "video"], rows, numbers="rrrl")
    split = ", ".join(f"{name} {value:.3g} s" for name, value in seconds.items())
    out.note(f"{len(index):,} videos; {split}")


def _write_sheet(out: Output, index: Index, hits: list[Hit], title: str, path: Path) -> None:
    from vidsampler.search.sheet import MOST, write_sheet

    if len(hits) > MOST:
        out.note(f"the sheet shows the best {MOST} of {len(hits):,}")
    for error in write_sheet(index, hits, title, path):
        out.note(f"not on the sheet: {error.message}")
