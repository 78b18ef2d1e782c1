"""Result files: what they hold, and that reading them is strict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidsampler.errors import ConfigError
from vidsampler.evaluation.ranks import rank_matrix
from vidsampler.evaluation.results import Result, read_result, result_of

SCORES = np.array([[3.0, 1, 2], [2, 9, 3], [5, 4, 1], [0, 1, 2]])
OWNERS = np.array([0, 1, 1, 2])


def small() -> Result:
    return result_of(rank_matrix(SCORES, OWNERS), similarity="sim.npy", seconds=0.5)


def test_a_result_by_hand() -> None:
    printed = small().to_json()
    assert printed.pop("versions").keys() == {"vidsampler", "python", "numpy", "torch"}
    assert printed == {
        "format": "vidsampler-eval",
        "version": 1,
        "queries": 4,
        "videos": 3,
        # Ranks 1, 1, 2, 1.
        "t2v": {"R@1": 75.0, "R@5": 100.0, "R@10": 100.0, "R@50": 100.0, "MdR": 1.0, "MnR": 1.25},
        # Ranks 2, 1, 3: the third caption stands before video 0's; the second and, with an equal
        # score, the first before video 2's.
        "v2t": {
            "R@1": 100 / 3,
            "R@5": 100.0,
            "R@10": 100.0,
            "R@50": 100.0,
            "MdR": 2.0,
            "MnR": 2.0,
        },
        "v2t_convention": "best",
        "dataset": None,
        "split": None,
        "protocol": None,
        "frames_kept": None,
        "gmacs_per_video": None,
        "seconds": 0.5,
        "selected_on": None,
        "rerank": "none",
        "reranked": [],
        "transductive": False,
        "seed": None,
        "checkpoint": None,
        "similarity": "sim.npy",
        "missing": [],
        "unreadable": [],
        "notes": [],
    }


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    whole = result_of(
        rank_matrix(SCORES, OWNERS, v2t="grouped"),
        v2t_convention="grouped",
        dataset="msvd",
        split="test",
        protocol="every caption is a query",
        frames_kept={"mean": 11.0, "p50": 11.0, "p95": 16.0},
        gmacs_per_video=53.8,
        seconds=1.5,
        selected_on="val",
        rerank="dsl",
        reranked=("t2v", "v2t"),
        transductive=True,
        seed=3,
        checkpoint="runs/one",
    )
    for result in (small(), whole):
        result.write(path)
        assert read_result(path) == result
    assert json.loads(path.read_text())["ranks"] == {
        "t2v": [1, 1, 2, 1],
        "v2t": [2, 1, 3],
        "owners": [0, 1, 1, 2],
    }


def test_one_caption_a_video_needs_no_owners(tmp_path: Path) -> None:
    result_of(rank_matrix(np.eye(5))).write(tmp_path / "result.json")
    assert read_result(tmp_path / "result.json").ranks.owners is None


def test_msvd_fits_a_small_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    owners = np.sort(generator.integers(0, 670, 27_763))
    scores = generator.normal(size=(27_763, 670)).astype(np.float32)
    result_of(rank_matrix(scores, owners)).write(tmp_path / "result.json")
    assert (tmp_path / "result.json").stat().st_size < 250_000
    assert read_result(tmp_path / "result.json").queries == 27_763


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a result file of vidsampler eval"),
        ({"version": 2}, "a result file of version 2, this reads 1"),
        ({"version": True}, "a result file of version True"),
        ({"videoz": 3}, "unknown key 'videoz'; did you mean 'videos'"),
        ({"queries": "4"}, "queries: expected a whole number, not '4'"),
        ({"queries": 5}, "4 t2v ranks and 4 owners for 5 queries"),
        ({"videos": 2}, "3 v2t ranks for 3 videos with captions out of 2"),
        ({"v2t_convention": "worst"}, "unknown value 'worst'"),
        ({"t2v": {"R@1": 75.0}}, "t2v: the metrics are not those of the ranks"),
        ({"ranks": {"t2v": [1, 1, 1, 1], "v2t": [2, 1, 3], "owners": [0, 1, 1, 2]}}, "t2v: the m"),
        ({"ranks": {"t2v": [1, 1, 2, 0], "v2t": [2, 1, 3], "owners": [0, 1, 1, 2]}}, "1 to 3"),
        ({"ranks": {"t2v": [1, 1, 9, 1], "v2t": [2, 1, 3], "owners": [0, 1, 1, 2]}}, "t2v: .* 3"),
        ({"ranks": {"t2v": [1, 1, 2, 1], "v2t": [2, 1, 5], "owners": [0, 1, 1, 2]}}, "v2t: .* 4"),
        ({"ranks": {"t2v": [1, 1, 2, 1], "v2t": [2, 1, 3], "owners": [0, 1, 1, 3]}}, "0 to 2"),
        ({"ranks": {"t2v": [1, 1, 10**30, 1], "v2t": [2, 1, 3], "owners": [0, 1, 1, 2]}}, "t2v"),
        ({"frames_kept": {"mean": 1.0}}, "frames_kept: its keys are mean, p50, p95"),
        ({"reranked": ["t2w"]}, "did you mean 't2v'"),
        ({"seconds": float("inf")}, "Infinity is not a number"),
        ({"ranks": {"t2v": [1, 1, 2, 1], "v2t": [2, 1], "owners": [0, 1, 1, 2]}}, "2 v2t ranks"),
        ({"ranks": {"t2v": [1, 1, 2, 1]}}, "the key 'ranks.v2t' is missing"),
        ({"seconds": None, "seed": 1.5}, "seed: expected a whole number"),
        ({"versions": None}, "versions: expected a mapping"),
    ],
)
def test_reading_is_strict(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "result.json"
    small().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=message) as caught:
        read_result(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not a result file: "),
        (b"[]", "not a result file of vidsampler eval"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b'{"seconds": 1e999}', "1e999 is not a number"),
        (b"\xff\xfe", "not a result file"),
        (b"[" * 100_000, "not a result file"),
    ],
)
def test_other_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        read_result(path)
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_result(path)


@pytest.mark.parametrize("key", ["queries", "dataset", "rerank", "ranks", "versions"])
def test_no_key_may_be_missing(tmp_path: Path, key: str) -> None:
    path = tmp_path / "result.json"
    small().write(path)
    values = json.loads(path.read_text())
    del values[key]
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=f"the key '{key}' is missing"):
        read_result(path)
