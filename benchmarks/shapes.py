"""The rendered dataset: how fast it renders, and whether its distractors are worth the name.

Printed:

- clips a second with one process and with two, and what 1,000 clips take on the clock and of
  processors (others may be busy on the machine);
- for each kind of distractor the AUC with which a simple statistic of a decoded picture tells it
  from an informative one (0.5: not at all), and of the best straight line through all of them
  (linear discriminant, fitted on one half of the videos, measured on the other);
- how many videos of the test split a retriever still confuses that knows 1, 2, ... of the facts:
  its R@1 if it uses them perfectly;
- the share of facts that the training-free samplers keep.

    python benchmarks/shapes.py
    python benchmarks/shapes.py --clips 200 --sheet shapes.png

The sheet shows one video's slots with their kinds.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vidsampler.datasets.shapes import KINDS, ShapesSettings, ShapesVideo, read, render
from vidsampler.sheet import Cell, draw_sheet
from vidsampler.video import Video
from vidsampler.video.positions import uniform_positions

RGB = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.floating]


def luma(picture: RGB) -> FloatArray:
    shades: FloatArray = picture @ np.array([0.299, 0.587, 0.114])
    return shades


def saturation(picture: RGB) -> float:
    """Mean of (max - min) / max over the pixels, as HSV has it."""
    most, least = picture.max(2).astype(float), picture.min(2)
    return float(((most - least) / np.maximum(most, 1)).mean())


def sharpness(picture: RGB) -> float:
    """Variance of the Laplacian of the brightness."""
    y = luma(picture)
    middle = y[1:-1, 1:-1]
    return float((y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:] - 4 * middle).var())


def jpeg_bytes(picture: RGB) -> float:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return float(buffer.tell())


STATISTICS: Mapping[str, Callable[[RGB], float]] = {
    "brightness": lambda picture: float(luma(picture).mean()),
    "contrast": lambda picture: float(luma(picture).std()),
    "saturation": saturation,
    "red": lambda picture: float(picture[..., 0].mean()),
    "green": lambda picture: float(picture[..., 1].mean()),
    "blue": lambda picture: float(picture[..., 2].mean()),
    "sharpness": sharpness,
    "jpeg bytes": jpeg_bytes,
}


def auc(positive: FloatArray, negative: FloatArray) -> float:
    """The chance that a positive value exceeds a negative one, ties counted half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / 2 / len(ordered))


def slot_frames(folder: Path, split: str, video: ShapesVideo) -> list[RGB]:
    """One decoded picture of each slot, as uniform candidates would see it."""
    with Video(folder / split / f"{video.video}.mp4") as opened:
        first, end = opened.numbers_between(None, None)
        numbers = first + uniform_positions(end - first, len(video.slots))
        return [frame.rgb for frame in opened.frames(numbers)]


def measure(folder: Path, split: str, most: int) -> tuple[FloatArray, list[str], list[int]]:
    """(slots, statistics), and of each row the kind and the number of its video."""
    rows: list[list[float]] = []
    kinds: list[str] = []
    owners: list[int] = []
    for number, video in enumerate(read(folder, split)[:most]):
        for slot, picture in zip(video.slots, slot_frames(folder, split, video), strict=True):
            rows.append([statistic(picture) for statistic in STATISTICS.values()])
            kinds.append(slot.kind)
            owners.append(number)
    return np.array(rows), kinds, owners


def line_auc(values: FloatArray, positive: npt.NDArray[np.bool_], owners: Sequence[int]) -> float:
    """AUC of the linear discriminant on videos that it was not fitted to."""
    values = np.log1p(values)
    fit = np.array(owners) % 2 == 0
    one, other = values[fit & positive], values[fit & ~positive]
    spread = np.cov(one.T) + np.cov(other.T) + 1e-9 * np.eye(values.shape[1])
    scores = values @ np.linalg.solve(spread, one.mean(0) - other.mean(0))
    return auc(scores[~fit & positive], scores[~fit & ~positive])


def auc_table(values: FloatArray, kinds: Sequence[str], owners: Sequence[int]) -> str:
    """One row a kind, one column a statistic."""
    kind_of = np.array(kinds)
    informative = kind_of == "informative"
    lines = ["| AUC against informative | " + " | ".join(STATISTICS) + " | all |"]
    lines.append("|---" * (len(STATISTICS) + 2) + "|")
    for kind in KINDS[1:]:
        chosen = informative | (kind_of == kind)
        cells = [
            auc(values[informative, i], values[kind_of == kind, i]) for i in range(len(STATISTICS))
        ]
        cells.append(
            line_auc(values[chosen], informative[chosen], np.array(owners)[chosen].tolist())
        )
        lines.append(f"| {kind} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return "\n".join(lines)


def knowing(videos: Sequence[ShapesVideo], known: int) -> float:
    """R@1 in percent of a retriever that knows some facts of each video, and errs in none.

    It picks at random among the videos whose captions name all of them; the mean over every
    choice of `known` facts (a video with fewer is fully known).
    """
    sets = [frozenset(video.facts) for video in videos]
    total = 0.0
    for own in sets:
        parts = list(combinations(sorted(own), min(known, len(own))))
        found = [sum(other >= set(part) for other in sets) for part in parts]
        total += float(np.mean(1 / np.array(found)))
    return 100 * total / len(sets)


def facts_kept(folder: Path, split: str, sampler: str, k: int, most: int) -> float:
    """The share of facts that the frames kept by a sampler show, in the mean over videos."""
    from vidsampler import select

    shares = []
    for video in read(folder, split)[:most]:
        selection = select(
            folder / split / f"{video.video}.mp4",
            k=k,
            sampler=sampler,
            candidates=len(video.slots),
        )
        shown = video.facts_shown(kept.time for kept in selection.kept)
        shares.append(len(shown) / len(video.facts))
    return float(np.mean(shares))


def sheet(folder: Path, split: str, number: int) -> RGB:
    """A contact sheet of one video's slots with their kinds."""
    video = read(folder, split)[number]
    cells = []
    pictures = slot_frames(folder, split, video)
    for number, (slot, picture) in enumerate(zip(video.slots, pictures, strict=True), 1):
        word = str(slot.kind)
        if slot.repeats is not None:
            word = f"repeats {slot.repeats + 1}"
        cells.append(Cell(picture, f"{number}  {word}", f"{slot.time:.1f} s"))
    title = f"{video.video}: {video.captions[0]}"
    return draw_sheet(cells, title)


def timed(settings: ShapesSettings, workers: int) -> tuple[float, float]:
    """Seconds that a first rendering takes: on the clock, and of all processors together."""

    def spent() -> float:
        return sum(os.times()[:4])

    with tempfile.TemporaryDirectory() as folder:
        start, before = time.perf_counter(), spent()
        render(settings, Path(folder), workers=workers)
        return time.perf_counter() - start, spent() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=200, help="to render for the speed")
    parser.add_argument("--look", type=int, default=300, help="videos to measure statistics on")
    parser.add_argument("--sheet", type=Path, help="write a sheet of one video's slots here")
    parser.add_argument("--number", type=int, default=0, help="which test video the sheet shows")
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[1, 2], help="to render with; none: no speed"
    )
    args = parser.parse_args()
    for workers in args.processes:
        seconds, busy = timed(ShapesSettings(train=0, val=0, test=args.clips), workers)
        print(
            f"processes: {workers}, {args.clips / seconds:.1f} clips/s, 1,000 clips in "
            f"{1000 * seconds / args.clips:.0f} s ({1000 * busy / args.clips:.0f} s of processors)"
        )
    settings = replace(ShapesSettings(), train=0, val=0)
    folder = render(settings)
    if args.sheet:
        Image.fromarray(sheet(folder, "test", args.number)).save(args.sheet)
    print()
    print(auc_table(*measure(folder, "test", args.look)))
    print()
    videos = read(folder, "test")
    for known in range(1, settings.most_facts + 1):
        print(f"R@1 of {len(videos)} videos, {known} facts known: {knowing(videos, known):.1f}%")
    print()
    for sampler in ("uniform", "random", "keyframe", "scene", "coverage"):
        shares = [facts_kept(folder, "test", sampler, k, 100) for k in (4, 8)]
        print(f"{sampler}: keeps {shares[0]:.2f} of the facts with K = 4, {shares[1]:.2f} with 8")


if __name__ == "__main__":
    main()
