"""A result as one picture: what a few queries found, and which frames were kept.

Above, for each chosen query, its caption and the videos that came first, with all candidate frames
in time order: kept ones in green frames, dropped ones dark in red frames. Below, over all videos,
where kept frames lie among the candidates and how many a video has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vidsampler.evaluation.ranks import Ints, Ranks

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

RGB = NDArray[np.uint8]
Frames = RGB | Sequence[RGB]
Scores = NDArray[np.floating[Any]]

KEPT, DROPPED = (46, 160, 67), (218, 54, 51)
"""Colours of the frames round kept and dropped pictures."""

_PAPER, _INK, _SOFT, _GRID, _BAR = "white", (30, 30, 30), (110, 110, 110), (225, 225, 225), KEPT
_WIDTH, _GAP, _LABEL, _STRIP = 1280, 12, 190, 16
"""Pixels across, between parts, and for a row's label; pictures in a line of a strip."""
_BORDER, _DARK = 3, 0.45
_CHART = 250
_LEFT, _TOP, _BOTTOM = 60, 40, 44


@dataclass(frozen=True)
class Query:
    """A query and the videos that it found.

    Attributes:
        text: Its caption.
        own: The number of its own video.
        rank: Of that video, from 1.
        top: Numbers of the videos that came first, the best one first.
        scores: Theirs.
    """

    text: str
    own: int
    rank: int
    top: tuple[int, ...]
    scores: tuple[float, ...]


def choose_queries(ranks_T: Ints, count: int) -> list[int]:
    """Queries from the best to the worst rank, evenly spread, so that hits and misses are shown.

    Args:
        ranks_T: (T,) rank of each query's own video.
        count: How many to choose; all, where there are no more.

    Raises:
        ValueError: count is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    order = np.argsort(ranks_T, kind="stable")
    if count >= len(order):
        return [int(query) for query in order]
    places = np.linspace(0, len(order) - 1, count).round().astype(int) if count > 1 else [0]
    return [int(order[place]) for place in places]


def found_by(text: str, own: int, scores_V: Scores, count: int) -> Query:
    """A query and the first videos of its row of scores, ranked as `evaluation.ranks` ranks them.

    Args:
        text: Its caption.
        own: The number of its own video.
        scores_V: (V,) its scores.
        count: How many videos to show.
    """
    order = np.argsort(-scores_V, kind="stable")
    rank = 1 + int(np.flatnonzero(order == own)[0])
    top = order[:count]
    return Query(text, own, rank, tuple(top.tolist()), tuple(scores_V[top].tolist()))


def queries_of(
    scores_of: Callable[[list[int]], Scores],
    captions: Sequence[str],
    ranks: Ranks,
    count: int,
    top: int = 3,
) -> list[Query]:
    """Some queries of a result, from the best to the worst rank, and the first videos of each.

    Args:
        scores_of: From Q queries to their rows of scores, (Q, V). What a query is said to find
            follows from these, so that they are best the scores that were ranked.
        captions: (T,) the words of all queries.
        ranks: Of all queries.
        count: How many to take.
        top: How many videos of each.

    Raises:
        ValueError: count is below 1.
    """
    chosen = choose_queries(ranks.t2v, count)
    rows = zip(chosen, scores_of(chosen), strict=True)
    return [found_by(captions[i], int(ranks.owners[i]), scores_V, top) for i, scores_V in rows]


def draw_result(
    queries: Sequence[Query],
    names: Sequence[str],
    kept: Sequence[Sequence[int]],
    candidates: Sequence[int],
    frames_of: Callable[[int], Frames],
) -> RGB:
    """Draws the queries and the two histograms, one below the other.

    Args:
        queries: What to show; of `found_by`.
        names: (V,) the videos' ids.
        kept: (V,) the kept ones of each video's candidates, ascending from 0.
        candidates: (V,) how many candidates each video has.
        frames_of: From a video's number to its candidates in time order, (H, W, 3) uint8 each. It
            is called once for each video that is shown.

    Returns:
        (H, W, 3) uint8, 1280 pixels wide.

    Raises:
        ValueError: There is no video, the lists differ in length, a kept frame is no candidate, or
            a video has another number of frames than candidates.
    """
    _check(names, kept, candidates)
    shown: dict[int, list[Image.Image]] = {}
    parts = []
    for query in queries:
        for video in query.top:
            if video not in shown:
                frames = frames_of(video)
                if len(frames) != candidates[video]:
                    raise ValueError(
                        f"{names[video]} has {candidates[video]} candidates, but {len(frames)} "
                        "frames were given"
                    )
                shown[video] = _framed(frames, set(kept[video]))
        parts.append(_query(query, names, shown, kept))
    parts.append(draw_histograms(kept, candidates))
    return np.concatenate(parts)


def draw_histograms(kept: Sequence[Sequence[int]], candidates: Sequence[int]) -> RGB:
    """Where kept frames lie among the candidates, and how many frames a video keeps.

    Args:
        kept: As of `draw_result`.
        candidates: Likewise.

    Returns:
        (H, W, 3) uint8; two charts side by side.
    """
    image, pen = _sheet(_CHART)
    half = _WIDTH // 2
    shares = position_shares(kept, candidates)
    evenly = sum(map(len, kept)) / max(1, sum(candidates))
    title = f"share of videos that keep a candidate (line: all alike, {evenly:.2f})"
    _bars(pen, 0, half, title, list(enumerate(shares)), percent=True)
    level = _CHART - _BOTTOM - round(evenly * (_CHART - _TOP - _BOTTOM))
    pen.line((_LEFT, level, half - _GAP, level), fill=DROPPED)
    counts = kept_counts(kept)
    mean = sum(map(len, kept)) / len(kept)
    title = f"videos by frames kept (mean {mean:.2f} of {np.mean(candidates):.4g})"
    _bars(pen, half, _WIDTH, title, sorted(counts.items()), percent=False)
    return np.asarray(image)


def position_shares(kept: Sequence[Sequence[int]], candidates: Sequence[int]) -> list[float]:
    """For each place among the candidates, the share of the videos that have it which keep it."""
    there = np.zeros(max(candidates), np.int64)
    chosen = np.zeros(max(candidates), np.int64)
    for frames, count in zip(kept, candidates, strict=True):
        there[:count] += 1
        chosen[list(frames)] += 1
    return [float(share) for share in chosen / there]


def kept_counts(kept: Iterable[Sequence[int]]) -> Mapping[int, int]:
    """Frames kept -> how many videos keep so many, from the least to the most that any keeps."""
    sizes = [len(frames) for frames in kept]
    return {size: sizes.count(size) for size in range(min(sizes), max(sizes) + 1)}


def _check(names: Sequence[str], kept: Sequence[Sequence[int]], candidates: Sequence[int]) -> None:
    if not names or not len(names) == len(kept) == len(candidates):
        raise ValueError(
            f"{len(names)} names, {len(kept)} lists of kept frames and {len(candidates)} numbers "
            "of candidates do not belong together"
        )
    for name, frames, count in zip(names, kept, candidates, strict=True):
        if not frames or min(frames) < 0 or max(frames) >= count:
            raise ValueError(f"{name} has {count} candidates and cannot keep {list(frames)}")


def _query(
    query: Query,
    names: Sequence[str],
    shown: Mapping[int, Sequence[Image.Image]],
    kept: Sequence[Sequence[int]],
) -> RGB:
    """The caption, and a strip for each video."""
    heights = [_strip_height(shown[video]) for video in query.top]
    image, pen = _sheet(_TOP + sum(heights) + _GAP * len(heights))
    where = "its own video comes first" if query.rank == 1 else f"its own video: rank {query.rank}"
    pen.line((_GAP, 4, _WIDTH - _GAP, 4), fill=_GRID)
    room = _WIDTH - 3 * _GAP - pen.textlength(where, _font(15))
    pen.text((_GAP, _TOP // 2 + 3), _cut(query.text, room, 18), _INK, _font(18), "lm")
    pen.text((_WIDTH - _GAP, _TOP // 2 + 3), where, _SOFT, _font(15), "rm")
    top = _TOP
    for number, (video, score, height) in enumerate(
        zip(query.top, query.scores, heights, strict=True), 1
    ):
        own = video == query.own
        # The ends of ids tell them apart better than their beginnings.
        name = _cut(names[video][::-1], _LABEL - 4 * _GAP, 15)[::-1]
        pen.text((_GAP, top), f"{number}  {name}", KEPT if own else _INK, _font(15), "lt")
        lines = [f"{score:.3f}", f"{len(kept[video])} of {len(shown[video])} kept"]
        for line, text in enumerate([*lines, *(["its own"] if own else [])], 1):
            pen.text((_GAP, top + 18 * line), text, KEPT if line == 3 else _SOFT, _font(13), "lt")
        _paste_strip(image, shown[video], top)
        top += height + _GAP
    return np.asarray(image)


def _framed(frames: Frames, kept: set[int]) -> list[Image.Image]:
    """Small pictures with green or red frames; dropped ones are darker too, for every eye."""
    from PIL import Image

    across = min(_STRIP, len(frames))
    # A video of few frames is shown no larger than one of half a line.
    cell = (_WIDTH - _LABEL - _GAP) // max(across, _STRIP // 2) - 2
    pictures = []
    for number, frame in enumerate(frames):
        colour = KEPT if number in kept else DROPPED
        height = max(1, round(cell * frame.shape[0] / frame.shape[1]))
        inner = (max(1, cell - 2 * _BORDER), max(1, height - 2 * _BORDER))
        small = Image.fromarray(frame).resize(inner, Image.Resampling.LANCZOS, reducing_gap=2.0)
        if number not in kept:
            small = Image.blend(Image.new("RGB", inner, "black"), small, _DARK)
        framed = Image.new("RGB", (inner[0] + 2 * _BORDER, inner[1] + 2 * _BORDER), colour)
        framed.paste(small, (_BORDER, _BORDER))
        pictures.append(framed)
    return pictures


def _strip_height(pictures: Sequence[Image.Image]) -> int:
    lines = -(-len(pictures) // _STRIP)
    # The label beside it has four lines.
    return max(4 * 18, lines * (2 + max(picture.height for picture in pictures)))


def _paste_strip(image: Image.Image, pictures: Sequence[Image.Image], top: int) -> None:
    step = 2 + max(picture.height for picture in pictures)
    for number, picture in enumerate(pictures):
        line, place = divmod(number, _STRIP)
        image.paste(picture, (_LABEL + place * (picture.width + 2), top + line * step))


def _bars(
    pen: ImageDraw.ImageDraw,
    left: int,
    right: int,
    title: str,
    bars: Sequence[tuple[int, float]],
    *,
    percent: bool,
) -> None:
    """A bar chart between two columns of the sheet; shares go to 1, numbers to a multiple of 4."""
    most = 1.0 if percent else 4.0 * -(-max(value for _, value in bars) // 4)
    bottom, height = _CHART - _BOTTOM, _CHART - _TOP - _BOTTOM
    start, end = left + _LEFT, right - _GAP
    pen.text((start, 12), title, _INK, _font(15), "lt")
    for tick in range(5):
        y = bottom - round(height * tick / 4)
        pen.line((start, y, end, y), fill=_GRID if tick else _INK)
        pen.text((start - 8, y), f"{most * tick / 4:.3g}", _SOFT, _font(13), "rm")
    step = (end - start) / len(bars)
    every = -(-len(bars) // 20)
    for number, (name, value) in enumerate(bars):
        x0, x1 = start + number * step, start + (number + 1) * step
        y = bottom - round(height * value / most)
        if value:
            # A bar is never so thin that it is not there.
            pen.rectangle((x0 + 1, min(y, bottom - 1), max(x0 + 1, x1 - 2), bottom), fill=_BAR)
        if number % every == 0:
            pen.text(((x0 + x1) / 2, bottom + 6), str(name), _SOFT, _font(13), "mt")
    what = "candidate" if percent else "frames kept"
    pen.text((end, _CHART - 4), what, _SOFT, _font(13), "rb")


def _sheet(height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_WIDTH, height), _PAPER)
    return image, ImageDraw.Draw(image)


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _cut(text: str, room: float, size: int) -> str:
    """The beginning of a text, as much as there is room for."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    font = _font(size)
    if font.getlength(text) <= room:
        return text
    lengths = range(1, len(text) + 1)
    return text[: bisect_right(lengths, room, key=lambda n: font.getlength(text[:n] + "…"))] + "…"
