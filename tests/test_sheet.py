"""The contact sheet's layout."""

import numpy as np
import pytest

from vidsampler.sheet import WIDTH, caption, draw_sheet


def flat(value: int, shape: tuple[int, int] = (90, 160)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (8, 4), (16, 4), (64, 8)])
def test_pictures_stand_in_order(count: int, columns: int) -> None:
    values = [60 + 180 * i // count for i in range(count)]
    sheet = draw_sheet([flat(v) for v in values], [("", "")] * count, "title")
    assert sheet.shape[1] == WIDTH
    cell = WIDTH / columns
    row = (sheet.shape[0] - 44) / (count // columns)
    for i, value in enumerate(values):
        x, y = (i % columns + 0.5) * cell, 44 + (i // columns + 0.4) * row
        assert abs(int(sheet[int(y), int(x), 0]) - value) <= 2


def test_captions_and_title_are_drawn() -> None:
    plain = draw_sheet([flat(0)], [("", "")], "")
    drawn = draw_sheet([flat(0)], [("1   0:00:01.000", "frame 25")], "clip.mp4")
    assert (plain[:44] != drawn[:44]).any()
    assert (plain[-40:] != drawn[-40:]).any()


def test_pictures_of_different_shapes_are_not_stretched() -> None:
    sheet = draw_sheet([flat(200), flat(200, (160, 90))], [("", "")] * 2, "")
    halves = sheet[:, : WIDTH // 2], sheet[:, WIDTH // 2 :]
    for half, aspect in zip(halves, (160 / 90, 90 / 160), strict=True):
        there = np.asarray((half > 190).all(axis=-1))
        width, height = there.any(axis=0).sum(), there.any(axis=1).sum()
        assert width / height == pytest.approx(aspect, rel=0.02)


def test_long_titles_keep_their_end() -> None:
    draw_sheet([flat(0)], [("", "")], "a very long name " * 50)


def test_caption() -> None:
    assert caption(3, 62.5, 1562, None) == ("3   0:01:02.500", "frame 1562")
    assert caption(3, 0.0, 0, 0.25) == ("3   0:00:00.000", "frame 0  0.250")
