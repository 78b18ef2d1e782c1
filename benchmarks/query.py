"""Does a question find its clip? Montages of captioned real clips, asked with one clip's caption.

Each montage joins 8 real clips of uneven lengths (1 to 5 seconds, log-uniform) from `montage.py`,
without its bad seconds. The question is the first caption of one of them, drawn at random. Every
sampler that chooses by a question keeps K of 32 candidates by the scores of one image-text model;
`uniform` keeps K frames of the file. Printed for each K, over the montages:

- share: the part of the kept frames that lie in the clip that was asked for, mean +- standard
  deviation;
- found: how often at least one of them does;
- against uniform: the mean difference of the share, montage by montage, with a 95% bootstrap
  interval.

    VIDSAMPLER_TEST_DATA=DATA python -m benchmarks.query

DATA/clips holds the clips and captions.csv, DATA/weights/lite2_minilm the model. Montages and
features are made once and kept in the system's folder for temporary files.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.montage import RATE, SIZE, Clip, Piece, cached, interval, load_clips, plan

REFERENCE = "uniform"
CANDIDATES = 32


@dataclass(frozen=True)
class Asked:
    """A montage and what is asked about it.

    Attributes:
        seed: Its number.
        pieces: The clips, in order.
        target: Which of them is asked for.
        question: Its caption.
    """

    seed: int
    pieces: tuple[Piece, ...]
    target: int
    question: str

    @property
    def part(self) -> float:
        """The part of the montage that the clip has: what blind choice gets."""
        lengths = [piece.frames for piece in self.pieces]
        return lengths[self.target] / sum(lengths)

    def share(self, times: Sequence[float]) -> float:
        """The part of kept frames that lie in the clip."""
        ends = np.cumsum([piece.frames for piece in self.pieces])
        numbers = np.rint(np.asarray(times) * RATE).astype(int)
        return float((np.searchsorted(ends, numbers, side="right") == self.target).mean())


def captions_of(folder: Path) -> dict[str, str]:
    """The first caption of each clip, by its file name.

    UCF101's are left out: many of its clips have the same one.
    """
    captions: dict[str, str] = {}
    with (folder / "captions.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["set"] != "ucf101":
                captions.setdefault(row["video"], row["caption"])
    return captions


def ask(
    clips: Sequence[Clip],
    captions: dict[str, str],
    seed: int,
    *,
    count: int = 8,
    lengths: tuple[float, float] = (1, 5),
) -> Asked:
    """The montage of a seed, and the question about it."""
    known = [clip for clip in clips if clip.path.name in captions]
    pieces = tuple(p for p in plan(known, seed, count=count, lengths=lengths) if p.kind == "clip")
    target = int(np.random.default_rng([seed, 1]).integers(count))
    return Asked(seed, pieces, target, captions[Path(str(pieces[target].clip)).name])


def summarise(shares: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Means, spreads and paired differences to the reference."""
    summary: dict[str, dict[str, Any]] = {}
    for name, values in shares.items():
        array = np.array(values)
        summary[name] = {
            "share": {"mean": float(array.mean()), "std": float(array.std())},
            "found": float((array > 0).mean()),
        }
        if name != REFERENCE:
            differences = array - np.array(shares[REFERENCE])
            summary[name]["difference"] = {
                "mean": float(differences.mean()),
                "interval": interval(differences),
            }
    return summary


def table(summary: dict[str, dict[str, Any]]) -> str:
    """The summary as text, best share first."""
    lines = [f"{'sampler':10}{'share':>15}{'found':>8}   against {REFERENCE}, 95% interval"]
    for name, row in sorted(summary.items(), key=lambda item: -item[1]["share"]["mean"]):
        share = f"{row['share']['mean']:.3f} +- {row['share']['std']:.3f}"
        line = f"{name:10}{share:>15}{row['found']:>8.2f}"
        if "difference" in row:
            low, high = row["difference"]["interval"]
            line += f"   {row['difference']['mean']:+.3f}  [{low:+.3f}, {high:+.3f}]"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Renders, asks, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--montages", type=int, default=60, help="how many (default: 60)")
    parser.add_argument("--seed", type=int, default=5000, help="of the first (default: 5000)")
    parser.add_argument("--k", type=int, nargs="+", default=[4, 8], help="kept frames")
    parser.add_argument("--backbone", help="default: DATA/weights/lite2_minilm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all results")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "vidsampler-montage"
    )
    parser.add_argument(
        "--minutes", type=float, help="stop after so long and print what there is so far"
    )
    options = parser.parse_args()
    begun = time.perf_counter()
    data = os.environ.get("VIDSAMPLER_TEST_DATA")
    if not data:
        sys.exit("set VIDSAMPLER_TEST_DATA to the folder that holds clips/captions.csv")
    os.environ["VIDSAMPLER_CACHE"] = str(options.cache)
    from vidsampler import registry, select
    from vidsampler.query import ImageText

    folder = Path(data) / "clips"
    clips, captions = load_clips(folder), captions_of(folder)
    model = ImageText(options.backbone or str(Path(data) / "weights" / "lite2_minilm"))
    samplers = (*registry.asking_samplers(), REFERENCE)
    shares: dict[int, dict[str, list[float]]] = {
        k: {name: [] for name in samplers} for k in options.k
    }
    parts: list[float] = []
    for seed in range(options.seed, options.seed + options.montages):
        if options.minutes and parts and time.perf_counter() - begun > 60 * options.minutes:
            break
        asked = ask(clips, captions, seed)
        parts.append(asked.part)
        path = cached(asked.pieces, options.cache, SIZE)
        for k, of_k in shares.items():
            for name, values in of_k.items():
                question: dict[str, Any] = {}
                if name != REFERENCE:
                    question = {"query": asked.question, "model": model}
                selection = select(path, k, sampler=name, candidates=CANDIDATES, **question)
                values.append(asked.share([frame.time for frame in selection.kept]))
        if len(parts) % 10 == 0:
            spent = time.perf_counter() - begun
            print(f"{len(parts)} of {options.montages}, {spent:.0f} s", file=sys.stderr)
    summary = {k: summarise(of_k) for k, of_k in shares.items()}
    print(
        f"{len(parts)} montages of 8 clips, seeds from {options.seed}; "
        f"{Path(model.config.name).name}, {model.config.precision}, {CANDIDATES} candidates\n"
        f"the clip that is asked for has {np.mean(parts):.3f} +- {np.std(parts):.3f} of a montage"
    )
    for k, rows in summary.items():
        print(f"\nK = {k}\n{table(rows)}")
    if options.json:
        report = {
            "settings": {k: v for k, v in vars(options).items() if k not in ("json", "cache")},
            "parts": parts,
            "summary": summary,
            "shares": shares,
        }
        options.json.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
