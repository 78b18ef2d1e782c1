"""The planted-truth benchmark: its plan and its counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.montage import RATE, SIZE, Clip, Piece, cached, load_clips
from benchmarks.query import Asked, ask, captions_of, summarise, table

ASKED = Asked(
    0,
    (Piece("clip", "a.mp4", 0, 50), Piece("clip", "b.mp4", 3, 100), Piece("clip", "c.mp4", 1, 50)),
    1,
    "b",
)


def test_shares_are_counted() -> None:
    assert ASKED.part == 0.5
    assert ASKED.share([frame / RATE for frame in (0, 49, 50, 149, 150)]) == 2 / 5
    assert ASKED.share([149 / RATE]) == 1
    assert ASKED.share([0.0]) == 0


def test_questions() -> None:
    clips = [Clip(Path(f"{i}.mp4"), 3.0 + i, str(i)) for i in range(30)]
    captions = {f"{i}.mp4": f"caption {i}" for i in range(20)}
    targets = set()
    for seed in range(40):
        asked = ask(clips, captions, seed)
        assert asked == ask(clips, captions, seed)
        assert len({piece.clip for piece in asked.pieces}) == len(asked.pieces) == 8
        assert all(piece.kind == "clip" for piece in asked.pieces)
        name = Path(str(asked.pieces[asked.target].clip)).stem
        assert asked.question == f"caption {name}"
        targets.add(asked.target)
    assert targets == set(range(8))


def test_summary_and_table() -> None:
    summary = summarise({"uniform": [0.0, 0.25, 0.25], "aks": [1.0, 0.25, 0.25]})
    assert summary["aks"]["share"]["mean"] == 0.5
    assert summary["uniform"]["found"] == pytest.approx(2 / 3)
    assert summary["aks"]["difference"]["mean"] == pytest.approx(1 / 3)
    lines = table(summary).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("aks")


@pytest.mark.slow
def test_questions_find_their_clips(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    from vidsampler import registry, select
    from vidsampler.query import ImageText

    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    clips, captions = load_clips(test_data / "clips"), captions_of(test_data / "clips")
    model = ImageText(str(test_data / "weights" / "lite2_minilm"))
    shares: dict[str, list[float]] = {}
    for seed in range(3):
        asked = ask(clips, captions, seed, lengths=(1, 3))
        path = cached(asked.pieces, tmp_path, SIZE)
        for name in registry.asking_samplers():
            found = select(path, 4, sampler=name, candidates=32, query=asked.question, model=model)
            # The first question to a video encodes it.
            assert found.cached == (name != registry.asking_samplers()[0])
            shares.setdefault(name, []).append(asked.share([f.time for f in found.kept]))
    # By chance an eighth.
    assert np.mean(shares["topscore"]) >= 0.5
    assert all(np.mean(values) >= 0.25 for values in shares.values())
