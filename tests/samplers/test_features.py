"""Light features against values worked out in another way."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vidsampler.samplers.features import CANDIDATE_SIZE, light_features, visual_distances
from vidsampler.samplers.features import visual_steps as steps

RNG = np.random.default_rng(1)
NOISE = RNG.integers(0, 256, (5, 96, 160, 3), dtype=np.uint8)


def luma(frames: np.ndarray) -> np.ndarray:
    weighted: np.ndarray = frames.astype(float) @ np.array([0.299, 0.587, 0.114])
    return weighted


def test_contrast_and_brightness() -> None:
    features = light_features(NOISE)
    np.testing.assert_allclose(features.contrast, luma(NOISE).std(axis=(1, 2)), rtol=1e-4)
    exceeded = (luma(NOISE) > features.brightest[:, None, None]).mean(axis=(1, 2))
    np.testing.assert_allclose(exceeded, 1e-3, atol=2e-4)


def test_thumbnail_is_the_mean_colour_of_cells() -> None:
    features = light_features(NOISE)
    # 96 and 160 are no multiples of 12, so take a picture that is.
    frames = RNG.integers(0, 256, (2, 96, 144, 3), dtype=np.uint8)
    expected = frames.reshape(2, 12, 8, 12, 12, 3).mean(axis=(2, 4)).reshape(2, -1)
    np.testing.assert_allclose(light_features(frames).thumbnail, expected, rtol=1e-4)
    assert features.thumbnail.shape == (5, 432)


def test_layout_ignores_overall_brightness() -> None:
    gray = np.full((1, 96, 160, 3), 100, np.uint8)
    gray[:, :48] = 140
    brighter = gray + 40
    one, other = light_features(gray), light_features(brighter)
    np.testing.assert_allclose(one.layout, other.layout, atol=1e-5)
    assert (one.layout[0, :24] > 0).all()
    assert (one.layout[0, 24:] < 0).all()


def test_colours_are_a_unit_vector_and_know_red_from_blue() -> None:
    frames = np.zeros((3, 40, 40, 3), np.uint8)
    frames[0, ..., 0] = frames[1, ..., 2] = 200
    frames[2, :20, :, 0] = frames[2, 20:, :, 2] = 200
    colours = light_features(frames).colours
    np.testing.assert_allclose((colours**2).sum(axis=1), 1, rtol=1e-5)
    assert colours[0] @ colours[1] == 0
    assert colours[0] @ colours[2] == pytest.approx(np.sqrt(0.5), rel=1e-4)


def test_edges_know_across_from_down() -> None:
    columns = np.tile((np.arange(160) // 8 % 2 * 200).astype(np.uint8)[None, :, None], (96, 1, 3))
    rows = np.tile((np.arange(96) // 8 % 2 * 200).astype(np.uint8)[:, None, None], (1, 160, 3))
    edges = light_features(np.stack([columns, rows, columns])).edges
    assert edges[0] @ edges[1] < 0.02 * (edges[0] @ edges[0])
    np.testing.assert_array_equal(edges[0], edges[2])


def test_sharpness_falls_with_blur_and_hardly_with_contrast() -> None:
    blocks = RNG.integers(60, 200, (12, 20, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    image = Image.fromarray(blocks)
    from PIL import ImageFilter

    soft = [np.asarray(image.filter(ImageFilter.GaussianBlur(s))) for s in (0, 1, 2, 4)]
    pale = (blocks.astype(float) * 0.6 + 50).astype(np.uint8)
    sharpness = light_features(np.stack([*soft, pale])).sharpness
    assert (np.diff(sharpness[:4]) < 0).all()
    assert sharpness[3] < 0.1 * sharpness[0]
    assert sharpness[4] == pytest.approx(sharpness[0], rel=0.25)
    assert light_features(np.full((1, 96, 160, 3), 90, np.uint8)).sharpness[0] == 0


def test_bars_do_not_count() -> None:
    inside = NOISE[:1, :48]
    framed = np.zeros((1, 96, 160, 3), np.uint8)
    framed[:, 24:72] = inside
    colours = light_features(framed).colours[0]
    black = light_features(np.zeros((1, 96, 160, 3), np.uint8)).colours[0]
    assert colours @ black < 0.1


def test_distances() -> None:
    features = light_features(np.concatenate([NOISE, NOISE[:1]]))
    distances = visual_distances(features)
    np.testing.assert_array_equal(distances, distances.T)
    assert (np.diag(distances) == 0).all()
    assert distances[0, 5] == 0
    assert (distances[0, 1:5] > 0).all()
    np.testing.assert_allclose(steps(features), np.diag(distances, 1), atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 300), (2, 7, 5), (1, 500, 3)])
def test_any_size(shape: tuple[int, int, int]) -> None:
    frames = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    features = light_features(frames)
    assert len(features) == shape[0]
    for value in vars(features).values():
        assert np.isfinite(value).all()


def test_chunks_do_not_show() -> None:
    frames = RNG.integers(0, 256, (150, CANDIDATE_SIZE, 160, 3), dtype=np.uint8)
    whole = light_features(frames)
    part = light_features(frames[100:101])
    for name, value in vars(whole).items():
        np.testing.assert_allclose(value[100:101], getattr(part, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.float32), np.zeros((0, 8, 8, 3))],
)
def test_other_arrays_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        light_features(frames)
