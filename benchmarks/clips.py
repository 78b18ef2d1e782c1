"""Long clips for benchmarks, made of real footage where test data is at hand."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CACHE = Path(os.environ.get("VIDSAMPLER_BENCH_DIR", tempfile.gettempdir())) / "vidsampler-bench"


def real_clips() -> list[Path]:
    """The clips of the test data folder that are source files (not small copies)."""
    root = os.environ.get("VIDSAMPLER_TEST_DATA")
    return sorted(Path(root, "clips").glob("*.mp4")) if root else []


def footage(width: int, height: int) -> Iterator[Any]:
    """Endless yuv420p frames: real clips one after the other, else moving patterns with grain."""
    clips = real_clips()
    while clips:
        for clip in clips:
            with av.open(str(clip)) as container:
                for frame in container.decode(video=0):
                    yield frame.reformat(width=width, height=height, format="yuv420p")
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    rng = np.random.default_rng(0)
    grain = rng.integers(-12, 12, (height, width, 3))
    number = 0
    while True:
        waves = [np.sin(columns / (40 + 9 * c) + rows / 31 + number / 9) for c in range(3)]
        picture = (128 + 90 * np.stack(waves, -1) + np.roll(grain, number, 1)).clip(0, 255)
        yield av.VideoFrame.from_ndarray(picture.astype(np.uint8)).reformat(format="yuv420p")
        number += 1


def make_clip(name: str, size: tuple[int, int], seconds: int, gop: int, rate: int = 25) -> Path:
    """An H.264 mp4 with three B-frames and a keyframe every ``gop`` frames; kept for later runs."""
    CACHE.mkdir(parents=True, exist_ok=True)
    source = "real" if real_clips() else "patterns"
    path = CACHE / f"{name}-{source}-medium.mp4"
    if path.exists():
        return path
    temporary = path.with_name(f".{path.name}")
    with av.open(str(temporary), "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {
            "preset": "medium",
            "crf": "23",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=3",
        }
        for number, frame in zip(range(seconds * rate), footage(*size), strict=False):
            frame.pts, frame.time_base = number, Fraction(1, rate)
            frame.pict_type = 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    temporary.rename(path)
    return path
