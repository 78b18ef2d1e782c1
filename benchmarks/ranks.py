"""How fast ranks are counted, and in how much memory, beside evaluators that sort.

    python benchmarks/ranks.py [--size 10000] [--large 50000] [--repeats 3] [--folder DIR]

A square float32 matrix of cosines in a .npy file, both directions, one thread. Contenders, each in
a process of its own, in turns:

- `rank_matrix` on the file, and on an array in memory;
- `np.sort`: what the published evaluators do (sort -S, subtract the diagonal, look for zeros);
- `np.argsort` and `torch.argsort`: order every row and column, look for the own index.

Those that sort hold the matrix, so the large one is ranked by `rank_matrix` alone; what
`np.argsort` would take is scaled up from some of its rows. Prints medians of seconds and peak
memory above imports, and ratios to `rank_matrix` on the file; all must give the same ranks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidsampler.evaluation.ranks import Ranks, rank_matrix

Array = NDArray[Any]
ROWS_OF_THE_LARGE = 500


def make(path: Path, size: int) -> None:
    """Writes cosines of texts and videos, a text being near to its video."""
    generator = np.random.default_rng(0)
    videos = generator.normal(size=(size, 64)).astype(np.float32)
    texts = videos + 2 * generator.normal(size=(size, 64)).astype(np.float32)
    for features in (videos, texts):
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    scores = np.lib.format.open_memmap(path, "w+", np.float32, (size, size))
    for start in range(0, size, 500):
        scores[start : start + 500] = texts[start : start + 500] @ videos.T


def counted_from_file(path: Path) -> list[Array]:
    """`rank_matrix` on the file."""
    return both(rank_matrix(path))


def counted_in_memory(path: Path) -> list[Array]:
    """`rank_matrix` on an array."""
    return both(rank_matrix(np.load(path)))


def both(ranks: Ranks) -> list[Array]:
    """t2v and v2t."""
    return [ranks.t2v, ranks.v2t]


def np_sort(path: Path) -> list[Array]:
    """Sorts every row and column."""
    found = []
    scores = np.load(path)
    for table in (scores, scores.T):
        order = np.sort(-table, axis=1)
        found.append(1 + np.where(order - np.diag(-table)[:, None] == 0)[1])
    return found


def np_argsort(path: Path) -> list[Array]:
    """Orders every row and column."""
    scores = np.load(path)
    return [argsorted(table, 0) for table in (scores, scores.T)]


def argsorted(table: Array, first: int) -> Array:
    """Ranks of some rows, which begin at number ``first``."""
    order = np.argsort(-table, axis=1)
    return 1 + np.where(order == np.arange(first, first + len(table))[:, None])[1]


def torch_argsort(path: Path) -> list[Array]:
    """Orders every row and column."""
    import torch

    scores = torch.from_numpy(np.load(path))
    found = []
    for table in (scores, scores.T):
        order = torch.argsort(table, dim=1, descending=True)
        own = torch.arange(len(table))[:, None]
        found.append(1 + torch.where(order == own)[1].numpy())
    return found


CONTENDERS: dict[str, Callable[[Path], list[Array]]] = {
    "rank_matrix, file": counted_from_file,
    "rank_matrix, memory": counted_in_memory,
    "np.sort": np_sort,
    "np.argsort": np_argsort,
    "torch.argsort": torch_argsort,
}


def measure(name: str, path: Path) -> dict[str, Any]:
    """Runs one contender; called in a process of its own."""
    if name == "torch.argsort":
        import torch

        torch.set_num_threads(1)
    before = peak()
    began = time.perf_counter()
    found = CONTENDERS[name](path)
    seconds = time.perf_counter() - began
    digest = hashlib.sha256(b"".join(ranks.astype(np.int64).tobytes() for ranks in found))
    return {"seconds": seconds, "mb": (peak() - before) / 1024, "ranks": digest.hexdigest()}


def peak() -> int:
    """Peak resident size in kB (getrusage would begin with that of the parent process)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def apart(name: str, path: Path) -> dict[str, Any]:
    """`measure` in a process of its own."""
    run = subprocess.run(
        [sys.executable, __file__, "--only", name, "--file", str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def compare(path: Path, size: int, repeats: int) -> None:
    """All contenders on one matrix."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for _ in range(repeats):
        for name in CONTENDERS:
            runs[name].append(apart(name, path))
    digests = {each["ranks"] for found in runs.values() for each in found}
    print(f"{size:,} x {size:,} float32, both directions, {repeats} repeats")
    print(f"{'':20} {'s':>8} {'MB':>8} {'x time':>7} {'x MB':>7}")
    base: dict[str, float] = {}
    for name, found in runs.items():
        now = {key: statistics.median(each[key] for each in found) for key in ("seconds", "mb")}
        base = base or now
        print(
            f"{name:20} {now['seconds']:8.2f} {now['mb']:8.0f} "
            f"{now['seconds'] / base['seconds']:7.1f} {now['mb'] / base['mb']:7.1f}"
        )
    print(f"same ranks: {'yes' if len(digests) == 1 else 'no'}")


def large(path: Path, size: int) -> None:
    """One matrix that no evaluator that sorts should hold."""
    found = apart("rank_matrix, file", path)
    rows = np.lib.format.open_memmap(path, mode="r")[:ROWS_OF_THE_LARGE].copy()
    began = time.perf_counter()
    argsorted(rows, 0)
    scale = 2 * size / ROWS_OF_THE_LARGE
    seconds = scale * (time.perf_counter() - began)
    # The matrix, and the order of a direction in int64.
    mb = size * size * (4 + 8) / 2**20
    print(f"{size:,} x {size:,} float32, both directions ({4 * size * size / 1e9:.0f} GB)")
    print(f"{'rank_matrix, file':20} {found['seconds']:8.1f} s {found['mb']:8.0f} MB")
    print(
        f"{'np.argsort':20} {seconds:8.1f} s {mb:8.0f} MB, scaled up: "
        f"{seconds / found['seconds']:.1f} x time, {mb / found['mb']:.0f} x MB"
    )


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=50_000, help="0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for the matrices; a temporary one by default")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measure(given.only, given.file)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "scores.npy"
        make(path, given.size)
        compare(path, given.size, given.repeats)
        path.unlink()
        if given.large:
            make(path, given.large)
            large(path, given.large)


if __name__ == "__main__":
    main()
