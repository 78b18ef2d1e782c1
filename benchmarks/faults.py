"""What `extract` makes of a machine, of damage, and what larger jobs would take.

    VIDSAMPLER_TEST_DATA=... python benchmarks/faults.py [cpu] [damaged] [memory] [scale]

- cpu: 200 real clips; in the middle of the run (from a tenth to nine tenths of it) how busy the
  processors are, and for how much of the time the workers had something to do: ran, or waited for
  a processor that other programs had. And the memory of the main process and of the workers, by
  thirds; with the local engine, and with Ray where it is installed.
- damaged: 500 real clips with flipped, missing or zeroed bytes (seeded): with two and with one
  worker, and once killed on the way and completed; the bytes must be the same, and whole.
- memory: 1,000 such files through probe, select and extract; the memory of the process by tenths.
- scale: seconds of a core and bytes for a video like those of MSR-VTT, ActivityNet and the web, and
  from these the core hours for all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
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
        self.busy: list[tuple[float, float, float]] = []
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
                used = sum(t.user + t.system for t in times)
                self.busy.append((time.monotonic(), used, sum(ran_or_waited(p.pid) for p in below)))
                self.main.append(self._process.memory_info().rss)
                self.worker.append(max((p.memory_info().rss for p in below), default=0))
            except psutil.Error:
                continue

    def middle(self) -> tuple[float, float]:
        """Shares of the processors from a tenth to nine tenths of the run: busy, and wanted."""
        begin, end = self.busy[0][0], self.busy[-1][0]
        low, high = begin + 0.1 * (end - begin), begin + 0.9 * (end - begin)
        inside = [each for each in self.busy if low <= each[0] <= high]
        (t0, used0, wanted0), (t1, used1, wanted1) = inside[0], inside[-1]
        whole = (t1 - t0) * CORES
        return (used1 - used0) / whole, (wanted1 - wanted0) / whole


def ran_or_waited(pid: int) -> float:
    """Seconds that a process ran or could have run, by the scheduler's own account."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(ran) + int(waited)) / 1e9


def thirds(sizes: list[int]) -> str:
    """MB in each third."""
    step = max(1, len(sizes) // 3)
    parts = [sizes[i * step : (i + 1) * step] or [0] for i in range(3)]
    return " ".join(f"{max(part) / 1e6:.0f}" for part in parts)


def cpu() -> None:
    videos = make_clips(CACHE / "extract-201", 201)
    print(f"{'200 real clips, 16 frames':<28}{'busy':>6}{'wanted':>8}{'videos/s':>10}   ", end="")
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
        busy, wanted = watch.middle()
        print(f"{name:<28}{busy:>6.0%}{wanted:>8.0%}{rate:>10.1f}   ", end="")
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


START = 2.0
"""Seconds of processor that starting Python and its workers takes, once a run."""

KINDS = {
    # name: (videos, frames stored)
    "MSR-VTT: 15 s at 240 lines": (10_000, 16),
    "ActivityNet: 120 s at 720 lines": (20_000, 64),
    "web: 7.5 s at 240 to 720 lines": (10_000_000, 16),
}


def clips_like(name: str, home: Path) -> Path:
    """A folder of clips like those of a set."""
    if name.startswith("web"):
        return make_clips(CACHE / "extract-201", 201)
    size, seconds, copies = ((320, 240), 15, 24) if "240" in name else ((1280, 720), 120, 3)
    clip = make_clip(f"scale-{size[1]}-{seconds}", size, seconds, 250)
    for number in range(copies):
        os.link(clip, home / f"{number}.mp4")
    return home


def scale() -> None:
    print(f"{'':<33}{'core s':>8}{'MB in':>7}{'kB out':>8}{'videos':>12}", end="")
    print(f"{'TB in':>8}{'GB out':>8}{'core hours':>12}")
    for name, (count, frames) in KINDS.items():
        with folder() as home:
            (home / "in").mkdir()
            videos = clips_like(name, home / "in")
            files = list(videos.glob("*.mp4"))
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            words = command(videos, home / "out", "--frames", str(frames))
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            # Time of the processors, which other work on the machine hardly changes.
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            cost = (spent - START) / len(files)
            size = sum(path.stat().st_size for path in files) / len(files)
            out = sum(path.stat().st_size for path in (home / "out").glob("0*")) / len(files)
        print(f"{name:<33}{cost:>8.3f}{size / 1e6:>7.2f}{out / 1e3:>8.0f}{count:>12,}", end="")
        print(f"{size * count / 1e12:>8.3f}{out * count / 1e9:>8,.0f}", end="")
        print(f"{cost * count / 3600:>12,.1f}", flush=True)


PARTS = {"cpu": cpu, "damaged": damaged, "memory": memory, "scale": scale}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    for name in parser.parse_args().parts or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
