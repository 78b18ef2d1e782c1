"""Light features against values computed in another way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.samplers.synthetic import HEIGHT, WIDTH, black, blurred, features_of, moved, scene
from vidsampler.samplers.base import Features
from vidsampler.samplers.features import light_features, visual_distances, visual_steps


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : WIDTH // 2], picture[:, WIDTH // 2 :] = left, right
    return picture


def test_shapes_and_types() -> None:
    features = features_of([scene(i) for i in range(5)])
    assert len(features) == 5
    sizes = {"colours": 288, "layout": 48, "edges": 192, "thumbnail": 432}
    for field in dataclasses.fields(Features):
        values = getattr(features, field.name)
        shape = (5, sizes[field.name]) if field.name in sizes else (5,)
        assert values.shape == shape, field.name
        assert values.dtype == np.float32, field.name
        assert np.isfinite(values).all(), field.name


def test_colours_count_pixels() -> None:
    # Grey 100 (a quarter), pure blue (a quarter) and pure red (half).
    picture = halves((0, 0, 0), (255, 0, 0))
    picture[: HEIGHT // 2, : WIDTH // 2] = 100
    picture[HEIGHT // 2 :, : WIDTH // 2] = (0, 0, 255)

    def place(red: int, green: int, blue: int) -> int:
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        bins = [int(luma // 32)]
        for value, scale in ((blue, 0.564), (red, 0.713)):
            bins.append(min(5, max(0, int((value - luma) * scale / 16 + 3))))
        return (bins[0] * 6 + bins[1]) * 6 + bins[2]

    (colours,) = features_of([picture]).colours
    expected = np.zeros(288)
    expected[place(100, 100, 100)] = 0.25
    expected[place(0, 0, 255)] = 0.25
    expected[place(255, 0, 0)] = 0.5
    np.testing.assert_allclose(colours**2, expected, atol=1e-6)


def test_bars_do_not_count_as_colour() -> None:
    picture = scene(3, (HEIGHT - 32, WIDTH))
    picture = np.maximum(picture, 40)
    letterboxed = black()
    letterboxed[16:-16] = picture
    with_bars, without = features_of([letterboxed]), light_features(picture[None, 2:-2])
    np.testing.assert_allclose(with_bars.colours, without.colours, atol=1e-6)


def test_layout_is_the_mean_of_cells() -> None:
    picture = scene(11)
    grey = picture @ np.array([0.299, 0.587, 0.114])
    cells = np.array(
        [[grey[y : y + 16, x : x + 20].mean() for x in range(0, 160, 20)] for y in range(0, 96, 16)]
    ).ravel()
    cells -= cells.mean()
    cells /= np.sqrt((cells**2).sum() + 48 * 13**2)
    np.testing.assert_allclose(features_of([picture]).layout[0], cells, atol=1e-5)


def test_layout_does_not_depend_on_exposure() -> None:
    picture = (scene(5) // 2).astype(np.uint8)
    brighter = picture + 60
    features = features_of([picture, brighter])
    np.testing.assert_allclose(features.layout[0], features.layout[1], atol=1e-4)


def test_edges_know_their_direction() -> None:
    across, down = np.indices((HEIGHT, WIDTH))[::-1]
    angles = np.arange(8) * np.pi / 8 + np.pi / 16  # the middle of each of the eight directions
    pictures = []
    for angle in angles:
        wave = np.sin((across * np.cos(angle) + down * np.sin(angle)) * 0.4)
        pictures.append(np.repeat((127 + 120 * wave)[..., None], 3, axis=2).astype(np.uint8))
    edges = features_of(pictures).edges.reshape(8, 24, 8)
    strongest = edges.mean(axis=1).argmax(axis=1)
    assert sorted(strongest.tolist()) == list(range(8))
    share = (edges**2).sum(axis=1)
    assert (share.max(axis=1) > 0.8 * share.sum(axis=1)).all()


def test_thumbnail_is_the_mean_of_cells() -> None:
    picture = scene(8, (96, 144))
    expected = picture.reshape(12, 8, 12, 12, 3).mean(axis=(1, 3))
    (thumbnail,) = light_features(picture[None]).thumbnail
    np.testing.assert_allclose(thumbnail.reshape(12, 12, 3), expected, atol=1e-3)


def test_brightest_and_contrast() -> None:
    picture = black()
    picture[40, 50:70] = 200  # 20 of 15,360 pixels
    features = features_of([picture, black(), halves((0, 0, 0), (100, 100, 100))])
    np.testing.assert_allclose(features.brightest, [200, 0, 100], atol=0.01)
    np.testing.assert_allclose(features.contrast[1:], [0, 50], atol=0.01)
    picture[40, 60:70] = 0  # 10 pixels are less than 1 in 1,000
    assert features_of([picture]).brightest[0] == 0


def test_detail_of_a_grating() -> None:
    # sin(w x): the Laplacian is (2 cos w - 2) times the wave, the central difference is sin(w)
    # times its shifted self, so detail over edges is (2 cos w - 2)^2 / sin(w)^2.
    across = np.arange(WIDTH)
    for w in (0.4, 0.8, 1.6):
        row = 127.5 + 120 * np.sin(w * across)
        picture = np.repeat(np.tile(row, (HEIGHT, 1))[..., None], 3, axis=2)
        features = light_features(np.rint(picture).astype(np.uint8)[None])
        expected = (2 * np.cos(w) - 2) ** 2 / np.sin(w) ** 2
        # The cells do not hold whole periods, so theirs lie around it.
        assert features.finest[0] == pytest.approx(expected, rel=0.25)
        assert features.sharpness[0] == pytest.approx(expected, rel=0.25)
        assert features.grain[0] == pytest.approx(expected, rel=0.25)
        assert features.grain[0] <= expected * 1.02 <= features.finest[0] * 1.04


def test_detail_falls_with_blur_and_not_with_contrast() -> None:
    sharp = scene(21)
    faint = (127 + (sharp.astype(float) - 127) / 3).astype(np.uint8)
    features = features_of([sharp, blurred(sharp, 1), blurred(sharp, 3), faint])
    full, soft, lost, flat = features.finest.tolist()
    assert full > 2 * soft > 8 * lost
    assert lost < 0.6
    assert 0.6 * full < flat <= full


def test_the_border_of_a_letterbox_is_no_detail() -> None:
    picture = black()
    picture[16:-16] = np.maximum(blurred(scene(4), 3)[16:-16], 40)
    assert features_of([picture]).finest[0] < 0.6


def test_noise_has_grain() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)
    # The Laplacian of white noise has 20 times its variance, the squared gradient 1 time.
    assert light_features(noise).grain[0] == pytest.approx(20, rel=0.1)
    assert features_of([scene(2)]).grain[0] < 8


def test_distances() -> None:
    pictures = [scene(i) for i in range(6)] + [moved(scene(5), 2)]
    features = features_of(pictures)
    distances = visual_distances(features)
    assert distances.shape == (7, 7)
    np.testing.assert_array_equal(distances, distances.T)
    assert (np.diag(distances) == 0).all()
    expected = [
        [
            np.linalg.norm(features.colours[i] - features.colours[j]) / 0.8 / 3
            + np.linalg.norm(features.layout[i] - features.layout[j]) / 1.27 / 3
            + np.linalg.norm(features.edges[i] - features.edges[j]) / 0.3 / 3
            for j in range(7)
        ]
        for i in range(7)
    ]
    np.testing.assert_allclose(distances, expected, atol=2e-3)
    np.testing.assert_allclose(visual_steps(features), np.diagonal(distances, 1), atol=2e-3)
    different = distances[:6, :6][np.triu_indices(6, 1)]
    assert distances[5, 6] < 0.4 * different.min()


def test_frames_do_not_depend_on_their_neighbours() -> None:
    pictures = np.stack([scene(i) for i in range(21)])  # more than one chunk
    together = light_features(pictures)
    for i in (0, 8, 20):
        alone = light_features(pictures[i : i + 1])
        for field in dataclasses.fields(Features):
            np.testing.assert_allclose(
                getattr(together, field.name)[i], getattr(alone, field.name)[0], atol=1e-5
            )


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 5), (96, 54), (20, 300)])
def test_any_size(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    features = light_features(frames)
    for field in dataclasses.fields(Features):
        assert np.isfinite(getattr(features, field.name)).all()


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_wrong_arrays_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        light_features(frames)
