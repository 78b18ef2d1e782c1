"""What the benchmark on real clips counts, on clips that are made up."""

from __future__ import annotations

import pytest
import torch

from benchmarks.real_clips import Found, Setting, config_of, intervals, learn, searched, untrained
from benchmarks.remembered_clips import (
    FRAMES,
    SMALL,
    Clips,
    Remembered,
    halves,
    number_of,
    source_of,
)


def made_up(count: int, width: int = 64) -> Clips:
    """Clips whose captions are near the mean of their frames."""
    generator = torch.Generator().manual_seed(0)
    centre_VD = torch.randn(count, width, generator=generator)
    noise_VND = torch.randn(count, FRAMES, width, generator=generator)
    frames = torch.zeros(count, FRAMES, 3, SMALL + 1, SMALL, dtype=torch.uint8)
    for number in range(count * FRAMES):
        for digit in range(3):
            frames.view(-1, 3, SMALL + 1, SMALL)[number, digit, SMALL, 0] = (
                number // 256**digit % 256
            )
    return Clips(
        sources=[f"source {i // 2}" for i in range(count)],
        captions=[[i] for i in range(count)],
        frames=frames,
        times=torch.arange(FRAMES).double().expand(count, FRAMES),
        features=(centre_VD[:, None] + 0.5 * noise_VND).flatten(0, 1),
        texts=centre_VD,
        same=torch.arange(count),
        scale=torch.tensor(3.0),
    )


def test_frames_are_known_by_their_numbers() -> None:
    clips = made_up(20)  # 320 frames: more than a byte holds
    backbone = Remembered(clips)
    digits_MC = number_of(clips.pictures([17, 3], "clip").flatten(0, 1))
    wanted = torch.cat([clips.features[17 * FRAMES : 18 * FRAMES], clips.features[48:64]])
    assert torch.equal(backbone.encode_frames(digits_MC), wanted)
    assert torch.equal(backbone.encode_texts(torch.tensor([[5], [0]])), clips.texts[[5, 0]])


def test_no_source_is_on_both_sides() -> None:
    clips = made_up(20)
    for seed in range(3):
        train, held = halves(clips, range(20), seed, 0.5)
        assert sorted(train + held) == list(range(20))
        assert len(held) == 10
        assert not {clips.sources[i] for i in train} & {clips.sources[i] for i in held}
    assert halves(clips, range(20), 0, 0.5) != halves(clips, range(20), 1, 0.5)
    panda = {"set": "panda70m", "video": "panda_a.b.12.mp4", "source": "x"}
    assert source_of(panda) == "panda_a.b"
    assert source_of({"set": "misc", "video": "m.mp4", "source": "org/repo:file"}) == "org/repo"


def test_training_keeps_what_is_asked_for() -> None:
    clips = made_up(20)
    train, held = halves(clips, range(20), 0, 0.5)
    config = config_of("topk", 2, Setting(1e-3, 1), 0)
    assert config.training.freeze == ("all",)
    retriever = learn(clips, config, train)
    hits, kept = searched(clips, retriever, held)
    assert (len(hits), kept) == (10, 2.0)
    # With all frames, the mean of a clip is nearest to its own caption.
    assert untrained(clips, "uniform", FRAMES, held) == ([True] * 10, 16.0)


def test_intervals() -> None:
    sources = [f"s{i}" for i in range(30)]
    sure = Found([(0, source, True) for source in sources], [4.0])
    half = Found([(0, source, i % 2 == 0) for i, source in enumerate(sources)], [4.0])
    assert (sure.recall(), half.recall(0)) == (100, 50)
    bounds = intervals({"a": sure, "b": half}, {"a": "a", "b": "a"})
    assert bounds["a"] == {"R@1": [100, 100], "difference": [0, 0]}
    low, high = bounds["b"]["R@1"]
    # Of 30 fair draws: 50 +- 1.96 * 9.1.
    assert (low, high) == (pytest.approx(32, abs=4), pytest.approx(68, abs=4))
    assert bounds["b"]["difference"] == [pytest.approx(low - 100), pytest.approx(high - 100)]
