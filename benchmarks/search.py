"""How fast one question is answered, beside libraries made for it.

    pip install faiss-cpu usearch
    python benchmarks/search.py [--sizes 10000 100000 1000000] [--threads 1 2] [--queries 10]

Random unit vectors of 512 numbers in half precision, in a file, as an index has them; queries near
one of them. Contenders look at every vector, each in a process of its own, in turns, all with the
same number of threads: one, and then all processors. What is not installed is left out:

- `vidsampler`: `search.scan.nearest` on pieces of the mapped file, 2,048 vectors each;
- `faiss flat`: `IndexFlatIP`, single precision, twice the memory;
- `faiss half`: `IndexScalarQuantizer` with `QT_fp16`;
- `usearch`: `usearch.index.search(exact=True)`, half precision;
- `numpy`: a product in single precision and `argpartition`.

Prints the median milliseconds of a question with its vectors in memory, recall@10 against scores in
double precision, and the ratio of each contender's time to vidsampler's: above 1 it is slower.
With --graph, `HNSW` (usearch, half precision, its defaults) is there up to 100,000 vectors, with
the seconds that building takes, to tell what exactness costs: it is not exact. For it, random
vectors are the worst case.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
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

Array = NDArray[Any]
Ask = Callable[[Array], Array]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

WIDTH = 512
K = 10
PIECE = 2048
LARGEST_GRAPH = 100_000


def make(path: Path, size: int) -> None:
    """Writes random vectors of length 1."""
    generator = np.random.default_rng(0)
    vectors = np.lib.format.open_memmap(path, "w+", np.float16, (size, WIDTH))
    for start in range(0, size, 20_000):
        some = generator.standard_normal((min(20_000, size - start), WIDTH), np.float32)
        some /= np.linalg.norm(some, axis=1, keepdims=True)
        vectors[start : start + len(some)] = some


def questions(vectors: Array, count: int) -> Array:
    """Vectors near to some of those there."""
    generator = np.random.default_rng(1)
    near = vectors[generator.choice(len(vectors), count, replace=False)].astype(np.float32)
    found: Array = near + 0.1 * generator.standard_normal(near.shape).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def truth(vectors: Array, asked: Array) -> list[list[int]]:
    """The best K of each query by scores in double precision."""
    best = np.empty((len(asked), 0))
    rows = np.empty((len(asked), 0), np.int64)
    for start in range(0, len(vectors), 20_000):
        some = vectors[start : start + 20_000].astype(np.float32)
        scores = asked @ some.T
        few = np.argpartition(-scores, min(50, len(some) - 1), axis=1)[:, :50]
        exact = np.stack(
            [
                some[f].astype(np.float64) @ q.astype(np.float64)
                for f, q in zip(few, asked, strict=True)
            ]
        )
        best = np.concatenate([best, exact], 1)
        rows = np.concatenate([rows, few + start], 1)
        keep = np.argsort(-best, axis=1)[:, :50]
        best, rows = np.take_along_axis(best, keep, 1), np.take_along_axis(rows, keep, 1)
    return [row[:K].tolist() for row in rows]


def ours(vectors: Array) -> Ask:
    """This package's scan."""
    from vidsampler.search.scan import nearest

    pieces = [vectors[start : start + PIECE] for start in range(0, len(vectors), PIECE)]
    return lambda query: nearest(pieces, query[None], K)[1][0]


def faiss_flat(vectors: Array) -> Ask:
    """Single precision."""
    import faiss

    index = faiss.IndexFlatIP(WIDTH)
    return _filled(index, vectors)


def faiss_half(vectors: Array) -> Ask:
    """Half precision."""
    import faiss

    index = faiss.IndexScalarQuantizer(
        WIDTH, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    return _filled(index, vectors)


def _filled(index: Any, vectors: Array) -> Ask:
    if not index.is_trained:
        index.train(vectors[:1000].astype(np.float32))
    for start in range(0, len(vectors), 20_000):
        index.add(vectors[start : start + 20_000].astype(np.float32))
    return lambda query: index.search(query[None], K)[1][0]


def usearch_exact(vectors: Array) -> Ask:
    """Half precision, all vectors."""
    usearch: Any = importlib.import_module("usearch.index")
    held = np.array(vectors)
    threads = int(os.environ[THREADS[0]])

    def ask(query: Array) -> Array:
        half = query[None].astype(np.float16)
        found = usearch.search(held, half, K, usearch.MetricKind.IP, exact=True, threads=threads)
        return np.asarray(found.keys).ravel()

    return ask


def usearch_graph(vectors: Array) -> Ask:
    """HNSW: not exact."""
    from usearch.index import Index

    threads = int(os.environ[THREADS[0]])
    index = Index(ndim=WIDTH, metric="ip", dtype="f16")
    index.add(np.arange(len(vectors)), np.array(vectors), threads=threads)
    return lambda query: np.asarray(index.search(query.astype(np.float16), K, threads=threads).keys)


def numpy_product(vectors: Array) -> Ask:
    """Single precision and a partial sort."""
    held = vectors.astype(np.float32)

    def ask(query: Array) -> Array:
        scores = held @ query
        few = np.argpartition(-scores, K)[:K]
        found: Array = few[np.argsort(-scores[few])]
        return found

    return ask


CONTENDERS: dict[str, tuple[Callable[[Array], Ask], str]] = {
    "vidsampler": (ours, "torch"),
    "faiss flat": (faiss_flat, "faiss"),
    "faiss half": (faiss_half, "faiss"),
    "usearch": (usearch_exact, "usearch"),
    "numpy": (numpy_product, "numpy"),
    "HNSW": (usearch_graph, "usearch"),
}


def measure(name: str, path: Path, count: int) -> dict[str, Any]:
    """One contender, in this process."""
    vectors = np.load(path, mmap_mode="c")
    asked = questions(vectors, count)
    begun = time.perf_counter()
    ask = CONTENDERS[name][0](vectors)
    ready = time.perf_counter() - begun
    ask(asked[0])
    seconds, rows = [], []
    for query in asked:
        begun = time.perf_counter()
        found = ask(query)
        seconds.append(time.perf_counter() - begun)
        rows.append([int(each) for each in found])
    return {"ready": ready, "seconds": seconds, "rows": rows}


def apart(name: str, path: Path, count: int, threads: int) -> dict[str, Any]:
    """One contender, in a process of its own."""
    run = subprocess.run(
        [sys.executable, __file__, "--measure", name, "--file", str(path), "--queries", str(count)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | dict.fromkeys(THREADS, str(threads)),
    )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def compare(size: int, given: argparse.Namespace, folder: Path) -> None:
    """Measures all contenders on one size and prints a table for each number of threads."""
    path = folder / f"{size}.npy"
    make(path, size)
    vectors = np.load(path, mmap_mode="r")
    best = truth(vectors, questions(vectors, given.queries))
    graph = given.graph and size <= LARGEST_GRAPH
    installed = [
        name
        for name, (_, module) in CONTENDERS.items()
        if importlib.util.find_spec(module) and (name != "HNSW" or graph)
    ]
    for threads in given.threads:
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in installed}
        for turn in range(given.rounds):
            for name in installed:
                if name != "HNSW" or not turn:
                    results[name].append(apart(name, path, given.queries, threads))
        print(f"\n{size:,} vectors of {WIDTH}, {threads} thread{'s' * (threads > 1)}")
        show(results, best)
    path.unlink()


def show(results: dict[str, list[dict[str, Any]]], best: list[list[int]]) -> None:
    """The table of one size and number of threads."""
    middle = {
        name: statistics.median(second for run in runs for second in run["seconds"])
        for name, runs in results.items()
    }
    print(f"{'':<12}{'ms':>9}{'recall@10':>11}{'ratio':>8}")
    for name, runs in results.items():
        pairs = zip(runs[0]["rows"], best, strict=True)
        recall = statistics.mean(len(set(found) & set(true)) / K for found, true in pairs)
        more = f"   built in {runs[0]['ready']:.1f} s" if name == "HNSW" else ""
        print(
            f"{name:<12}{1000 * middle[name]:>9.2f}{recall:>11.3f}"
            f"{middle[name] / middle['vidsampler']:>8.2f}{more}"
        )
    others = {name: each for name, each in middle.items() if name not in ("vidsampler", "HNSW")}
    quickest = min(others, key=lambda name: others[name])
    ratio = others[quickest] / middle["vidsampler"]
    print(f"the quickest other exact one, {quickest}, takes {ratio:.2f} times as long", flush=True)


def main() -> None:
    """Reads the command line."""
    processors = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, processors}))
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--graph", action="store_true", help="HNSW too")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.file, given.queries)))
        return
    print(f"{processors} processors, {given.queries} questions, {given.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        for size in given.sizes:
            compare(size, given, Path(folder))


if __name__ == "__main__":
    main()
