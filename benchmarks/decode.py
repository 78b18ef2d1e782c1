"""Sparse decoding beside what a user would pick instead, in one interleaved run.

All contenders deliver the same K frames (middles of K equal segments) as RGB with a shorter side of
224 pixels. Prints medians, the ratio to the best other one in each cell, and the geometric mean.

    python benchmarks/decode.py [--repeats 5] [--quick] [--json decode.json]
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from clips import make_clip

from vidsampler.video import Video
from vidsampler.video.decode import scaled_size
from vidsampler.video.positions import uniform_positions

SIZE = 224
CLIPS = {
    "240p 15 s GOP 250": ("240p15", (426, 240), 15, 250),
    "720p 120 s GOP 250": ("720p120", (1280, 720), 120, 250),
    "720p 30 s GOP 30": ("720p30", (1280, 720), 30, 30),
    "1080p 60 s GOP 60": ("1080p60", (1920, 1080), 60, 60),
}
Contender = Callable[[Path, np.ndarray], Any]


def vidsampler_(path: Path, numbers: np.ndarray) -> Any:
    with Video(path, threads=2) as video:
        return [frame.rgb for frame in video.frames(numbers, SIZE)]


def shrink(frame: Any) -> np.ndarray:
    width, height = scaled_size(frame.width, frame.height, SIZE)
    return frame.to_ndarray(width=width, height=height, format="rgb24", interpolation="BICUBIC")


def sequential(path: Path, numbers: np.ndarray) -> Any:
    wanted, out = set(numbers.tolist()), []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 2
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                out.append(shrink(frame))
                if len(out) == len(wanted):
                    break
    return out


def seeking(path: Path, numbers: np.ndarray) -> Any:
    out = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 2
        step = 1 / (stream.average_rate * stream.time_base)
        for number in numbers:
            target = round(int(number) * step) + stream.start_time
            container.seek(target, stream=stream)
            for frame in container.decode(stream):
                if frame.pts >= target:
                    out.append(shrink(frame))
                    break
    return out


def opencv(path: Path, numbers: np.ndarray) -> Any:
    import cv2

    cv2.setNumThreads(2)
    wanted, out, number = set(numbers.tolist()), [], 0
    capture = cv2.VideoCapture(str(path))
    while len(out) < len(wanted) and capture.grab():
        if number in wanted:
            picture = capture.retrieve()[1]
            size = scaled_size(picture.shape[1], picture.shape[0], SIZE)
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            out.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
        number += 1
    capture.release()
    return out


def torchcodec_(mode: str, threads: int) -> Contender:
    def run(path: Path, numbers: np.ndarray) -> Any:
        from torchcodec.decoders import VideoDecoder
        from torchcodec.transforms import Resize

        width, height = sizes[path]  # known, so that the file is opened once
        decoder = VideoDecoder(
            path,
            seek_mode=mode,
            num_ffmpeg_threads=threads,
            transforms=[Resize(size=(height, width))],
        )
        return decoder.get_frames_at(numbers.tolist()).data

    return run


def decord_(path: Path, numbers: np.ndarray) -> Any:
    import decord

    width, height = sizes[path]
    reader = decord.VideoReader(str(path), width=width, height=height, num_threads=2)
    return reader.get_batch(numbers.tolist()).asnumpy()


sizes: dict[Path, tuple[int, int]] = {}


def contenders() -> dict[str, Contender]:
    found: dict[str, Contender] = {
        "vidsampler": vidsampler_,
        "PyAV sequential": sequential,
        "PyAV seek each": seeking,
    }
    try:
        import cv2  # noqa: F401

        found["OpenCV grab"] = opencv
    except ImportError:
        print("OpenCV is not installed: left out")
    try:
        import torchcodec.transforms  # noqa: F401

        for mode in ("exact", "approximate"):
            for threads in (1, 2):
                found[f"torchcodec {mode[:6]} {threads}"] = torchcodec_(mode, threads)
    except (ImportError, RuntimeError) as error:
        print(f"torchcodec does not load: left out ({str(error).splitlines()[0]})")
    try:
        import decord  # noqa: F401

        found["decord"] = decord_
    except ImportError:
        print("decord is not installed: left out")
    return found


def measure(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each, one after the other in turns.

    After a first round (imports, page cache) those that took more than 1.5 times as long as the
    best of the others cannot become the best: for them the second run is the figure.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for turn in range(repeats):
        best = min((min(v) for name, v in list(times.items())[1:] if v), default=math.inf)
        for position, (name, run) in enumerate(runs.items()):
            if turn and position and times[name][0] > 1.5 * best:
                continue
            begin = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def counted(label: str, run: Callable[[], Any], count: int) -> Callable[[], None]:
    """The run, which says so if it delivers another number of frames."""

    def checked() -> None:
        delivered = len(run())
        if delivered != count:
            print(f"  {label} delivers {delivered} frames instead of {count}")

    return checked


def check(path: Path, numbers: np.ndarray) -> bool:
    """Our frames, before scaling, are those of a full sequential decode, bit for bit."""
    taken: dict[int, bytes] = {}

    def taker() -> Any:
        return lambda number, pts, frame: taken.__setitem__(number, frame.to_ndarray().tobytes())

    with Video(path, threads=2) as video:
        video.decode_into(numbers, taker)
    wanted = set(numbers.tolist())
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted and frame.to_ndarray().tobytes() != taken.get(number):
                return False
    return len(taken) == len(wanted)


def keyframes_only(path: Path) -> Any:
    with Video(path, threads=2) as video:
        return [frame.rgb for frame in video.frames(video.keyframes(), SIZE)]


def full_decode(path: Path) -> Any:
    out = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 2
        for frame in container.decode(stream):
            if frame.key_frame:
                out.append(shrink(frame))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="only the two shortest clips")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = list(CLIPS)
    if options.quick:
        names = [names[0], names[2]]
    rows, ratios = [], []
    others = contenders()
    inexact = False
    for name in names:
        file, size, seconds, gop = CLIPS[name]
        path = make_clip(file, size, seconds, gop)
        sizes[path] = scaled_size(*size, SIZE)
        with Video(path) as video:
            frames = video.index.frames
        print(f"\n{name}: {frames} frames, {path.stat().st_size / 1e6:.1f} MB")
        for k in (4, 16, 32, 64):
            numbers = uniform_positions(frames, k)
            exact = check(path, numbers)
            inexact |= not exact
            runs = {
                label: (lambda run=run, p=path, n=numbers: run(p, n))
                for label, run in others.items()
            }
            for label, run in runs.items():
                runs[label] = counted(label, run, len(numbers))
            medians = measure(runs, options.repeats)
            ours = medians["vidsampler"]
            best = min((m, label) for label, m in medians.items() if label != "vidsampler")
            ratios.append(best[0] / ours)
            rows.append({"clip": name, "k": k, "seconds": medians, "exact": exact})
            print(
                f"  K={k:<3} vidsampler {ours * 1e3:7.1f} ms   best other {best[0] * 1e3:7.1f} ms "
                f"({best[1]})   {best[0] / ours:5.2f}x   {'bit-exact' if exact else 'NOT EXACT'}",
                flush=True,
            )
            listed = [f"{label} {m * 1e3:.0f}" for label, m in medians.items()][1:]
            for start in range(0, len(listed), 4):
                print("        " + ", ".join(listed[start : start + 4]))
        medians = measure(
            {
                "keyframes": lambda p=path: keyframes_only(p),
                "full": lambda p=path: full_decode(p),
            },
            options.repeats,
        )
        ratio = medians["full"] / medians["keyframes"]
        rows.append({"clip": name, "keyframe mode": medians})
        print(
            f"  keyframe mode {medians['keyframes'] * 1e3:.1f} ms, full decode "
            f"{medians['full'] * 1e3:.1f} ms: {ratio:.1f}x"
        )
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"\ngeometric mean {mean:.2f}x the best other of each cell; least {min(ratios):.2f}x")
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "machine": platform.processor() or platform.machine(),
                    "repeats": options.repeats,
                    "geometric_mean": mean,
                    "least": min(ratios),
                    "rows": rows,
                },
                indent=1,
            )
        )
    if inexact:
        raise SystemExit("frames differ from those of a sequential decode")


if __name__ == "__main__":
    main()
