"""Every method learns the rendered dataset, beside uniform and coverage, trained at the same K.

    python benchmarks/shapes_training.py OUT [--seeds 0 1 2] [--budget MINUTES] [--only NAME ...]

Runs `vidsampler train --dataset shapes` once for each row and seed, into OUT/ROW-SEED. A run that
is finished is not done again; one that the budget ended goes on where it stopped. Then it prints
one table: test R@1 with chance beside it, frames kept, the share of these that are informative
(of `gate` also beside the first frame, which it is made to keep), the same after the candidates of
each video were shuffled, and seconds; mean and spread (standard deviation) over the seeds.

A learned sampler that has learned places in place of pictures loses its figures when candidates are
shuffled. `uniform` and `coverage` go by place or time, and are not shuffled.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vidsampler.datasets.shapes import ShapesVideo
    from vidsampler.loading.batch import Batch
    from vidsampler.retriever import Retriever
    from vidsampler.training.validation import Measured

RESULT = "benchmark.json"
K = 4


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        words: Of the command line, after --dataset shapes.
        learned: Its sampler has weights.
    """

    words: tuple[str, ...]
    learned: bool = False


def _fixed(method: str, sampler: str) -> Row:
    return Row(("--method", method, "--sampler", sampler, "--top-k", str(K)))


ROWS = {
    "adaclip": Row(("--method", "adaclip", "--top-k", str(K)), learned=True),
    "mmsampler": Row(("--method", "mmsampler", "--keep-target", str(K / 16)), learned=True),
    # Head and recipe of adaclip, then of mmsampler, with a sampler that learns nothing.
    "adaclip-uniform": _fixed("adaclip", "uniform"),
    "adaclip-coverage": _fixed("adaclip", "coverage"),
    "mmsampler-uniform": _fixed("mmsampler", "uniform"),
    "mmsampler-coverage": _fixed("mmsampler", "coverage"),
    "clip4clip": Row(("--method", "clip4clip")),
    "xpool": Row(("--method", "xpool")),
    "tmass": Row(("--method", "tmass")),
    "emcl": Row(("--method", "emcl")),
}


def train(row: Row, seed: int, folder: Path, more: Sequence[str], deadline: float) -> bool:
    """Runs, or goes on with, one run; False where the deadline ended it."""
    words = ["train", "--dataset", "shapes", *row.words, "--seed", str(seed), *more]
    words += ["--output", str(folder / "run"), "--resume", "auto", "--json"]
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with (folder / "stderr.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "vidsampler", *words], stdout=subprocess.PIPE, stderr=errors
        )
        try:
            out, _ = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate()
    spent = _read(folder / "spent.json").get("seconds", 0.0) + time.perf_counter() - begun
    (folder / "spent.json").write_text(json.dumps({"seconds": spent}))
    if process.returncode == 130:
        return False
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {out.decode()} (see {folder}/stderr.txt)")
    found = json.loads(out)
    result = {"test": found["test"], "best": found["best"], "seconds": spent}
    if row.learned:
        result["test"] |= looked_at(folder / "run")
        result["shuffled"] = looked_at(folder / "run", seed=seed)
    (folder / RESULT).write_text(json.dumps(result, indent=1) + "\n")
    return True


def measured_run(
    run: Path,
    split: str,
    *,
    look: Callable[[Retriever], object] | None = None,
    change: Callable[[Batch], Batch] | None = None,
) -> tuple[Retriever, Measured, dict[str, ShapesVideo]]:
    """The best weights of a run, what they find on a split, and the truth about its videos.

    Args:
        run: The run folder.
        split: Of `shapes`.
        look: Called with the retriever before anything is measured.
        change: Of each batch.
    """
    from vidsampler.cached_shards import dataset_shards, split_folder
    from vidsampler.datasets.shapes import cached_folder, read
    from vidsampler.retriever import Retriever
    from vidsampler.train import evaluation_loader
    from vidsampler.training.settings import stored_run
    from vidsampler.training.validation import measure
    from vidsampler.world import World, open_world

    config = stored_run(run / "config.yaml")
    world: World
    with open_world(config.run.device) as world:
        retriever = Retriever.from_pretrained(run / "best").to(world.device)
        if look is not None:
            look(retriever)
        shards = dataset_shards(
            "shapes",
            config.dataset.shards,
            render=config.dataset.render,
            frames=config.frames,
            size=retriever.frame_size,
        )
        loader = evaluation_loader(split_folder(shards, split), retriever, config)
        found = measure(retriever, loader, world, change)
    truth = {each.video: each for each in read(cached_folder(config.dataset.render), split)}
    return retriever, found, truth


def looked_at(run: Path, seed: int | None = None) -> dict[str, Any]:
    """What the best weights of a run do on the test split.

    Args:
        run: The run folder.
        seed: Of the order in which candidates are shown; None: in time order.

    Returns:
        Among others `beside_first`: the share of the frames that `gate` keeps of its own will that
        are informative.
    """
    from vidsampler.evaluation.shuffled import shuffle_candidates
    from vidsampler.train import informative_share

    change = None if seed is None else partial(shuffle_candidates, seed=seed)
    retriever, found, truth = measured_run(run, "test", change=change)
    result = {"t2v": found.recall, "frames_kept": found.kept, **informative_share(found, truth)}
    if retriever.config.sampler.name == "gate":
        # Kept frames are in the order of candidates: the first is the one that it must keep.
        later = {key: times[1:] for key, times in found.kept_times.items()}
        kept = sum(map(len, later.values()))
        slots = [truth[key].slot_at(time) for key, times in later.items() for time in times]
        hits = sum(slot.kind == "informative" for slot in slots)
        result["beside_first"] = hits / kept if kept else 0.0
    return result


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def spread(values: Sequence[float | None], digits: int = 1) -> str:
    """Mean and standard deviation, such as `12.5 +- 0.3`; `-` where there is nothing."""
    there = [value for value in values if value is not None]
    if not there:
        return "-"
    text = f"{statistics.mean(there):.{digits}f}"
    return text + (f" +- {statistics.stdev(there):.{digits}f}" if len(there) > 1 else "")


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Of each row the results of its seeds."""
    heads = ["", "seeds", "R@1", "chance", "kept", "informative", "beside 1st", "facts shown"]
    heads += ["R@1 shuffled", "informative sh.", "beside 1st sh.", "seconds"]
    lines = [heads]
    for name, results in found.items():
        tests = [each["test"] for each in results]
        moved = [each.get("shuffled", {}) for each in results]
        lines.append(
            [
                name,
                str(len(results)),
                spread([each["t2v"]["R@1"] for each in tests]),
                f"{statistics.mean(each['chance'] for each in tests):.1f}",
                spread([each["frames_kept"] for each in tests], 2),
                spread([each.get("informative") for each in tests], 3),
                spread([each.get("beside_first") for each in tests], 3),
                spread([each.get("facts_shown") for each in tests], 3),
                spread([each["t2v"]["R@1"] if each else None for each in moved]),
                spread([each.get("informative") for each in moved], 3),
                spread([each.get("beside_first") for each in moved], 3),
                spread([each["seconds"] for each in results], 0),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def margins(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """How far each learned sampler is ahead of the fixed ones under its own head and recipe."""
    lines = []
    for name in ("adaclip", "mmsampler"):
        for sampler in ("uniform", "coverage"):
            pair = found.get(name, []), found.get(f"{name}-{sampler}", [])
            if all(pair):
                ours, theirs = (
                    statistics.mean(each["test"]["t2v"]["R@1"] for each in part) for part in pair
                )
                kept = statistics.mean(each["test"]["frames_kept"] for each in pair[0])
                lines.append(
                    f"{name} - {sampler}: {ours - theirs:+.1f} points of R@1 ({kept:.2f} frames "
                    f"against {K})"
                )
    return lines


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="where runs and results go")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--budget", type=float, default=float("inf"), help="minutes for all runs")
    parser.add_argument(
        "--more", nargs=argparse.REMAINDER, default=[], help="last: further words for train"
    )
    options = parser.parse_args(words)
    # poll() takes no more milliseconds than 31 bits hold.
    deadline = time.monotonic() + min(60 * options.budget, 1e6)
    names = options.only or list(ROWS)
    # A seed of all rows before the next: what is there can be compared at any time.
    for seed in options.seeds:
        for name in names:
            folder = options.out / f"{name}-{seed}"
            if (folder / RESULT).is_file() or time.monotonic() >= deadline:
                continue
            if train(ROWS[name], seed, folder, options.more, deadline):
                print(f"{name}, seed {seed}: done", file=sys.stderr, flush=True)
    there = {
        name: [
            _read(options.out / f"{name}-{seed}" / RESULT)
            for seed in options.seeds
            if (options.out / f"{name}-{seed}" / RESULT).is_file()
        ]
        for name in names
    }
    missing = sum(len(options.seeds) - len(results) for results in there.values())
    print(table({name: results for name, results in there.items() if results}))
    for line in margins(there):
        print(line)
    if missing:
        print(f"{missing} runs are missing: run the same command again to go on")


if __name__ == "__main__":
    main()
