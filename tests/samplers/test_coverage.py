"""`coverage` on videos whose best choice is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.samplers.synthetic import RGB, black, blurred, features_of, moved, scene, shots
from vidsampler.samplers.coverage import coverage


def choose(pictures: list[RGB], k: int, step: float = 1.0) -> list[int]:
    times = np.arange(len(pictures)) * step
    chosen: list[int] = coverage(times, features_of(pictures), k).indices.tolist()
    return chosen


def shot_of(indices: list[int], lengths: tuple[int, ...]) -> list[int]:
    ends = np.cumsum(lengths)
    shots: list[int] = np.searchsorted(ends, indices, side="right").tolist()
    return shots


@pytest.mark.parametrize("seed", range(5))
def test_one_frame_of_each_shot(seed: int) -> None:
    lengths = (1, 22, 2, 9, 1, 3, 16, 10)
    assert shot_of(choose(shots(*lengths, seed=1000 * seed), 8), lengths) == list(range(8))


def test_bad_seconds_are_left_out() -> None:
    one, two, three = shots(8, seed=0), shots(3, seed=1), shots(9, seed=2)
    frozen = [one[-1]] * 3
    soft = [blurred(frame, 3) for frame in three[:3]]
    pictures = one + frozen + [black()] * 3 + two + soft + three
    kinds = "a" * 8 + "F" * 3 + "B" * 3 + "b" * 3 + "S" * 3 + "c" * 9
    for k in (1, 2, 3, 6, 12):
        chosen = "".join(kinds[i] for i in choose(pictures, k))
        assert not set("FBS") & set(chosen)
        assert len(set(chosen)) == min(k, 3)


def test_bad_frames_are_better_than_nothing() -> None:
    good = [scene(0), scene(1)]
    pictures = [black(), good[0], good[0], blurred(scene(2), 4), good[1], black()]
    assert choose(pictures, 2) == [1, 4]
    assert choose(pictures, 3) == [1, 2, 4]  # the repetition
    assert choose(pictures, 4) == [1, 2, 3, 4]  # the blurred one
    assert choose(pictures, 5)[:4] in ([0, 1, 2, 3], [1, 2, 3, 4])  # a black one
    assert choose(pictures, 6) == [0, 1, 2, 3, 4, 5]


def test_a_scene_that_comes_back_is_shown_once() -> None:
    # Two cameras, then two scenes more; 4 frames show all four.
    a, b = scene(0), scene(1)
    pictures = [moved(a if i // 2 % 2 == 0 else b, i) for i in range(12)]
    pictures += [moved(scene(2), i) for i in range(2)] + [moved(scene(3), i) for i in range(2)]
    chosen = choose(pictures, 4)
    seen = ["ab"[i // 2 % 2] if i < 12 else "cd"[(i - 12) // 2] for i in chosen]
    assert sorted(seen) == ["a", "b", "c", "d"]


def test_one_shot_is_spread_evenly() -> None:
    indices = choose([moved(scene(0), i // 2) for i in range(64)], 8)
    steps = np.diff([-4, *indices, 68])
    assert steps.max() <= 16
    assert steps.min() >= 3


def test_a_standing_picture_is_spread_evenly() -> None:
    indices = choose([scene(0)] * 64, 4)
    assert indices[0] == 0
    assert np.diff(indices).tolist() == pytest.approx([21] * 3, abs=12)


def test_a_black_video_is_spread_too() -> None:
    indices = choose([black()] * 33, 3)
    assert indices == [0, 16, 32]


def test_the_sharper_of_similar_frames() -> None:
    picture = scene(0)
    video = [blurred(moved(picture, i), 1) for i in range(8)]
    video[5] = moved(picture, 5)
    assert choose(video, 1) == [5]


def test_no_frame_of_a_dissolve() -> None:
    one, other = scene(1), scene(2)
    mixed = np.rint(one * 0.5 + other * 0.5).astype(np.uint8)
    pictures = [moved(one, i) for i in range(4)] + [mixed] + [moved(other, i) for i in range(-4, 0)]
    chosen = choose(pictures, 3, step=0.25)
    assert 4 not in chosen
    assert min(chosen) < 4 < max(chosen)


def test_a_flash_is_no_scene_but_a_second_is() -> None:
    flash = scene(5)
    pictures = [moved(scene(0), i) for i in range(20)] + [flash] + shots(20, seed=7)
    lengths = (20, 1, 20)
    assert shot_of(choose(pictures, 2, step=0.1), lengths) == [0, 2]
    assert shot_of(choose(pictures, 3, step=1.0), lengths) == [0, 1, 2]


def test_scores_are_shares() -> None:
    lengths = (2, 12, 6)
    pictures = [*shots(*lengths), black(), black()]
    choice = coverage(np.arange(22.0), features_of(pictures), 3)
    assert shot_of(choice.indices.tolist(), lengths) == [0, 1, 2]
    assert choice.scores is not None
    np.testing.assert_allclose(choice.scores, np.array(lengths) / 22)


def test_repetitions_add_to_the_score_of_what_they_repeat() -> None:
    pictures = [scene(0)] * 6 + [scene(1), scene(2)]
    choice = coverage(np.arange(8.0), features_of(pictures), 2)
    assert choice.indices[0] == 0
    assert choice.scores is not None
    assert choice.scores.sum() == pytest.approx(1)
    assert choice.scores[0] >= 6 / 8
