"""`scene` on shots whose cuts are known."""

from __future__ import annotations

import numpy as np

from tests.samplers.synthetic import features_of, moved, scene, shots
from vidsampler.samplers import scene as module
from vidsampler.samplers.scene import shot_starts


def choose(lengths: tuple[int, ...], k: int) -> tuple[list[int], list[float]]:
    features = features_of(shots(*lengths))
    choice = module.scene(np.arange(sum(lengths)) / 4, features, k)
    assert choice.scores is not None
    return choice.indices.tolist(), choice.scores.round(6).tolist()


def test_cuts_are_found() -> None:
    assert shot_starts(features_of(shots(10, 4, 7, 20))).tolist() == [0, 10, 14, 21]
    assert shot_starts(features_of(shots(5, 1, 5))).tolist() == [0, 5, 6]
    assert shot_starts(features_of(shots(1))).tolist() == [0]
    assert shot_starts(features_of(shots(2))).tolist() == [0]


def test_a_moving_camera_is_no_cut() -> None:
    assert shot_starts(features_of([moved(scene(1), 6 * i) for i in range(20)])).tolist() == [0]


def test_the_middle_of_each_shot() -> None:
    indices, scores = choose((10, 4, 7, 19), 4)
    assert indices == [5, 12, 17, 30]
    assert scores == [0.25, 0.1, 0.175, 0.475]


def test_the_longest_shots() -> None:
    indices, _ = choose((10, 4, 7, 19), 2)
    assert indices == [5, 30]


def test_long_shots_give_more() -> None:
    # 6 of 3 shots: 12 is split into 3 parts of 4, 8 into 2 of 4, 4 is left whole.
    indices, scores = choose((4, 12, 8), 6)
    assert indices == [2, 6, 10, 14, 18, 22]
    assert scores == [round(4 / 24, 6)] * 6


def test_a_short_shot_gives_no_more_than_it_has() -> None:
    indices, _ = choose((1, 2, 1), 4)
    assert indices == [0, 1, 2, 3]
