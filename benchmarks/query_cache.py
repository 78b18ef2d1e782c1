"""A second question to the same video, beside the first.

For some clips: one process, imports and model load excluded, the model warmed up on another
picture. The first question decodes and encodes 64 candidates; the second one, another text, finds
their features on the disk. Then the command itself, in a process of its own for each question, as
one would type it: with imports and the load of the model.

    VIDSAMPLER_TEST_DATA=DATA python -m benchmarks.query_cache

DATA/weights/lite2_minilm is the model.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

QUESTIONS = ("a person on a street", "an animal in the grass", "food on a table", "a car at night")


def in_one_process(clip: Path, model: object, cache: Path) -> tuple[float, list[float]]:
    """Seconds of the first question, and of the others."""
    from vidsampler import select

    os.environ["VIDSAMPLER_CACHE"] = str(cache)
    seconds = []
    for question in QUESTIONS:
        begun = time.perf_counter()
        selection = select(clip, query=question, model=model)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - begun)
        assert selection.cached == (question != QUESTIONS[0])
    return seconds[0], seconds[1:]


def in_two_processes(clip: Path, backbone: str, cache: Path) -> list[float]:
    """Seconds of the command, with one question after the other."""
    seconds = []
    for question in QUESTIONS[:2]:
        begun = time.perf_counter()
        subprocess.run(
            [
                *[sys.executable, "-m", "vidsampler", "select", str(clip), "--json"],
                *["--query", question, "--backbone", backbone],
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "VIDSAMPLER_CACHE": str(cache)},
        )
        seconds.append(time.perf_counter() - begun)
    return seconds


def main() -> None:
    """Measures and prints."""
    from vidsampler.query import ImageText
    from vidsampler.video.reader import probe

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=4, help="how many (default: 4)")
    options = parser.parse_args()
    data = os.environ.get("VIDSAMPLER_TEST_DATA")
    if not data:
        sys.exit("set VIDSAMPLER_TEST_DATA to the folder that holds clips/captions.csv")
    backbone = str(Path(data) / "weights" / "lite2_minilm")
    # The largest and the smallest files, and some between.
    files = sorted((Path(data) / "clips").glob("*.mp4"), key=lambda path: path.stat().st_size)
    places = np.linspace(len(files) - 1, 0, options.clips).round().astype(int)
    model = ImageText(backbone)
    model.load()
    model.texts(["a warm-up"])
    model.frames([np.zeros((260, 260, 3), np.uint8)] * 32)
    _ = model.gmacs_frame, model.gmacs_text
    print(f"{'clip':>24}{'first':>10}{'second':>10}{'ratio':>8}   two processes")
    for place in places:
        clip = files[place]
        facts = probe(clip)
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            first, others = in_one_process(clip, model, Path(one))
            apart = in_two_processes(clip, backbone, Path(two))
        second = statistics.median(others)
        what = f"{facts.width}x{facts.height}, {facts.duration:.0f} s, {facts.size / 1e6:.1f} MB"
        print(
            f"{what:>24}{1000 * first:>7.0f} ms{1000 * second:>7.1f} ms{first / second:>8.0f}   "
            f"{apart[0]:.1f} s, then {apart[1]:.1f} s"
        )


if __name__ == "__main__":
    main()
