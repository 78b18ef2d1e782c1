"""`vidsampler eval --pictures FILE`: what a few queries found, and which frames were kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidsampler.cli.output import Output
from vidsampler.errors import UsageError

if TYPE_CHECKING:
    from vidsampler.evaluation.ranks import Ranks

Pictures = Annotated[
    Path | None,
    typer.Option(
        "--pictures", metavar="FILE", help="Draw some queries with kept and dropped frames: .png."
    ),
]
Queries = Annotated[
    int | None,
    typer.Option("--queries", metavar="N", help="How many --pictures shows [default: 6]."),
]
QUERIES = 6


def check_pictures(path: Path | None, queries: int | None) -> None:
    """Whether the picture can be drawn, before anything is computed for it.

    Raises:
        UsageError: --queries without --pictures or below 1, or no picture's name.
    """
    from vidsampler.video.images import image_format

    if path is None:
        if queries is not None:
            raise UsageError("--queries is for --pictures")
        return
    if queries is not None and queries < 1:
        raise UsageError(f"--queries must be at least 1, not {queries}")
    image_format(path)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--pictures {path}: there is no folder {path.parent}", code="unwritable")


def write_pictures(
    out: Output,
    path: Path,
    queries: int | None,
    *,
    scores_of: Callable[[list[int]], Any],
    captions: Sequence[str],
    ranks: Ranks,
    names: Sequence[str],
    kept: Sequence[Sequence[int]],
    candidates: Sequence[int],
    frames_of: Callable[[int], Any],
) -> None:
    """Draws the picture of a result and writes it.

    Args:
        out: The sink.
        path: Of the picture.
        queries: How many; None: `QUERIES`.
        scores_of: From Q queries to their rows of scores, (Q, V): see `pictures.queries_of`.
        captions: (T,) the words of all queries.
        ranks: Of all queries.
        names: (V,) the videos' ids.
        kept: (V,) the kept ones of each video's candidates, as `VideoFeatures.kept` has them.
        candidates: (V,) how many candidates each video has.
        frames_of: From a video's number to its candidates; see `training.pictures.candidates_of`.

    Raises:
        VidsamplerError: The file cannot be written.
    """
    from vidsampler.evaluation.pictures import draw_result, queries_of
    from vidsampler.video.images import write_image

    chosen = queries_of(scores_of, captions, ranks, QUERIES if queries is None else queries)
    write_image(path, draw_result(chosen, names, kept, candidates, frames_of))
    out.note(f"{path}: {len(chosen)} queries, kept frames green, dropped ones red")
