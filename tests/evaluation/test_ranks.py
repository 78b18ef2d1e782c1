"""Ranks beside plain sorting: ties, rectangles, conventions, blocks, devices, processes."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluation.matrices import CASES, Case
from tests.evaluation.slow import slow_ranks
from vidsampler.evaluation.ranks import (
    V2T,
    V2T_CONVENTIONS,
    RankCounter,
    Ranks,
    metrics,
    rank_matrix,
)
from vidsampler.evaluation.rows import FileRows, MatrixError, StreamRows, rows_of

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_convention = pytest.mark.parametrize("v2t", V2T_CONVENTIONS)


def check(ranks: Ranks, case: Case, v2t: V2T) -> None:
    t2v, videos = slow_ranks(case.scores, case.owners.tolist(), v2t)
    assert ranks.t2v.tolist() == t2v
    assert ranks.v2t.tolist() == videos


@each_convention
@each_case
def test_ranks_are_those_of_sorting_in_blocks_of_any_size(case: Case, v2t: V2T) -> None:
    check(rank_matrix(case.scores, case.owners, v2t=v2t), case, v2t)
    for block in range(1, len(case.scores) + 2):
        check(rank_matrix(case.scores, case.owners, v2t=v2t, block=block), case, v2t)


@each_convention
@each_case
def test_files_have_the_same_ranks(case: Case, v2t: V2T, tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, case.scores)
    for block in (None, 1, 5):
        check(rank_matrix(path, case.owners, v2t=v2t, block=block), case, v2t)


def as_tensor(case: Case) -> torch.Tensor:
    return torch.from_numpy(case.scores.astype(case.scores.dtype.newbyteorder("=")))


@each_convention
@each_case
def test_tensors_have_the_same_ranks(case: Case, v2t: V2T) -> None:
    check(rank_matrix(as_tensor(case), case.owners, v2t=v2t), case, v2t)
    # A stream hands tensors on as they are, so that they are counted by torch.
    tensor = as_tensor(case)
    for step in (1, 3, len(tensor)):
        stream = StreamRows(case.scores.shape, lambda step=step: iter(tensor.split(step)))  # type: ignore[misc]
        check(rank_matrix(stream, case.owners, v2t=v2t), case, v2t)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_has_the_same_ranks() -> None:
    for case, v2t, block in itertools.product(CASES, V2T_CONVENTIONS, (None, 1, 4)):
        check(rank_matrix(as_tensor(case).cuda(), case.owners, v2t=v2t, block=block), case, v2t)


def test_bfloat16() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(30, 30, generator=generator).bfloat16()
    case = Case("bfloat16", scores.float().numpy(), np.arange(30))
    check(rank_matrix(scores), case, "best")
    check(rank_matrix(StreamRows((30, 30), lambda: iter(scores.split(7)))), case, "best")


@each_convention
def test_tiles_smaller_than_a_row_and_larger_than_a_byte_counts(
    v2t: V2T, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(11)
    owners = np.repeat(np.arange(3), 300)
    case = Case("many rows", generator.integers(0, 9, (900, 3)).astype(np.float32), owners)
    check(rank_matrix(case.scores, owners, v2t=v2t), case, v2t)
    # All captions of the others stand before these: counts of more than a byte, and than a tile.
    low = np.ones((900, 3), np.float32)
    low[:300, 0] = 0
    assert rank_matrix(low, owners, v2t=v2t).v2t[0] == (601 if v2t == "best" else 3)
    monkeypatch.setattr("vidsampler.evaluation.counting._TILE_SCORES", 2)
    check(rank_matrix(case.scores, owners, v2t=v2t), case, v2t)


@each_convention
def test_several_processes_sum_what_they_counted(v2t: V2T) -> None:
    case = next(case for case in CASES if case.name == "captions in a row")
    edges = [0, *(int(np.searchsorted(case.owners, v)) for v in (2, 3, 7)), len(case.scores)]
    parts = list(itertools.pairwise(edges))
    counters = [RankCounter(case.owners, 9, v2t=v2t) for _ in parts]
    for counter, (start, stop) in zip(counters, parts, strict=True):
        counter.first(start, case.scores[start:stop])
    own, t2v = sum(c.own_T for c in counters), sum(c.t2v_T for c in counters)
    for counter, (start, stop) in zip(counters, parts, strict=True):
        counter.own_T, counter.t2v_T = np.array(own), np.array(t2v)
        counter.second(start, case.scores[start:stop])
    before = sum(c.before_V for c in counters)
    counters[0].before_V = np.array(before)
    check(counters[0].ranks(), case, v2t)


def test_a_group_that_is_cut_between_processes_is_an_error() -> None:
    counter = RankCounter(np.array([0, 0, 1]), 2, v2t="grouped")
    counter.first(0, np.eye(3, 2, dtype=np.float32))
    counter.second(0, np.eye(1, 2, dtype=np.float32))
    with pytest.raises(ValueError, match="captions of 1 videos were seen only in part"):
        counter.ranks()


def test_permuting_the_texts_permutes_rows_only() -> None:
    generator = np.random.default_rng(5)
    scores = generator.integers(0, 4, (50, 20)).astype(np.float32)
    owners = generator.integers(0, 20, 50)
    order = generator.permutation(50)
    plain = rank_matrix(scores, owners)
    permuted = rank_matrix(scores[order], owners[order])
    assert (permuted.t2v == plain.t2v[order]).all()
    # Without ties the order of captions means nothing to v2t either.
    scores = generator.permutation(1000).reshape(50, 20).astype(np.float64)
    for v2t in V2T_CONVENTIONS:
        plain = rank_matrix(scores, owners, v2t=v2t)
        permuted = rank_matrix(scores[order], owners[order], v2t=v2t)
        assert (permuted.v2t == plain.v2t).all()


def test_random_features_score_at_chance() -> None:
    count = 1500
    generator = np.random.default_rng(2)
    texts, videos = generator.normal(size=(2, count, 64)).astype(np.float32)
    ranks = rank_matrix(texts @ videos.T)
    for found in (ranks.t2v, ranks.v2t):
        for k in (1, 10, 50):
            low, high = chance_interval(count, k / count)
            assert low <= np.count_nonzero(found <= k) <= high


def chance_interval(count: int, p: float) -> tuple[int, int]:
    """Numbers of hits that chance keeps to with a probability of 99.9%, exactly."""

    def log_share(hits: int) -> float:
        ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        return ways + hits * math.log(p) + (count - hits) * math.log1p(-p)

    below = np.cumsum([math.exp(log_share(hits)) for hits in range(count + 1)])
    return int(np.searchsorted(below, 0.0005)), int(np.searchsorted(below, 0.9995))


def test_metrics_by_hand() -> None:
    assert metrics(np.array([1, 2, 5, 6, 11, 51])) == {
        "R@1": 100 / 6,
        "R@5": 50.0,
        "R@10": 400 / 6,
        "R@50": 500 / 6,
        "MdR": 5.5,
        "MnR": 76 / 6,
    }
    assert metrics(np.array([3, 1, 8]))["MdR"] == 3.0
    with pytest.raises(ValueError, match="no ranks"):
        metrics(np.zeros(0, np.int64))


def test_one_direction_reads_the_matrix_once() -> None:
    passes = []

    def compute() -> Iterator[Any]:
        passes.append(1)
        yield np.eye(4, dtype=np.float32)

    ranks = rank_matrix(StreamRows((4, 4), compute), directions=("t2v",))
    assert (len(passes), ranks.t2v.tolist(), ranks.v2t.tolist()) == (1, [1] * 4, [])
    rank_matrix(StreamRows((4, 4), compute))
    assert len(passes) == 3


@pytest.mark.parametrize("place", ["array", "tensor"])
def test_scores_that_are_not_finite_are_counted(place: str) -> None:
    scores: Any = np.ones((30, 40), np.float32)
    scores[3, 4], scores[3, 5], scores[29, 39], scores[7, 7] = np.nan, np.inf, -np.inf, np.nan
    if place == "tensor":
        tensor = torch.from_numpy(scores)
        scores = StreamRows((30, 40), lambda: iter([tensor]))
    with pytest.raises(MatrixError, match="4 of 1,200 scores are NaN or infinite"):
        rank_matrix(scores, np.arange(30))


@pytest.mark.parametrize(
    ("scores", "owners", "message"),
    [
        (np.zeros((3, 4)), None, "3 texts x 4 videos is not square"),
        (np.zeros((3, 4)), [0, 1], r"3 texts need as many owners, these have the shape \(2,\)"),
        (np.zeros((3, 4)), [[0, 1, 2]], r"the shape \(1, 3\)"),
        (np.zeros((3, 4)), [0, 4, -1], r"2 of 3 owners are no column of 4 \(0 to 3\); the first"),
        (np.zeros((3, 4)), [0.0, 1.0, 2.0], "owners must be whole numbers, not float64"),
        (np.zeros(3), None, r"two dimensions .* has the shape \(3,\)"),
        (np.zeros((3, 3, 3)), None, r"has the shape \(3, 3, 3\)"),
        (np.zeros((0, 3)), None, r"empty, its shape is \(0, 3\)"),
        (np.zeros((3, 3), int), None, "float16, float32 or float64, not int64"),
        (np.zeros((3, 3), complex), None, "not complex128"),
        (np.zeros((3, 3), object), None, "not object"),
        (torch.zeros(3, 3, dtype=torch.int32), None, "not int32"),
        ([[1.0]], None, "not list"),
    ],
)
def test_what_cannot_be_ranked(scores: Any, owners: Any, message: str) -> None:
    with pytest.raises(MatrixError, match=message):
        rank_matrix(scores, owners)


def test_a_stream_must_be_what_it_says() -> None:
    def streamed(*blocks: Any) -> StreamRows:
        return StreamRows((4, 3), lambda: iter(blocks))

    whole = np.ones((4, 3), np.float32)
    owners = [0, 1, 2, 0]
    for blocks, message in (
        ([whole[:3]], "4 rows were expected, the blocks had 3"),
        ([whole, whole[:1]], "the blocks had 5"),
        ([whole[:, :2]], r"\(rows, 3\) was expected, got float32 and \(4, 2\)"),
        ([whole[:1], whole[1:].astype(np.float64)], "block of float32 .* got float64"),
    ):
        with pytest.raises(ValueError, match=message):
            rank_matrix(streamed(*blocks), owners)
    with pytest.raises(ValueError, match="at least 1 row, got 0"):
        rank_matrix(whole, owners, block=0)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, np.eye(50))
    whole = path.read_bytes()
    for data, message in (
        (whole[:-1], "shorter than its header says"),
        (b"PK\x03\x04" + whole, "not a .npy file"),
        (whole[:20], "header is damaged"),
        (b"", "not a .npy file"),
    ):
        path.write_bytes(data)
        with pytest.raises(MatrixError, match=message):
            FileRows(path)
    sizes = b"(1000000000000, 1000000000000), }"
    path.write_bytes(whole[:59] + sizes.ljust(68) + b"\n" + whole[128:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MatrixError, match=r"shorter than its header says \(20,128 bytes\)"):
            FileRows(path)
    np.save(path, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(MatrixError, match="Python objects, which are never unpickled"):
        FileRows(path)
    np.save(path, np.zeros((0, 4)))
    with pytest.raises(MatrixError, match="empty"):
        FileRows(path)
    with pytest.raises(MatrixError, match=r"nothing\.npy: cannot be read: No such file"):
        FileRows(tmp_path / "nothing.npy")


def test_any_damage_to_a_header_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, np.eye(3, dtype=np.float32))
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for position in range(128):
        for byte in generator.integers(0, 256, 3):
            path.write_bytes(whole[:position] + bytes([byte]) + whole[position + 1 :])
            try:
                rank_matrix(path)
            except MatrixError:
                refused += 1
    assert refused > 200
    for shape in ("(9" + "9" * 20 + ", 3)", "(-3, 3)", "(3, 3, " + "1, " * 40 + ")", "3", "'a'"):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
        path.write_bytes(whole[:8] + len(header).to_bytes(2, "little") + header + whole[128:])
        with pytest.raises(MatrixError):
            rank_matrix(path)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, np.eye(50))
    rows = FileRows(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(MatrixError, match="became shorter"):
        rank_matrix(rows)


def test_saved_tensors(tmp_path: Path) -> None:
    path = tmp_path / "scores.pt"
    torch.save(torch.eye(4).half(), path)
    assert rank_matrix(path).t2v.tolist() == [1] * 4
    torch.save(torch.eye(4).to_sparse(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MatrixError, match=r"scores\.pt: a sparse tensor") as caught:
            rows_of(path)
    assert caught.value.hint == "save matrix.to_dense()"
    torch.save({"scores": torch.eye(4)}, path)
    with pytest.raises(MatrixError, match="holds dict, not a tensor"):
        rows_of(path)
    path.write_bytes(b"nothing")
    with pytest.raises(MatrixError, match=r"not a tensor that torch\.load"):
        rows_of(path)
    path.unlink()
    with pytest.raises(MatrixError, match="No such file"):
        rows_of(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_file_takes_the_memory_of_a_block(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    texts, videos = 9000, 8000
    header = np.lib.format.open_memmap(path, "w+", np.float32, (1, videos)).offset
    np.lib.format.open_memmap(path, "w+", np.float32, (texts, videos)).flush()
    # Nothing was written: all scores are 0, so that ranks follow from the order of the rows.
    assert path.stat().st_size == header + 4 * texts * videos
    program = (
        "import sys, numpy as np\n"
        "from vidsampler.evaluation.ranks import rank_matrix\n"
        "from vidsampler.evaluation import counting\n"
        # Not getrusage's, which begins with the peak of the process that started this one.
        "peak = lambda: int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
        "before = peak()\n"
        f"ranks = rank_matrix(sys.argv[1], np.arange({texts}) % {videos})\n"
        f"assert (ranks.t2v == 1 + np.arange({texts}) % {videos}).all()\n"
        f"assert (ranks.v2t == 1 + np.arange({videos})).all()\n"
        "assert 'torch' not in sys.modules\n"
        "print((peak() - before) // 1024)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    # Of a file of 275 MB.
    assert int(run.stdout) < 40
