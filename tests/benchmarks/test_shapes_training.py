"""The table of the benchmark that trains on the rendered dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shapes_training import RESULT, ROWS, main, margins, spread, table


def result(recall: float, kept: float = 4.0, **more: Any) -> dict[str, Any]:
    test = {"t2v": {"R@1": recall}, "chance": 0.2, "frames_kept": kept, "informative": 0.5}
    return {"test": test, "seconds": 100.0, **more}


def test_mean_and_spread() -> None:
    assert spread([1.0, 2.0, 3.0]) == "2.0 +- 1.0"
    assert spread([1.234], 2) == "1.23"
    assert spread([None, None]) == "-"


def test_a_table_of_results() -> None:
    shuffled = {"t2v": {"R@1": 9.0}, "informative": 0.25}
    found = {"adaclip": [result(10, shuffled=shuffled), result(14)], "xpool": [result(3, 16.0)]}
    _, first, second = table(found).splitlines()
    cells = "adaclip 2 12.0 +- 2.8 0.2 4.00 +- 0.00 0.500 +- 0.000 - - 9.0 0.250 - 100 +- 0"
    assert " ".join(first.split()) == cells
    assert " ".join(second.split()) == "xpool 1 3.0 0.2 16.00 0.500 - - - - - 100"


def test_margins_over_fixed_samplers() -> None:
    found = {
        "adaclip": [result(20), result(22)],
        "adaclip-uniform": [result(5)],
        "mmsampler": [result(9, 4.5)],
        "mmsampler-coverage": [result(10)],
    }
    assert margins(found) == [
        "adaclip - uniform: +16.0 points of R@1 (4.00 frames against 4)",
        "mmsampler - coverage: -1.0 points of R@1 (4.50 frames against 4)",
    ]


def test_what_is_finished_is_not_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ROWS:
        for seed in (0, 1):
            if (name, seed) != ("emcl", 1):
                (tmp_path / f"{name}-{seed}").mkdir()
                (tmp_path / f"{name}-{seed}" / RESULT).write_text(json.dumps(result(10)))
    # No time is left for what is missing.
    main([str(tmp_path), "--seeds", "0", "1", "--budget", "0"])
    out = capsys.readouterr().out
    assert "emcl                    1" in out
    assert "adaclip - coverage: +0.0 points" in out
    assert "1 runs are missing" in out
    assert not (tmp_path / "emcl-1").exists()


@pytest.mark.slow
def test_learned_and_fixed_samplers_train_at_the_same_k(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    small = [f"dataset.render.{split}={size}" for split, size in (("train", 12), ("val", 4))]
    more = ["--epochs", "1", "--batch-size", "6", "--device", "cpu", "--set", small[0]]
    more += ["--set", small[1], "--set", "dataset.render.test=4"]
    names = ["mmsampler", "adaclip-coverage"]
    main([str(tmp_path / "out"), "--seeds", "0", "--only", *names, "--more", *more])
    gate, fixed = (
        json.loads((tmp_path / "out" / f"{name}-0" / RESULT).read_text()) for name in names
    )
    assert fixed["test"]["frames_kept"] == 4.0
    assert "shuffled" not in fixed
    assert gate["shuffled"].keys() == gate["test"].keys() - {"split", "queries", "videos"} - {
        "chance",
        "candidates",
    }
    assert 0 <= gate["shuffled"]["beside_first"] <= 1
    assert "missing" not in capsys.readouterr().out
