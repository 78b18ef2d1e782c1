"""How fast `vidsampler extract` is, beside one ffmpeg process a video.

    VIDSAMPLER_TEST_DATA=... python benchmarks/extract.py [--clips 200] [--repeats 3]

All write the same clips (real ones, repeated and re-encoded to 240p, 360p and 720p), the shorter
side 224 pixels, JPEG at a like quality, with as many processes as there are cores and one decoder
thread each. Contenders, in one interleaved run:

- (a) ffmpeg writes every frame of a video as JPEG: what the published systems do;
- (b) ffmpeg with ``-vf fps=1,scale``;
- (c) ffmpeg with ``-vf fps=3,scale`` to H.264, beside ``--store mp4``;
- `vidsampler extract` with 16 frames, at 1 fps, and at 3 fps as mp4.

Prints videos a second (medians), the ratios, JPEG sizes, and the memory of a worker over the run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

HEIGHTS = (240, 360, 720)
CORES = len(os.sched_getaffinity(0))
SIZE = "scale='if(gt(iw,ih),-2,224)':'if(gt(iw,ih),224,-2)'"
"""The shorter side at 224; -2: the other one even."""


def make_clips(folder: Path, count: int) -> Path:
    """Re-encodes real clips until there are ``count``."""
    data = Path(os.environ["VIDSAMPLER_TEST_DATA"]) / "clips"
    with (data / "captions.csv").open() as file:
        names = sorted({row["video"] for row in csv.DictReader(file) if row["original"] == "1"})
    folder.mkdir(parents=True, exist_ok=True)

    def make(number: int) -> None:
        height = HEIGHTS[number % len(HEIGHTS)]
        source = data / names[number // len(HEIGHTS) % len(names)]
        target = folder / f"clip{number:03d}_{height}.mp4"
        if target.exists():
            return
        part = target.with_suffix(".part.mp4")
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-an"]
        command += ["-vf", f"fps=25,scale=-2:{height}", "-c:v", "libx264", "-preset", "medium"]
        subprocess.run([*command, "-pix_fmt", "yuv420p", str(part)], check=True)
        part.rename(target)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(make, range(count)))
    return folder


def ffmpeg_each(clips: list[Path], options: list[str], target: str) -> Callable[[Path], None]:
    """One ffmpeg process a video, as many at once as there are cores."""

    def one(clip: Path, out: Path) -> None:
        folder = out / clip.stem
        folder.mkdir()
        command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(clip), "-threads", "1"]
        subprocess.run(
            [*command, *options, str(folder / target)], check=True, stdin=subprocess.DEVNULL
        )

    def run(out: Path) -> None:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(lambda clip: one(clip, out), clips))

    return run


class WorkerMemory:
    """The largest resident size of any worker, looked at ten times a second, by thirds of a run."""

    def __init__(self, pid: int) -> None:
        self.seen: list[tuple[float, int]] = []
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> WorkerMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            try:
                sizes = [child.memory_info().rss for child in self._process.children()]
            except psutil.Error:
                continue
            if sizes:
                self.seen.append((time.monotonic(), max(sizes)))

    def thirds(self) -> list[float]:
        """MB in each third of the run."""
        if not self.seen:
            return []
        begin, end = self.seen[0][0], self.seen[-1][0] + 1e-6
        found = []
        for third in range(3):
            low, high = (begin + (end - begin) * part / 3 for part in (third, third + 1))
            inside = [size for moment, size in self.seen if low <= moment < high]
            found.append(max(inside, default=0) / 1e6)
        return found


MEMORY: dict[str, list[float]] = {}


def vidsampler(name: str, videos: Path, words: list[str]) -> Callable[[Path], None]:
    """The command itself, its start included."""

    def run(out: Path) -> None:
        command = [sys.executable, "-m", "vidsampler", "extract", str(videos), str(out / "shards")]
        process = subprocess.Popen([*command, "--json", *words], stdout=subprocess.PIPE, text=True)
        with WorkerMemory(process.pid) as memory:
            output, _ = process.communicate()
        report = json.loads(output)
        assert report["done"] == len(list(videos.glob("*.mp4"))), report
        MEMORY[name] = memory.thirds()

    return run


def size_of(folder: Path, ending: str) -> float:
    """Mean kB of the files (or members) of a kind."""
    sizes = [path.stat().st_size for path in folder.rglob(f"*{ending}")]
    for path in folder.rglob("0*.json"):
        index = json.loads(path.read_text())["index"]
        sizes += [size for entry in index for name, size in entry[3] if name.endswith(ending)]
    return statistics.mean(sizes) / 1e3 if sizes else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=201)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cache = Path(tempfile.gettempdir()) / "vidsampler-bench" / f"extract-{arguments.clips}"
    videos = make_clips(cache, arguments.clips)
    clips = sorted(videos.glob("clip???_*.mp4"))
    # FFmpeg's -q:v 3 and quality 80 give JPEGs of about the same size: see "kB".
    jpeg, like = ["-q:v", "3"], ["--quality", "80"]
    contenders: dict[str, tuple[Callable[[Path], None], str]] = {
        "(a) ffmpeg, every frame": (ffmpeg_each(clips, ["-vf", SIZE, *jpeg], "%05d.jpg"), ".jpg"),
        "(b) ffmpeg, fps=1": (
            ffmpeg_each(clips, ["-vf", f"fps=1,{SIZE}", *jpeg], "%05d.jpg"),
            ".jpg",
        ),
        "(c) ffmpeg, fps=3, H.264": (
            ffmpeg_each(
                clips,
                ["-vf", f"fps=3,{SIZE}", "-c:v", "libx264", "-preset", "veryfast", "-an"],
                "out.mp4",
            ),
            "mp4",
        ),
        "16 frames": (vidsampler("16 frames", videos, ["--frames", "16", *like]), ".jpg"),
        "1 fps": (vidsampler("1 fps", videos, ["--fps", "1", *like]), ".jpg"),
        "3 fps mp4": (vidsampler("3 fps mp4", videos, ["--fps", "3", "--store", "mp4"]), "mp4"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    kilobytes: dict[str, float] = {}
    for repeat in range(arguments.repeats):
        for name, (run, ending) in contenders.items():
            out = Path(tempfile.mkdtemp(prefix="vidsampler-extract-"))
            try:
                clock = time.perf_counter()
                run(out)
                seconds[name].append(time.perf_counter() - clock)
                kilobytes[name] = size_of(out, ending)
            finally:
                shutil.rmtree(out)
            print(f"round {repeat + 1}: {name}: {seconds[name][-1]:.1f} s", file=sys.stderr)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{len(clips)} clips of {HEIGHTS} lines, {CORES} processes, median of ", end="")
    print(f"{arguments.repeats}\n")
    print(f"{'contender':<26}{'videos/s':>9}{'seconds':>9}{'kB':>7}   memory of a worker, MB")
    for name in contenders:
        memory = " ".join(f"{size:.0f}" for size in MEMORY.get(name, ()))
        rate = len(clips) / median[name]
        print(f"{name:<26}{rate:>9.1f}{median[name]:>9.1f}{kilobytes[name]:>7.1f}   {memory}")
    print()
    ratios = {}
    for ours, theirs, goal in (
        ("16 frames", "(a) ffmpeg, every frame", 4.0),
        ("16 frames", "(b) ffmpeg, fps=1", 1.5),
        ("1 fps", "(b) ffmpeg, fps=1", 1.0),
        ("3 fps mp4", "(c) ffmpeg, fps=3, H.264", None),
    ):
        # Of each round, so that a slow minute of the machine weighs on both.
        each = [b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True)]
        ratio = ratios[f"{ours} / {theirs}"] = statistics.median(each)
        said = "" if goal is None else f"   (goal {goal:g})"
        print(f"{ours} is {ratio:.2f} times as fast as {theirs}{said}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {
                    "clips": len(clips),
                    "cores": CORES,
                    "seconds": seconds,
                    "ratios": ratios,
                    "memory_mb": MEMORY,
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
