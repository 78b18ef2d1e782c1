"""Bad frames are found, and good ones that look a little like them are not."""

from __future__ import annotations

import numpy as np

from tests.samplers.synthetic import RGB, black, blurred, features_of, moved, scene
from vidsampler.samplers.features import visual_distances
from vidsampler.samplers.quality import first_alike, is_empty, is_transition, is_unclear


def dark(picture: RGB, part: float) -> RGB:
    return (picture * part).astype(np.uint8)


def mixture(one: RGB, other: RGB, share: float) -> RGB:
    return np.rint(one * (1 - share) + other * share).astype(np.uint8)


def test_black_and_blank_frames_are_empty() -> None:
    noisy_black = np.random.default_rng(0).integers(0, 12, black().shape, dtype=np.uint8)
    white = np.full_like(black(), 250)
    pictures = [black(), noisy_black, white, dark(scene(0), 0.05), scene(0)]
    assert is_empty(features_of(pictures)).tolist() == [True, True, True, True, False]


def test_titles_and_nights_are_not_empty() -> None:
    title = black()
    title[44:52, 60:100:3] = 220
    lights = dark(scene(0), 0.1)
    lights[10:14, ::20] = 255
    night = dark(scene(0), 0.25)
    features = features_of([title, lights, night])
    assert not is_empty(features).any()
    assert not is_unclear(features).any()


def test_blurred_frames_among_sharp_ones() -> None:
    pictures = [scene(i) for i in range(6)]
    pictures[2] = blurred(pictures[2], 3)
    pictures[4] = blurred(pictures[4], 5)
    expected = [False, False, True, False, True, False]
    assert is_unclear(features_of(pictures)).tolist() == expected


def test_a_logo_does_not_hide_blur() -> None:
    pictures = [scene(i) for i in range(6)]
    pictures[3] = blurred(pictures[3], 3)
    pictures[3][2:12, 145:156] = scene(50, (30, 40))[:10, :11]
    assert is_unclear(features_of(pictures)).tolist() == [False] * 3 + [True] + [False] * 2


def test_nothing_is_blurred_in_a_soft_video() -> None:
    pictures = [blurred(scene(i), 3 + i % 2) for i in range(6)]
    assert not is_unclear(features_of(pictures)).any()


def test_a_sky_with_a_small_sharp_thing_is_not_blurred() -> None:
    rows = np.linspace(200, 120, 96)[:, None, None]
    sky = np.broadcast_to(rows, (96, 160, 3)).astype(np.uint8).copy()
    sky[40:50, 70:100] = scene(9)[:10, :30]
    features = features_of([scene(i) for i in range(5)] + [sky])
    assert not is_unclear(features).any()


def test_noise_among_pictures() -> None:
    noise = np.random.default_rng(0).integers(0, 256, black().shape, dtype=np.uint8)
    assert is_unclear(features_of([scene(0), scene(1), noise, scene(2)])).tolist() == [
        False,
        False,
        True,
        False,
    ]
    grainy = [
        np.random.default_rng(i).integers(0, 256, black().shape, dtype=np.uint8) for i in range(4)
    ]
    assert not is_unclear(features_of(grainy)).any()


def test_repetitions_point_to_the_first() -> None:
    still = scene(1)
    traces = still.astype(int) + np.random.default_rng(0).integers(-2, 3, still.shape)
    again = np.clip(traces, 0, 255).astype(np.uint8)
    pictures = [scene(0), still, again, moved(still, 3), scene(0)]
    assert first_alike(features_of(pictures)).tolist() == [0, 1, 1, 3, 0]


def test_a_small_change_is_no_repetition() -> None:
    room = scene(1)
    person = room.copy()
    person[40:52, 60:72] = 255
    assert first_alike(features_of([room, person])).tolist() == [0, 1]


def test_dissolves_and_fades() -> None:
    one, other = scene(1), scene(2)
    pictures = [one, one, mixture(one, other, 0.5), other, other]
    features = features_of(pictures)
    visual = visual_distances(features).astype(np.float64)
    assert is_transition(features, visual).tolist() == [False, False, True, False, False]
    fade = features_of([one, dark(one, 0.5), black(), black()])
    visual = visual_distances(fade).astype(np.float64)
    assert is_transition(fade, visual).tolist() == [False, True, False, False]


def test_cuts_and_motion_are_no_transitions() -> None:
    cut = [scene(1), scene(1), scene(2), scene(2)]
    motion = [moved(scene(3), 4 * i) for i in range(8)]
    scenes = [scene(i) for i in range(10, 20)]
    for pictures in (cut, motion, scenes):
        features = features_of(pictures)
        visual = visual_distances(features).astype(np.float64)
        assert not is_transition(features, visual).any()
