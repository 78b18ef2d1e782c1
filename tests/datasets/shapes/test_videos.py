"""Rendered files as a decoder sees them: times, repeats, and statistics that tell nothing."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.shapes import STATISTICS, auc, knowing, line_auc, measure, slot_frames
from tests.datasets.shapes.conftest import Rendered
from vidsampler.datasets.shapes import pictures
from vidsampler.datasets.shapes.encode import codec_name, encode_mp4
from vidsampler.datasets.shapes.plan import plan_videos
from vidsampler.datasets.shapes.render import slot_pictures
from vidsampler.video import Video

Measured = tuple[np.ndarray, np.ndarray, list[int]]


@pytest.fixture(scope="module")
def measured(rendered: Rendered) -> Measured:
    values, kinds, owners = measure(rendered.folder, "test", 60)
    return values, np.array(kinds), owners


def test_frames_and_times(rendered: Rendered) -> None:
    with Video(rendered.path(rendered.videos[0])) as video:
        info = video.info()
        assert (info.width, info.height, info.fps, info.duration) == (80, 64, 1.0, 16.0)
        assert video.times(np.arange(16)).tolist() == list(range(16))
        assert video.keyframes().tolist() == list(range(16))


def test_decoded_slots_are_what_was_drawn(rendered: Rendered) -> None:
    plan = plan_videos(rendered.settings)["test"][7]
    drawn = slot_pictures(rendered.settings, plan)
    decoded = slot_frames(rendered.folder, "test", rendered.videos[7])
    for one, other in zip(drawn, decoded, strict=True):
        # Coding loses fine detail, most of it colour; another slot's picture differs by 20 or more.
        assert np.abs(one.mean(2) - other.mean(2)).mean() < 4
    for one, other in itertools.combinations(decoded, 2):
        difference = np.abs(one.astype(int) - other).mean()
        assert difference == 0 or difference > 0.05


def test_repeats_are_equal_to_the_last_bit(rendered: Rendered) -> None:
    repeats = 0
    for video in rendered.videos[:8]:
        decoded = slot_frames(rendered.folder, "test", video)
        for slot, picture in zip(video.slots, decoded, strict=True):
            if slot.repeats is not None:
                assert (picture == decoded[slot.repeats]).all()
                repeats += 1
    assert repeats > 8


@pytest.mark.parametrize("codec", [codec_name(), "mpeg4"])
def test_coding_is_the_same_each_time(codec: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn = [pictures.black(64, 96, rng), *rng.integers(0, 255, (3, 64, 96, 3), np.uint8)]
    coded = encode_mp4(drawn, 4, 3, codec)
    assert coded == encode_mp4(drawn, 4, 3, codec)
    assert b"Lavf" not in coded
    file = tmp_path / "a.mp4"
    file.write_bytes(coded)
    with Video(file) as video:
        frames = video.frames(np.arange(12))
        assert video.duration == 3.0
    means = [frame.rgb.mean() for frame in frames]
    assert means == pytest.approx(np.repeat([each.mean() for each in drawn], 3), abs=6)


def aucs(measured: Measured, kind: str, statistics: Sequence[str]) -> dict[str, float]:
    values, kinds, _ = measured
    columns = [list(STATISTICS).index(name) for name in statistics]
    return {
        name: auc(values[kinds == "informative", i], values[kinds == kind, i])
        for name, i in zip(statistics, columns, strict=True)
    }


def test_no_statistic_tells_unrelated_from_informative(measured: Measured) -> None:
    table = aucs(measured, "unrelated", list(STATISTICS))
    assert len(table) == 8
    assert all(0.3 <= value <= 0.7 for value in table.values()), table


def test_no_mixture_of_statistics_tells_unrelated_from_informative(measured: Measured) -> None:
    values, kinds, owners = measured
    chosen = np.isin(kinds, ["informative", "unrelated"])
    positive = (kinds == "informative")[chosen]
    assert line_auc(values[chosen], positive, np.array(owners)[chosen].tolist()) < 0.75


@pytest.mark.parametrize("kind", ["noisy", "blurred", "frozen"])
def test_bad_pictures_have_the_same_light_and_colours(measured: Measured, kind: str) -> None:
    """Sharpness and bytes cannot be the same: noise and blur are just that."""
    table = aucs(measured, kind, ["brightness", "contrast", "red", "green", "blue"])
    assert all(0.3 <= value <= 0.7 for value in table.values()), table


def test_one_fact_does_not_find_a_video(rendered: Rendered) -> None:
    """Of 60 videos; with 500 the part found by one fact is much smaller still."""
    assert knowing(rendered.videos, 4) == 100
    assert knowing(rendered.videos, 1) < 40


def test_facts_come_in_many_videos(rendered: Rendered) -> None:
    counts = Counter(fact for video in rendered.videos for fact in video.facts)
    own = sum(any(counts[fact] == 1 for fact in video.facts) for video in rendered.videos)
    assert own < 20
