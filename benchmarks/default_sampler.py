"""Is the trained sampler better than those without training? Three tables, by one command.

    VIDSAMPLER_TEST_DATA=DATA python -m benchmarks.default_sampler

1. Montages (see `montage`) of clips that it was not trained on, in series of other seeds: the share
   of the clips that a kept frame shows, kept black or blurred frames, pairs of the frozen second.
   `+-` is the standard deviation of the series' means. The gain over each other sampler is a mean
   over the montages with its paired bootstrap interval of 95%.
2. Text to video R@1 of an image-text model (DATA/weights/lite2_minilm) on the kept frames of the
   same clips, one caption each, with the mean of the frames, at K = 2, 4 and 8.
3. Seconds of `vidsampler select` as a command, with an empty cache, with the default sampler and
   with the trained one, beside a plain decode of the whole file in this process with as many
   threads as there are processors.

What is measured is kept in FILE (--json) after each montage and clip, so that the same command goes
on where it was ended. `--checkpoint RUN` measures that run in place of the shipped sampler.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.default_data import sides
from benchmarks.montage import SIZE, Piece, Score, cached, interval, judge, load_clips, plan

OTHERS = ("uniform", "keyframe", "scene", "coverage")
KEPT = (2, 4, 8)
LEARNED = "learned"
FIRST_SEED = 20_000


class Results:
    """What is measured already, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, key: str) -> Any:
        """A value, or None."""
        return self.values.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keeps a value."""
        self.values[key] = value
        part = self.path.with_name(f".{self.path.name}")
        part.write_text(json.dumps(self.values, indent=0, sort_keys=True, default=float) + "\n")
        part.replace(self.path)


def chosen(path: Path, k: int, sampler: str, checkpoint: Path | None) -> Any:
    """The selection of a sampler."""
    from vidsampler import select

    if sampler == LEARNED and checkpoint is not None:
        return select(path, k, checkpoint=checkpoint)
    return select(path, k, sampler=sampler)


def montages(
    clips: Path, series: int, count: int, cache: Path, results: Results, checkpoint: Path | None
) -> list[int]:
    """Judges every sampler on all montages; the seeds of those that are done."""
    _, test = sides(clips)
    held_out = [clip for clip in load_clips(clips) if clip.path.name in test]
    print(f"{len(held_out)} clips to make montages of, of as many sources", file=sys.stderr)
    # One of each series after the other, so that a part is a fair part.
    seeds = [FIRST_SEED + 1000 * each + i for i in range(count) for each in range(series)]
    for number, seed in enumerate(seeds, 1):
        montage: Sequence[Piece] = plan(held_out, seed)
        missing = [each for each in (LEARNED, *OTHERS) if results.get(f"{each} {seed}") is None]
        if not missing:
            continue
        path = cached(montage, cache, SIZE)
        for sampler in missing:
            clock = time.perf_counter()
            times = [frame.time for frame in chosen(path, 8, sampler, checkpoint).kept]
            score = judge(montage, times, time.perf_counter() - clock)
            results.put(f"{sampler} {seed}", asdict(score))
        print(f"montage {number} of {len(seeds)}", file=sys.stderr)
    return seeds


def montage_table(results: Results, seeds: Sequence[int]) -> str:
    """The first table."""
    done = [s for s in seeds if all(results.get(f"{each} {s}") for each in (LEARNED, *OTHERS))]
    rows = {
        each: [Score(**results.get(f"{each} {seed}")) for seed in done]
        for each in (LEARNED, *OTHERS)
    }
    of_series = {s // 1000 for s in done}
    lines = [
        f"{len(done)} montages of 8 clips held out, in {len(of_series)} series, K = 8",
        "",
        f"{'sampler':10}{'share of clips':>17}{'black or blurred':>18}{'frozen':>8}{'seconds':>9}",
    ]
    for name in sorted(rows, key=lambda each: -np.mean([row.share for row in rows[each]])):
        shares = np.array([row.share for row in rows[name]])
        means = [
            shares[[i for i, s in enumerate(done) if s // 1000 == each]].mean()
            for each in of_series
        ]
        lines.append(
            f"{name:10}{shares.mean():>9.3f} +- {np.std(means):.3f}"
            f"{np.mean([row.bad for row in rows[name]]):>18.2f}"
            f"{np.mean([row.frozen for row in rows[name]]):>8.2f}"
            f"{np.median([row.seconds for row in rows[name]]):>9.2f}"
        )
    lines += ["", "gain of learned in the share, same montages: mean, 95% interval"]
    for name in OTHERS:
        pairs = zip(rows[LEARNED], rows[name], strict=True)
        gains = np.array([ours.share - theirs.share for ours, theirs in pairs])
        low, high = interval(gains)
        lines.append(f"over {name:10}{gains.mean():+.3f}  [{low:+.3f}, {high:+.3f}]")
    return "\n".join(lines)


def retrieval(
    data: Path, count: int | None, results: Results, checkpoint: Path | None
) -> list[str]:
    """Features of the kept frames of all clips held out that have a caption of their own."""
    import torch

    from vidsampler.query import ImageText
    from vidsampler.video import Video

    _, test = sides(data / "clips")
    with (data / "clips" / "captions.csv").open(newline="", encoding="utf-8") as file:
        captions: dict[str, str] = {}
        for row in csv.DictReader(file):
            if row["video"] in test and row["set"] != "ucf101":
                captions.setdefault(row["video"], row["caption"])
    names = list(captions)[:count]
    missing = {
        name: [each for each in (LEARNED, *OTHERS) if not results.get(f"clip {name} {each}")]
        for name in names
    }
    if not any(missing.values()):
        return names
    torch.set_grad_enabled(False)
    model = ImageText(str(data / "weights" / "lite2_minilm"))
    model.load()
    for number, (name, samplers) in enumerate(missing.items(), 1):
        if not samplers:
            continue
        path = data / "clips" / name
        kept = {
            (each, k): [frame.index for frame in chosen(path, k, each, checkpoint).kept]
            for each in samplers
            for k in KEPT
        }
        wanted = sorted({index for indices in kept.values() for index in indices})
        with Video(path) as video:
            frames = [frame.rgb for frame in video.frames(wanted, model.frame_size)]
        features = dict(zip(wanted, model.frames(frames), strict=True))
        if not results.get(f"text {name}"):
            results.put(f"text {name}", np.round(model.texts([captions[name]])[0][0], 5).tolist())
        for each in samplers:
            means = [np.mean([features[i] for i in kept[each, k]], axis=0) for k in KEPT]
            results.put(f"clip {name} {each}", np.round(means, 5).tolist())
        print(f"clip {number} of {len(names)}", file=sys.stderr)
    return names


def retrieval_table(results: Results, names: Sequence[str]) -> str:
    """The second table."""
    clips = [
        name
        for name in names
        if all(results.get(f"clip {name} {each}") for each in (LEARNED, *OTHERS))
    ]
    texts = np.array([results.get(f"text {name}") for name in clips])
    hits: dict[str, Any] = {}
    for sampler in (LEARNED, *OTHERS):
        for place, k in enumerate(KEPT):
            videos = np.array([results.get(f"clip {name} {sampler}")[place] for name in clips])
            scores = texts @ (videos / np.linalg.norm(videos, axis=1, keepdims=True)).T
            own = scores.diagonal()[:, None]
            hits[f"{sampler} {k}"] = ((scores > own).sum(1) == 0).astype(float)
    lines = [
        f"t2v R@1 of lite2_minilm on {len(clips)} clips held out, one caption each",
        "",
        f"{'sampler':10}" + "".join(f"{f'K = {k}':>8}" for k in KEPT) + f"{'mean':>8}",
    ]
    mean = {
        each: np.mean([hits[f"{each} {k}"] for k in KEPT], axis=0) for each in (LEARNED, *OTHERS)
    }
    for name in sorted(mean, key=lambda each: -mean[each].mean()):
        cells = [*(hits[f"{name} {k}"].mean() for k in KEPT), mean[name].mean()]
        lines.append(f"{name:10}" + "".join(f"{100 * cell:>8.1f}" for cell in cells))
    lines += ["", "points that learned gains in the mean, same clips: mean, 95% interval"]
    for name in OTHERS:
        gains = 100 * (mean[LEARNED] - mean[name])
        low, high = interval(gains)
        lines.append(f"over {name:10}{gains.mean():+.1f}  [{low:+.1f}, {high:+.1f}]")
    return "\n".join(lines)


def times(data: Path, cache: Path, results: Results, checkpoint: Path | None) -> None:
    """Seconds of the command, and of a plain decode."""
    from benchmarks.clips import make_clip

    clips = {
        "10 s, 360p": looped(make_clip("360p10", (640, 360), 10, 250), cache, 1),
        "10 min, 720p": looped(make_clip("720p120", (1280, 720), 120, 250), cache, 5),
    }
    # Clips as they came, not the small copies among them.
    with (data / "clips" / "captions.csv").open(newline="", encoding="utf-8") as file:
        originals = {row["video"] for row in csv.DictReader(file) if row["original"] == "1"}
    for name in sorted(originals)[:: max(1, len(originals) // 10)][:10]:
        clips[name] = data / "clips" / name
    trained = ["--sampler", LEARNED] if checkpoint is None else ["--checkpoint", str(checkpoint)]
    for name, path in clips.items():
        if results.get(f"seconds {name}"):
            continue
        seconds: dict[str, float] = {}
        for what, words in (("default", []), (LEARNED, trained)):
            taken = []
            for _ in range(3):
                with tempfile.TemporaryDirectory() as empty:
                    clock = time.perf_counter()
                    subprocess.run(
                        [sys.executable, "-m", "vidsampler", "select", str(path), *words],
                        env={**os.environ, "VIDSAMPLER_CACHE": empty, "HF_HUB_OFFLINE": "1"},
                        check=True,
                        capture_output=True,
                    )
                    taken.append(time.perf_counter() - clock)
            seconds[what] = float(np.median(taken))
        decoding = []
        for _ in range(1 if "min" in name else 3):
            clock = time.perf_counter()
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                stream.codec_context.thread_count = len(os.sched_getaffinity(0))
                frames = sum(1 for _ in container.decode(stream))
            decoding.append(time.perf_counter() - clock)
        seconds["decode"] = float(np.median(decoding))
        results.put(f"seconds {name}", {"frames": frames, **seconds})


def looped(path: Path, cache: Path, count: int) -> Path:
    """The same packets so many times in a row."""
    if count == 1:
        return path
    out = cache / f"{path.stem}-{count}-times.mp4"
    if out.exists():
        return out
    cache.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}")
    with av.open(str(part), "w", format="mp4") as to:
        stream: Any = None
        for turn in range(count):
            with av.open(str(path)) as source:
                old: Any = source.streams.video[0]
                stream = stream or to.add_stream_from_template(old)
                for packet in source.demux(old):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts += turn * old.duration
                    packet.dts += turn * old.duration
                    packet.stream = stream
                    to.mux(packet)
    part.replace(out)
    return out


def time_table(results: Results) -> str:
    """The third table."""
    heads = ("frames", "default, s", "learned, s", "decode, s", "default/decode")
    lines = [f"{'file':28}" + "".join(f"{head:>{len(head) + 2}}" for head in heads)]
    for key, value in results.values.items():
        if key.startswith("seconds "):
            cells = (
                str(value["frames"]),
                f"{value['default']:.2f}",
                f"{value[LEARNED]:.2f}",
                f"{value['decode']:.2f}",
                f"{value['default'] / value['decode']:.2f}",
            )
            row = "".join(
                f"{cell:>{len(head) + 2}}" for cell, head in zip(cells, heads, strict=True)
            )
            lines.append(f"{key[8:][:27]:28}{row}")
    return "\n".join(lines)


def main() -> None:
    """Measures what is missing, and prints all tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--series", type=int, default=5, help="of montages (default: 5)")
    parser.add_argument("--montages", type=int, default=20, help="of a series (default: 20)")
    parser.add_argument("--clips", type=int, help="of the second table (default: all)")
    parser.add_argument("--checkpoint", type=Path, help="a run, in place of the shipped sampler")
    parser.add_argument("--json", type=Path, default=Path("default-sampler.json"))
    parser.add_argument(
        "--parts", nargs="+", default=["montages", "retrieval", "time"], help="(default: all)"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "vidsampler-montage"
    )
    options = parser.parse_args()
    if "VIDSAMPLER_TEST_DATA" not in os.environ:
        sys.exit("set VIDSAMPLER_TEST_DATA to the folder that holds clips/captions.csv")
    data = Path(os.environ["VIDSAMPLER_TEST_DATA"])
    results = Results(options.json)
    tables = []
    if "montages" in options.parts:
        seeds = montages(
            data / "clips",
            options.series,
            options.montages,
            options.cache,
            results,
            options.checkpoint,
        )
        tables.append(montage_table(results, seeds))
    if "retrieval" in options.parts:
        names = retrieval(data, options.clips, results, options.checkpoint)
        tables.append(retrieval_table(results, names))
    if "time" in options.parts:
        times(data, options.cache, results, options.checkpoint)
        tables.append(time_table(results))
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
