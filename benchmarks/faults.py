"""What `extract` makes of a machine, of damage, and what larger jobs would take.

    VIDSAMPLER_TEST_DATA=... python benchmarks/faults.py [cpu] [damaged] [memory] [scale]

- cpu: 200 real clips; how busy the processors are in the middle of the run (from a tenth to nine
  tenths of it), and the memory of the main process and of the workers by thirds; with the local
  engine, and with Ray where it is installed.
- damaged: 500 real clips with flipped, missing or zeroed bytes (seeded): with two and with one
  worker, and once killed on the way and completed; the bytes must be the same, and whole.
- memory: 1,000 such files through probe, select and extract; the memory of the process by tenths.
- scale: seconds of a core and bytes for a video like those of MSR-VTT, ActivityNet and the web, and
  from these the hours for all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.clips import make_clip, real_clips
from benchmarks.extract import CORES, make_clips
from tests.faults.doing import damage

CACHE = Path(tempfile.gettempdir()) / "vidsampler-bench"


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is deleted afterwards."""
    made = Path(tempfile.mkdtemp(prefix="vidsampler-faults-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def command(videos: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "vidsampler", "extract", str(videos), str(out), "--json", *words]


class Watch:
    """Processor time of a process and those below it, and their memory, ten times a second."""

    def __init__(self, pid: int) -> None:
        self.main: list[int] = []
        self.worker: list[int] = []
        self.busy: list[tuple[float, float]] = []
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            try:
                below = self._process.children(recursive=True)
                family = [self._process, *below]
                times = [process.cpu_times() for process in family]
                self.busy.append((time.monotonic(), sum(t.user + t.system for t in times)))
                self.main.append(self._process.memory_info().rss)
                self.worker.append(max((p.memory_info().rss for p in below), default=0))
            except psutil.Error:
                continue

    def middle(self) -> float:
        """Share of the processors that was busy from a tenth to nine tenths of the run."""
        begin, end = self.busy[0][0], self.busy[-1][0]
        low, high = begin + 0.1 * (end - begin), begin + 0.9 * (end - begin)
        inside = [each for each in self.busy if low <= each[0] <= high]
        (t0, c0), (t1, c1) = inside[0], inside[-1]
        return (c1 - c0) / (t1 - t0) / CORES


def thirds(sizes: list[int]) -> str:
    """MB in each third."""
    step = max(1, len(sizes) // 3)
    parts = [sizes[i * step : (i + 1) * step] or [0] for i in range(3)]
    return " ".join(f"{max(part) / 1e6:.0f}" for part in parts)


def cpu() -> None:
    videos = make_clips(CACHE / "extract-201", 201)
    print(f"{'200 real clips, 16 frames':<28}{'busy':>6}{'videos/s':>10}   ", end="")
    print("MB of the main process; of the largest other, by thirds")
    for name, words in {"local": (), "ray": ("--engine", "ray", "--per-shard", "16")}.items():
        if name == "ray" and shutil.which("ray", path=os.path.dirname(sys.executable)) is None:
            continue
        with folder() as out:
            run = subprocess.Popen(
                command(videos, out / "shards", "--quality", "80", *words),
                stdout=subprocess.PIPE,
                text=True,
            )
            clock = time.perf_counter()
            with Watch(run.pid) as watch:
                report = json.loads(run.communicate()[0])
            rate = report["done"] / (time.perf_counter() - clock)
        print(f"{name:<28}{watch.middle():>6.0%}{rate:>10.1f}   ", end="")
        print(f"{thirds(watch.main)}; {thirds(watch.worker)}", flush=True)


def damaged_clips(target: Path, count: int) -> Path:
    """Clips with seeded damage."""
    rng = random.Random(count)
    # The smaller half: the faults are in the structure, not in the length.
    clips = sorted(real_clips(), key=lambda path: path.stat().st_size)
    clips = clips[: len(clips) // 2]
    target.mkdir()
    for number in range(count):
        source = rng.choice(clips)
        (target / f"{number:04d}{source.suffix}").write_bytes(damage(source.read_bytes(), rng))
    return target


def hashes(out: Path) -> dict[str, str]:
    paths = [*out.glob("*.tar"), *out.glob("0*.json"), out / "errors.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def extracted(videos: Path, out: Path, *words: str) -> dict[str, object]:
    words = ("--frames", "4", "--size", "96", "--per-shard", "50", "--timeout", "60", *words)
    run = subprocess.run(command(videos, out, *words), capture_output=True, text=True, check=False)
    assert run.returncode in (0, 3), run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    report: dict[str, object] = json.loads(run.stdout)
    return report


def damaged(count: int = 500) -> None:
    from vidsampler.verify import verify

    with folder() as home:
        videos = damaged_clips(home / "videos", count)
        clock = time.perf_counter()
        report = extracted(videos, home / "one")
        seconds = time.perf_counter() - clock
        extracted(videos, home / "two", "--workers", "1")
        words = ("--frames", "4", "--size", "96", "--per-shard", "50", "--timeout", "60")
        run = subprocess.Popen(command(videos, home / "three", *words), stdout=subprocess.DEVNULL)
        time.sleep(seconds / 2)
        run.kill()
        run.wait()
        committed = len(list((home / "three").glob("0*.json")))
        extracted(videos, home / "three")
        outs = [home / name for name in ("one", "two", "three")]
        same = all(hashes(out) == hashes(outs[0]) for out in outs)
        findings = sum(len(verify(out).findings) for out in outs)
    print(f"{count} damaged clips: {report['done']} stored, {report['failed']} refused", end="")
    print(f" ({report['errors']}), {seconds:.0f} s")
    print(f"one and two workers, killed after {committed} shards and completed: ", end="")
    print(f"{'the same bytes' if same else 'OTHER BYTES'}, {findings} findings of verify")


def tenths(sizes: list[int]) -> str:
    step = len(sizes) // 10
    return " ".join(f"{max(sizes[i * step : (i + 1) * step]) / 1e6:.0f}" for i in range(10))


def memory(count: int = 1000) -> None:
    from vidsampler.errors import InputError
    from vidsampler.select import select
    from vidsampler.video.reader import probe

    own = psutil.Process()
    with folder() as home:
        videos = damaged_clips(home / "videos", count)
        print(f"{count} damaged clips             seconds  refused   MB by tenths of the run")
        looks = {"probe": probe, "select": lambda path: select(path, 4, candidates=16, threads=1)}
        for name, look in looks.items():
            sizes, refused = [], 0
            clock = time.perf_counter()
            for path in sorted(videos.iterdir()):
                try:
                    look(path)
                except InputError:
                    refused += 1
                sizes.append(own.memory_info().rss)
            seconds = time.perf_counter() - clock
            print(f"{name:<30}{seconds:>8.0f}{refused:>9}   {tenths(sizes)}", flush=True)
        words = ("--frames", "4", "--size", "96", "--per-shard", "50", "--timeout", "60")
        clock = time.perf_counter()
        run = subprocess.Popen(
            command(videos, home / "out", *words), stdout=subprocess.PIPE, text=True
        )
        with Watch(run.pid) as watch:
            report = json.loads(run.communicate()[0])
        seconds = time.perf_counter() - clock
        print(f"{'extract, main process':<30}{seconds:>8.0f}{report['failed']:>9}", end="   ")
        print(tenths(watch.main))
        print(f"{'extract, largest worker':<30}{'':>8}{'':>9}   {tenths(watch.worker)}")


KINDS = {
    # name: (videos, size, seconds, frames stored, copies for the measurement)
    "MSR-VTT, 15 s at 240 lines": (10_000, (320, 240), 15, 16, 24),
    "ActivityNet, 120 s at 360 lines": (20_000, (640, 360), 120, 64, 4),
    "web clips, 8 s at 720 lines": (10_000_000, (1280, 720), 8, 16, 12),
}


def scale() -> None:
    print(f"{'':<34}{'s/video':>8}{'MB in':>7}{'kB out':>8}{'videos':>12}", end="")
    print(f"{'TB in':>8}{'GB out':>8}{'core hours':>12}")
    for name, (count, size, seconds, frames, copies) in KINDS.items():
        clip = make_clip(f"scale-{size[1]}-{seconds}", size, seconds, 250)
        with folder() as home:
            (home / "in").mkdir()
            for number in range(copies):
                os.link(clip, home / "in" / f"{number}.mp4")
            each = []
            for repeat in range(3):
                run = subprocess.Popen(
                    command(home / "in", home / f"out{repeat}", "--frames", str(frames)),
                    stdout=subprocess.PIPE,
                    text=True,
                )
                report = json.loads(run.communicate()[0])
                # Of all cores that were there; the start is part of it, once an hour elsewhere.
                each.append(report["seconds"] * CORES / copies)
            cost = statistics.median(each)
            out = sum(path.stat().st_size for path in (home / "out0").glob("0*")) / copies
        coming, going = clip.stat().st_size * count / 1e12, out * count / 1e9
        print(f"{name:<34}{cost:>8.2f}{clip.stat().st_size / 1e6:>7.2f}{out / 1e3:>8.0f}", end="")
        print(f"{count:>12,}{coming:>8.3f}{going:>8,.0f}{cost * count / 3600:>12,.1f}", flush=True)


PARTS = {"cpu": cpu, "damaged": damaged, "memory": memory, "scale": scale}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    for name in parser.parse_args().parts or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
