"""The montage benchmark: its plan, its pixels and its counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.montage import (
    RATE,
    SIZE,
    Clip,
    Piece,
    cached,
    interval,
    judge,
    load_clips,
    plan,
    run,
    summarise,
    table,
)

MONTAGE = [
    Piece("clip", "a.mp4", 0, 50),
    Piece("frozen", "a.mp4", 0, 25),
    Piece("black", None, 0, 25),
    Piece("clip", "b.mp4", 3, 100),
    Piece("blurred", "a.mp4", 0, 25),
    Piece("clip", "c.mp4", 1, 25),
]


def seconds(*frames: int) -> list[float]:
    return [frame / RATE for frame in frames]


def test_shares_and_faults_are_counted() -> None:
    score = judge(MONTAGE, seconds(0, 10, 110, 230), 0.5)
    assert (score.share, score.bad, score.frozen) == (1, 0, 0)
    assert (score.seconds, score.kept) == (0.5, 4)
    score = judge(MONTAGE, seconds(60, 80, 99, 205))
    assert (score.share, score.bad, score.frozen) == (0, 3, 0)


def test_a_frozen_stretch_starts_with_the_frame_it_repeats() -> None:
    assert judge(MONTAGE, seconds(48, 60)).frozen == 0
    assert judge(MONTAGE, seconds(49, 60)).frozen == 1
    assert judge(MONTAGE, seconds(49, 50, 74)).frozen == 3
    assert judge(MONTAGE, seconds(50, 75)).frozen == 0
    assert judge(MONTAGE, seconds(49)).share == 1 / 3
    assert judge(MONTAGE, seconds(50)).share == 0


def test_plans() -> None:
    clips = [Clip(Path(f"{i}.mp4"), 3.0 + i, str(i)) for i in range(30)]
    seen = set()
    for seed in range(50):
        montage = plan(clips, seed)
        assert montage == plan(clips, seed)
        seen.add(tuple(montage))
        parts = [piece for piece in montage if piece.kind == "clip"]
        assert len({piece.clip for piece in parts}) == len(parts) == 8
        for piece in parts:
            length = clips[int(Path(str(piece.clip)).stem)].duration
            assert RATE <= piece.frames <= 25 * RATE
            assert 0 <= piece.start <= length - piece.frames / RATE
        kinds = [piece.kind for piece in montage]
        assert sorted(kinds) == sorted(["clip"] * 8 + ["black", "blurred", "frozen"])
        assert kinds[0] == kinds[-1] == "clip"
        frozen = kinds.index("frozen")
        assert kinds[frozen - 1] == "clip"
        assert montage[frozen].clip == montage[frozen - 1].clip
        assert all(piece.frames == RATE for piece in montage if piece.kind != "clip")
    assert len(seen) == 50


def test_summary_and_table() -> None:
    good, bad = judge(MONTAGE, seconds(0, 110, 230)), judge(MONTAGE, seconds(80))
    summary = summarise({"coverage": [good, good], "poor": [bad, good]}, "coverage")
    assert summary["coverage"]["share"] == {"mean": 1.0, "std": 0.0}
    assert summary["poor"]["share"]["mean"] == 0.5
    assert summary["poor"]["difference"]["mean"] == -0.5
    lines = table(summary, "coverage").splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("coverage")


def test_interval_of_a_known_spread() -> None:
    values = np.random.default_rng(1).normal(0.2, 1.0, 400)
    low, high = interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


@pytest.mark.slow
def test_coverage_on_real_clips(test_data: Path, tmp_path: Path) -> None:
    from vidsampler import select

    clips = load_clips(test_data / "clips")
    assert len({clip.source for clip in clips}) == len(clips) > 100
    montages = []
    for seed in range(2000, 2003):
        montage = plan(clips, seed, lengths=(1, 8))
        montages.append((seed, montage, cached(montage, tmp_path, SIZE)))

    def choose(path: Path, name: str) -> list[float]:
        return [frame.time for frame in select(path, 8, sampler=name).kept]

    scores = run(montages, ["coverage", "uniform"], choose)
    assert sum(score.bad + score.frozen for score in scores["coverage"]) == 0
    share = {name: np.mean([score.share for score in rows]) for name, rows in scores.items()}
    assert share["coverage"] >= 0.85
    assert share["coverage"] > share["uniform"]
