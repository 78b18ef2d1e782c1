"""The contact sheet's layout."""

import numpy as np
import pytest

from vidsampler.sheet import MANY, MARK, PAPER, TRACK, WIDE, WIDTH, Cell, draw_sheet

TOP = 44


def flat(value: int, shape: tuple[int, int] = (90, 160)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def count_of(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(-1).sum())


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (8, 4), (16, 4), (64, 8)])
def test_pictures_stand_in_order(count: int, columns: int) -> None:
    values = [60 + 180 * i // count for i in range(count)]
    sheet = draw_sheet([Cell(flat(v), "") for v in values], "title")
    assert sheet.shape[1] == (WIDE if count > MANY else WIDTH)
    cell = sheet.shape[1] / columns
    row = (sheet.shape[0] - TOP) / (count // columns)
    for i, value in enumerate(values):
        x, y = (i % columns + 0.5) * cell, TOP + (i // columns + 0.4) * row
        assert abs(int(sheet[int(y), int(x), 0]) - value) <= 2


def test_labels_and_title_are_drawn() -> None:
    plain = draw_sheet([Cell(flat(0), "", "")], "")
    drawn = draw_sheet([Cell(flat(0), "0:00:01.000", frame=25)], "clip.mp4")
    assert (plain[:TOP] != drawn[:TOP]).any()
    assert (plain[-30:, :400] != drawn[-30:, :400]).any()
    assert (plain[-30:, -400:] != drawn[-30:, -400:]).any()
    # The question has a line of its own, in the colour of what is marked.
    asked = draw_sheet([Cell(flat(0), "", "")], "", '"a dog"')
    assert asked.shape[0] == plain.shape[0] + 30
    assert count_of(asked[TOP : TOP + 30], MARK) > 20


def test_details_give_way_from_the_longest() -> None:
    cell = Cell(flat(0), "0:00:01.000", frame=1562, score=0.25)
    assert cell.details() == ["frame 1562  0.250", "0.250", ""]
    assert Cell(flat(0), "", frame=3).details() == ["frame 3", "", ""]
    assert Cell(flat(0), "", "black").details() == ["black", "black", ""]


def test_all_cells_say_the_same_things() -> None:
    # 8 columns have room for a score, but not for the frame's number beside it.
    cells = [Cell(flat(0), "0:00:01.000", frame=100_000 * i, score=0.25) for i in range(64)]
    short = [Cell(flat(0), "0:00:01.000", "0.250") for _ in cells]
    assert np.array_equal(draw_sheet(cells, ""), draw_sheet(short, ""))


def test_kept_frames_stand_out_among_candidates() -> None:
    cells = [Cell(flat(200), "", number=1 if i == 2 else None) for i in range(4)]
    sheet = draw_sheet(cells, "")
    half, row = sheet.shape[1] // 2, (sheet.shape[0] - TOP) // 2
    upper, lower = sheet[TOP : TOP + row], sheet[TOP + row :]
    # The frame is 3 wide, and 4 outside the picture.
    assert count_of(lower[:, :half], MARK) > 2 * row + 2 * half
    assert count_of(upper[:-4], MARK) == count_of(lower[:, half:], MARK) == 0
    # Not kept: 0.45 of the picture over the paper.
    assert upper[200, 300, 0] == pytest.approx(0.45 * 200 + 0.55 * PAPER[0], abs=2)
    assert lower[200, 300, 0] == 200


def test_without_others_nothing_is_marked() -> None:
    cells = [Cell(flat(200), "", number=i + 1) for i in range(4)]
    sheet = draw_sheet(cells, "")
    assert count_of(sheet, MARK) == 0
    # Each has its number in the corner.
    plain = draw_sheet([Cell(flat(200), "") for _ in range(4)], "")
    assert (sheet != plain).any()


def test_scores_are_bars() -> None:
    cells = [Cell(flat(0), "", level=level) for level in (0.0, 0.5, 1.0, None)]
    sheet = draw_sheet(cells, "")
    rows = np.flatnonzero((sheet == TRACK).all(-1).any(1) | (sheet == MARK).all(-1).any(1))
    first, second = rows[0], rows[-1]
    width = (WIDTH - 30) // 2
    upper = (sheet[first] == MARK).all(-1)
    assert upper[: WIDTH // 2].sum() == 1
    assert upper[WIDTH // 2 :].sum() == pytest.approx(width / 2, abs=2)
    assert (sheet[second] == MARK).all(-1).sum() == width


def test_pictures_of_different_shapes_are_not_stretched() -> None:
    sheet = draw_sheet([Cell(flat(200), ""), Cell(flat(200, (160, 90)), "")], "")
    halves = sheet[:, : WIDTH // 2], sheet[:, WIDTH // 2 :]
    for half, aspect in zip(halves, (160 / 90, 90 / 160), strict=True):
        there = np.asarray((half > 190).all(axis=-1))
        width, height = there.any(axis=0).sum(), there.any(axis=1).sum()
        assert width / height == pytest.approx(aspect, rel=0.02)


def test_long_lines_and_odd_letters() -> None:
    draw_sheet([Cell(flat(0), "")], "a very long name " * 50, "a long question\n" * 50)
