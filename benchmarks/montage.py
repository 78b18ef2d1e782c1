"""Which sampler shows what is in a video? Montages of real clips with bad seconds between them.

Each montage joins 8 real clips of very uneven lengths (1 to 25 seconds, log-uniform) and puts three
bad seconds between them at random places: a black one, a frozen one (the last frame of a clip goes
on, unchanged) and a blurred one (frames of one of the clips, Gaussian blur with sigma 6). Every
sampler keeps K frames of the encoded file, as `vidsampler.select` would for a user. Printed for
each, as mean +- standard deviation over the montages:

- share: the part of the clips that a kept frame shows. A frame of a bad second shows no clip.
- bad: kept frames of the black or the blurred second.
- frozen: pairs of kept frames from the frozen second and the frame that it repeats.
- seconds: time of one `select` call (decoding and choosing).

and the mean difference of the share to that of `coverage`, montage by montage, with a 95% bootstrap
interval.

    VIDSAMPLER_TEST_DATA=DATA python benchmarks/montage.py
    VIDSAMPLER_TEST_DATA=DATA python benchmarks/montage.py --k 4 --json montage-k4.json

DATA/clips holds the clips and captions.csv. A montage depends on its seed and settings only; it is
rendered once and cached in the system's folder for temporary files.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

RATE = 25
SIZE = (320, 180)
BLUR_SIGMA = 6.0
BAD_SECONDS = ("black", "frozen", "blurred")
LAYOUT = 1  # raise it whenever montages of the same seed change: it is part of the cache's key

RGB = npt.NDArray[np.uint8]
Kind = Literal["clip", "black", "frozen", "blurred"]


@dataclass(frozen=True)
class Clip:
    """A real clip: its file, how long it is in seconds, and what it was cut from."""

    path: Path
    duration: float
    source: str


@dataclass(frozen=True)
class Piece:
    """A stretch of a montage.

    Attributes:
        kind: what it shows.
        clip: the file it is cut from; None for the black second.
        start: where the cut starts in that file, in seconds.
        frames: how many frames it has, at `RATE`.
    """

    kind: Kind
    clip: str | None
    start: float
    frames: int


@dataclass(frozen=True)
class Score:
    """What one sampler did on one montage."""

    share: float
    bad: int
    frozen: int
    seconds: float
    kept: int


# Choosing the clips ------------------------------------------------------------------------------


def load_clips(folder: Path) -> list[Clip]:
    """All usable clips of the test data, one per source, in a fixed order."""
    clips: dict[str, Clip] = {}
    with (folder / "captions.csv").open(newline="", encoding="utf-8") as lines:
        names = {row["video"]: row["source"] for row in csv.DictReader(lines)}
    for name in sorted(names):
        source = _source(name, names[name])
        if source not in clips:
            clips[source] = Clip(folder / name, _duration(folder / name), source)
    return [clip for clip in clips.values() if clip.duration >= 1.6]


def _source(name: str, source: str) -> str:
    """What makes two clips the same: one online video, or one action of UCF101 in one group."""
    if found := re.match(r"panda_([\w-]{11})\.", name):
        return found[1]
    if found := re.search(r"v_(\w+)_g\d+_c\d+", name):
        return found[1]
    return source


def _duration(path: Path) -> float:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return float(container.duration or 0) / av.time_base


def plan(
    clips: Sequence[Clip], seed: int, *, count: int = 8, lengths: tuple[float, float] = (1, 25)
) -> list[Piece]:
    """The pieces of one montage, in order.

    Args:
        clips: what to choose from.
        seed: the montage's number.
        count: how many clips it has.
        lengths: shortest and longest clip in seconds; drawn log-uniform between them.
    """
    draw = np.random.default_rng(seed)
    shortest, longest = np.log(lengths)
    wanted = np.exp(draw.uniform(shortest, longest, count))
    pieces: list[Piece] = []
    free = list(clips)
    for length in sorted(wanted, reverse=True):
        frames = max(1, round(length * RATE))
        # Half a second is left over, because many files end before they say. The few longest
        # clips may be taken already: then the longest that is left.
        limit = max(clip.duration for clip in free) - 0.5
        frames = min(frames, int(limit * RATE))
        fits = [clip for clip in free if clip.duration > frames / RATE + 0.499]
        clip = fits[draw.integers(len(fits))]
        free.remove(clip)
        latest = max(0.0, clip.duration - frames / RATE - 0.5)
        pieces.append(Piece("clip", str(clip.path), float(draw.uniform(0, latest)), frames))
    pieces = [pieces[i] for i in draw.permutation(count)]
    gaps = {kind: int(draw.integers(count - 1)) for kind in BAD_SECONDS}
    blurred = pieces[draw.integers(count)]
    latest = max(0.0, (blurred.frames / RATE) - 1)
    bad = {
        "black": Piece("black", None, 0, RATE),
        "frozen": Piece("frozen", pieces[gaps["frozen"]].clip, 0, RATE),
        "blurred": Piece(
            "blurred", blurred.clip, blurred.start + float(draw.uniform(0, latest)), RATE
        ),
    }
    montage: list[Piece] = []
    for i, piece in enumerate(pieces):
        montage.append(piece)
        if gaps["frozen"] == i:
            montage.append(bad["frozen"])  # a frozen second follows what it repeats
        others = [bad[kind] for kind in ("black", "blurred") if gaps[kind] == i]
        montage.extend(others[i] for i in draw.permutation(len(others)))
    return montage


# Rendering ---------------------------------------------------------------------------------------


def frames_of(montage: Sequence[Piece], size: tuple[int, int]) -> Iterator[RGB]:
    """The pixels of a montage, (height, width, 3) each."""
    width, height = size
    last: RGB = np.zeros((height, width, 3), np.uint8)
    for piece in montage:
        if piece.kind == "black":
            yield from [np.zeros((height, width, 3), np.uint8)] * piece.frames
        elif piece.kind == "frozen":
            yield from [last] * piece.frames
        elif piece.clip is not None:
            for frame in _cut(Path(piece.clip), piece.start, piece.frames, size):
                if piece.kind == "blurred":
                    blurred = Image.fromarray(frame).filter(ImageFilter.GaussianBlur(BLUR_SIGMA))
                    yield np.asarray(blurred)
                else:
                    last = frame
                    yield frame


def _cut(path: Path, start: float, frames: int, size: tuple[int, int]) -> Iterator[RGB]:
    """`frames` frames at `RATE` from `start` seconds on; the last one goes on if the file ends."""
    made = 0
    shown: RGB | None = None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        first: float | None = None
        for frame in container.decode(stream):
            at = float(frame.time or 0)
            first = at if first is None else first
            # Each moment shows the last frame that started before it.
            while shown is not None and made < frames and start + made / RATE < at - first:
                made += 1
                yield shown
            if made == frames:
                return
            if at - first + 1 >= start:
                shown = _fit(frame, size)
    if shown is None:
        raise ValueError(f"{path} ends before {start:.2f} s")
    for _ in range(frames - made):
        yield shown


def _fit(frame: Any, size: tuple[int, int]) -> RGB:
    """Scales into the montage's picture: wide ones fill it (cut), tall ones get bars."""
    width, height = size
    fill = max(width / frame.width, height / frame.height)
    fit = min(width / frame.width, height / frame.height)
    scale = fit if fill / fit > 1.5 else fill
    w, h = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    picture = frame.reformat(width=w, height=h, format="rgb24", interpolation="BICUBIC")
    pixels = picture.to_ndarray()[max(0, h - height) // 2 :, max(0, w - width) // 2 :]
    pixels = pixels[:height, :width]
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - pixels.shape[0]) // 2, (width - pixels.shape[1]) // 2
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


def render(montage: Sequence[Piece], path: Path, size: tuple[int, int]) -> None:
    """Encodes a montage as H.264 with B-frames; the file appears only when it is complete."""
    part = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with av.open(str(part), "w", format="mp4") as container:
            options = {"preset": "veryfast", "crf": "23", "bf": "2"}
            stream = container.add_stream("libx264", rate=RATE, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 2
            for i, pixels in enumerate(frames_of(montage, size)):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def cached(montage: Sequence[Piece], folder: Path, size: tuple[int, int]) -> Path:
    """The montage's file, rendered if it is not there yet."""
    recipe = [asdict(p) | {"clip": p.clip and Path(p.clip).name} for p in montage]
    text = json.dumps([LAYOUT, RATE, size, BLUR_SIGMA, recipe])
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        render(montage, path, size)
    return path


# Scoring -----------------------------------------------------------------------------------------


def judge(montage: Sequence[Piece], times: Sequence[float], seconds: float = 0.0) -> Score:
    """Scores kept frames against what the montage was made of.

    Args:
        montage: its pieces.
        times: when the kept frames are shown, in seconds from the start.
        seconds: how long choosing them took.
    """
    ends = np.cumsum([piece.frames for piece in montage])
    numbers = np.rint(np.asarray(times) * RATE).astype(int)
    shown = [int(np.searchsorted(ends, number, side="right")) for number in numbers]
    clips = {i for i, piece in enumerate(montage) if piece.kind == "clip"}
    frozen = [i for i, piece in enumerate(montage) if piece.kind == "frozen"]
    pairs = 0
    for i in frozen:
        # The stretch starts with the frame that is repeated.
        inside = sum(ends[i - 1] - 1 <= number < ends[i] for number in numbers)
        pairs += inside * (inside - 1) // 2
    bad = sum(montage[i].kind in ("black", "blurred") for i in shown)
    return Score(len(clips & set(shown)) / len(clips), bad, pairs, seconds, len(numbers))


def interval(differences: npt.NDArray[np.float64], draws: int = 10_000) -> tuple[float, float]:
    """95% bootstrap interval of the mean difference over the montages."""
    chosen = np.random.default_rng(0).integers(len(differences), size=(draws, len(differences)))
    low, high = np.percentile(differences[chosen].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def summarise(scores: dict[str, list[Score]], reference: str) -> dict[str, dict[str, Any]]:
    """Means, spreads and paired differences of each sampler."""
    summary: dict[str, dict[str, Any]] = {}
    for name, rows in scores.items():
        summary[name] = {
            field: {"mean": float(np.mean(values)), "std": float(np.std(values))}
            for field in ("share", "bad", "frozen", "seconds", "kept")
            for values in [[getattr(row, field) for row in rows]]
        }
        if reference in scores and name != reference:
            pairs = zip(rows, scores[reference], strict=True)
            differences = np.array([row.share - best.share for row, best in pairs])
            summary[name]["difference"] = {
                "mean": float(differences.mean()),
                "interval": interval(differences),
            }
    return summary


def table(summary: dict[str, dict[str, Any]], reference: str) -> str:
    """The summary as text of at most 80 columns, best share first."""

    def spread(values: dict[str, float], digits: int = 2) -> str:
        return f"{values['mean']:.{digits}f} +- {values['std']:.{digits}f}"

    lines = [
        f"{'sampler':10}{'share of clips':>15}{'bad':>13}{'frozen':>14}{'seconds':>14}",
    ]
    for name, row in sorted(summary.items(), key=lambda item: -item[1]["share"]["mean"]):
        lines.append(
            f"{name[:10]:10}{spread(row['share'], 3):>15}{spread(row['bad']):>13}"
            f"{spread(row['frozen']):>14}{spread(row['seconds']):>14}"
        )
    lines += ["", f"share against {reference}, same montages: mean, 95% interval"]
    for name, row in summary.items():
        if "difference" in row:
            low, high = row["difference"]["interval"]
            lines.append(
                f"{name[:10]:10}{row['difference']['mean']:+.3f}  [{low:+.3f}, {high:+.3f}]"
            )
    return "\n".join(lines)


# Command line ------------------------------------------------------------------------------------


def run(
    montages: Sequence[tuple[int, Sequence[Piece], Path]],
    samplers: Sequence[str],
    choose: Callable[[Path, str], Sequence[float]],
) -> dict[str, list[Score]]:
    """Scores of every sampler, in the montages' order; `choose` gives the kept frames' times."""
    scores: dict[str, list[Score]] = {name: [] for name in samplers}
    for _seed, montage, path in montages:
        for name in samplers:
            began = time.perf_counter()
            times = choose(path, name)
            scores[name].append(judge(montage, times, time.perf_counter() - began))
    return scores


def main() -> None:
    """Renders, selects, prints."""
    from vidsampler import registry, select

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--montages", type=int, default=30, help="how many (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first (default: 0)")
    parser.add_argument("--k", type=int, default=8, help="kept frames (default: 8)")
    parser.add_argument("--clips", type=int, default=8, help="clips in a montage (default: 8)")
    parser.add_argument(
        "--lengths", type=float, nargs=2, default=(1, 25), metavar=("MIN", "MAX"), help="seconds"
    )
    parser.add_argument("--samplers", nargs="+", default=list(registry.training_free_samplers()))
    parser.add_argument("--against", default="coverage", help="the sampler to compare with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all results")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "vidsampler-montage"
    )
    options = parser.parse_args()
    data = os.environ.get("VIDSAMPLER_TEST_DATA")
    if not data:
        sys.exit("set VIDSAMPLER_TEST_DATA to the folder that holds clips/captions.csv")
    clips = load_clips(Path(data) / "clips")
    montages: list[tuple[int, Sequence[Piece], Path]] = []
    for seed in range(options.seed, options.seed + options.montages):
        montage = plan(clips, seed, count=options.clips, lengths=tuple(options.lengths))
        montages.append((seed, montage, cached(montage, options.cache, SIZE)))
        if len(montages) % 10 == 0:
            print(f"montage {len(montages)} of {options.montages} is rendered", file=sys.stderr)

    def choose(path: Path, name: str) -> list[float]:
        selection = select(path, options.k, sampler=name)
        return [frame.time for frame in selection.kept]

    scores = run(montages, options.samplers, choose)
    summary = summarise(scores, options.against)
    seconds = [sum(piece.frames for piece in montage) / RATE for _, montage, _ in montages]
    print(
        f"{len(montages)} montages of {options.clips} clips, "
        f"{np.mean(seconds):.0f} s each ({min(seconds):.0f} to {max(seconds):.0f}), "
        f"K = {options.k}, seeds from {options.seed}\n"
    )
    print(table(summary, options.against))
    if options.json:
        report = {
            "settings": {k: v for k, v in vars(options).items() if k not in ("json", "cache")},
            "summary": summary,
            "montages": [
                {
                    "seed": seed,
                    "seconds": sum(piece.frames for piece in montage) / RATE,
                    "scores": {name: asdict(rows[i]) for name, rows in scores.items()},
                }
                for i, (seed, montage, _) in enumerate(montages)
            ],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
