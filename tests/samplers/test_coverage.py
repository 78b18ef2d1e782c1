"""`coverage` and `scene` on shots whose best answer is known."""

from __future__ import annotations

import numpy as np

from vidsampler.samplers.coverage import coverage
from vidsampler.samplers.features import light_features
from vidsampler.samplers.quality import first_alike, is_empty, is_unclear
from vidsampler.samplers.scene import scene, shot_starts

HEIGHT, WIDTH = 96, 160


def picture(shot: int, moment: float = 0.0) -> np.ndarray:
    """A sharp picture: tiles and stripes in colours of its own, moving a little with time."""
    rng = np.random.default_rng(shot)
    dark, bright = rng.integers(20, 90, 3), rng.integers(120, 236, 3)
    tiles = np.where(rng.random((4, 5, 1)) < 0.5, dark, bright)
    image = tiles.repeat(HEIGHT // 4, axis=0).repeat(WIDTH // 5, axis=1).astype(float)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    turned = columns * np.cos(shot) + rows * np.sin(shot) + moment
    image += np.where((turned // (5 + shot)) % 2, 18, -18)[..., None]
    return (image + rng.integers(-6, 7, image.shape)).clip(0, 255).astype(np.uint8)


def blurred(image: np.ndarray, sigma: float = 3.0) -> np.ndarray:
    reach = int(4 * sigma)
    weights = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    weights /= weights.sum()
    out = image.astype(float)
    for axis in (0, 1):
        padded = np.pad(out, [(reach, reach) if a == axis else (0, 0) for a in range(3)], "edge")
        out = np.apply_along_axis(lambda line: np.convolve(line, weights, "valid"), axis, padded)
    return out.round().astype(np.uint8)


def video(*parts: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of (shot, length) parts; also the shot of each and times at 4 a second."""
    frames = [picture(shot, 2.0 * i) for shot, length in parts for i in range(length)]
    owner = np.repeat([shot for shot, _ in parts], [length for _, length in parts])
    return np.stack(frames), owner, np.arange(len(frames)) / 4


def test_a_short_shot_counts_as_much_as_a_long_one() -> None:
    frames, owner, times = video((1, 40), (2, 2), (3, 15), (4, 3), (5, 4))
    indices = coverage(times, light_features(frames), 5).indices
    assert owner[indices].tolist() == [1, 2, 3, 4, 5]


def test_scores_are_the_parts_that_frames_stand_for() -> None:
    frames, _, times = video((1, 30), (2, 10))
    choice = coverage(times, light_features(frames), 2)
    assert choice.scores is not None
    assert choice.scores.tolist() == [0.75, 0.25]


def test_black_blurred_noisy_and_blank_frames_are_the_last_choice() -> None:
    frames, owner, times = video((1, 10), (2, 10), (3, 10))
    frames[10:13] = 0
    frames[22:25] = [blurred(frame) for frame in frames[22:25]]
    frames[5] = 255
    frames[6] = np.random.default_rng(0).integers(0, 256, frames[6].shape)
    features = light_features(frames)
    bad = {5, 6, 10, 11, 12, 22, 23, 24}
    assert set(np.flatnonzero(is_empty(features) | is_unclear(features)).tolist()) == bad
    for k in (3, 8, 22):
        indices = coverage(times, features, k).indices
        assert not bad & set(indices.tolist())
        assert set(owner[indices].tolist()) == {1, 2, 3}
    assert len(coverage(times, features, 27).indices) == 27


def test_nothing_twice() -> None:
    frames, owner, times = video((1, 8), (2, 8), (3, 8))
    frames[10:16] = frames[9]  # frozen
    frames[20] = frames[3]  # an earlier picture again
    features = light_features(frames)
    assert first_alike(features)[9:16].tolist() == [9] * 7
    assert first_alike(features)[20] == 3
    indices = coverage(times, features, 12).indices.tolist()
    assert len({9, *range(10, 16)} & set(indices)) <= 1
    assert not {3, 20} <= set(indices)
    assert set(owner[indices].tolist()) == {1, 2, 3}


def test_a_soft_or_dark_video_has_no_bad_frames() -> None:
    frames, _, _ = video((1, 6), (2, 6))
    soft = light_features(np.stack([blurred(frame) for frame in frames]))
    assert not is_unclear(soft).any()
    night = (frames * 0.1).astype(np.uint8)
    night[:, 40:44, 70:76] = 200  # a lamp
    assert not is_empty(light_features(night)).any()
    title = np.zeros_like(frames)
    title[:, 40:50, 60:62] = 255
    assert not is_empty(light_features(title)).any()


def test_one_long_shot_gives_evenly_spread_frames() -> None:
    frames = np.stack([picture(1, 0.3 * i) for i in range(64)])
    times = np.arange(64) / 4
    indices = coverage(times, light_features(frames), 4).indices
    gaps = np.diff(np.concatenate([[-8], indices, [71]]))
    assert gaps.min() >= 6
    assert gaps.max() <= 32


def test_shots_are_found() -> None:
    frames, _, times = video((1, 20), (2, 5), (3, 30), (4, 9))
    features = light_features(frames)
    assert shot_starts(features).tolist() == [0, 20, 25, 55]
    assert scene(times, features, 4).indices.tolist() == [10, 22, 40, 59]
    # The longest shots where there are more shots than frames.
    assert scene(times, features, 2).indices.tolist() == [10, 40]
    # The longest shots give two where there are fewer: 30 frames, then 20.
    assert scene(times, features, 6).indices.tolist() == [5, 15, 22, 32, 47, 59]


def test_shots_of_one_candidate() -> None:
    frames, _, times = video((1, 1))
    assert scene(times, light_features(frames), 3).indices.tolist() == [0]
