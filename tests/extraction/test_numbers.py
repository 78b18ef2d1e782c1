"""Which frames a recipe means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidsampler.errors import ConfigError, InputError
from vidsampler.extraction.numbers import frame_numbers, frames_at_rate
from vidsampler.extraction.settings import Recipe
from vidsampler.video import Video

CLIP = Path(__file__).parents[1] / "data" / "clip.mp4"
"""22 s at 25 fps: 550 frames."""


def numbers(recipe: Recipe, start: float | None = None, end: float | None = None) -> list[int]:
    with Video(CLIP, threads=1) as video:
        found: list[int] = frame_numbers(video, recipe, start, end).tolist()
        return found


def test_an_even_number_of_frames() -> None:
    assert numbers(Recipe(frames=4)) == [68, 206, 343, 481]
    assert numbers(Recipe(frames=4, positions="start")) == [0, 137, 275, 412]
    assert numbers(Recipe(frames=600)) == list(range(550))
    assert numbers(Recipe(frames=2), 10.0, 14.0) == [275, 325]


def test_a_rate() -> None:
    assert numbers(Recipe(fps=1)) == list(range(0, 550, 25))
    assert numbers(Recipe(fps=2), 20.0) == [500, 512, 525, 537]
    # More than there are: each once as pictures, at an even rate as a video.
    assert numbers(Recipe(fps=50), 0.0, 0.2) == [0, 1, 2, 3, 4]
    assert numbers(Recipe(fps=50, store="mp4"), 0.0, 0.2) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_all_and_keyframes() -> None:
    assert numbers(Recipe(all=True)) == list(range(550))
    with Video(CLIP, threads=1) as video:
        keyframes = video.keyframes().tolist()
    assert numbers(Recipe(keyframes=True)) == keyframes
    assert len(keyframes) > 2
    middle = (keyframes[1] + 2) / 25
    assert numbers(Recipe(keyframes=True), middle, middle + 0.1) == [keyframes[1] + 2]


def test_a_window_without_frames() -> None:
    with pytest.raises(InputError, match=r"no frame from 30 s to 40 s; it lasts 22\.00 s"):
        numbers(Recipe(), 30.0, 40.0)


def test_the_frame_shown_at_each_point_of_the_grid() -> None:
    times = np.array([5.0, 5.3, 5.9, 6.0, 8.0])
    #        points: 5, 6, 7, 8 -> shown then: 0, 3, 3, 4
    assert frames_at_rate(times, 1.0, 8.5).tolist() == [0, 3, 3, 4]
    assert frames_at_rate(times, 1.0, 8.01).tolist() == [0, 3, 3]
    assert frames_at_rate(times[:1], 0.1, 5.04).tolist() == [0]


def test_recipes_that_fit_nothing() -> None:
    for settings, words in (
        ({"frames": 4, "fps": 1.0}, "choose one of --frames and --fps"),
        ({"store": "mp4"}, "needs --fps"),
        ({"frames": 0}, "frames must be from 1"),
        ({"fps": 0.0}, "fps must be more than 0"),
        ({"size": 1}, "size must be from 2"),
        ({"quality": 101}, "quality must be from 1 to 100"),
        ({"crf": 52, "store": "mp4", "fps": 1.0}, "crf must be from 0 to 51"),
    ):
        with pytest.raises(ConfigError, match=words):
            Recipe(**settings)


def test_a_recipe_is_known_by_what_changes_the_bytes() -> None:
    assert Recipe().to_json() == {
        "frames": 16,
        "positions": "middle",
        "size": 224,
        "store": "jpeg",
        "quality": 90,
    }
    assert Recipe(fps=3.0, store="mp4", size=None, salvage=True).to_json() == {
        "fps": 3.0,
        "store": "mp4",
        "crf": 23,
        "salvage": True,
    }
