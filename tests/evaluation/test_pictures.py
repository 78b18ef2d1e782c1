"""The picture of a result: what is where, and in which colour."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from vidsampler.evaluation import pictures
from vidsampler.evaluation.pictures import DROPPED, KEPT, Query
from vidsampler.evaluation.ranks import rank_matrix

NAMES = ["first", "second", "third"]
SHOWN = [[0, 2], [1], [0, 1, 2, 3]]
COUNTS = [4, 4, 4]


def frames_of(video: int) -> np.ndarray:
    """Four grey frames, of another brightness for each video."""
    return np.full((4, 90, 160, 3), 100 + 50 * video, np.uint8)


def drawn(queries: list[Query]) -> np.ndarray:
    return pictures.draw_result(queries, NAMES, SHOWN, COUNTS, frames_of)


def has(picture: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    """Where a picture has a colour, exactly."""
    found: np.ndarray = (picture == np.array(colour, np.uint8)).all(-1)
    return found


def test_kept_frames_are_green_and_dropped_ones_dark_and_red() -> None:
    picture = drawn([Query("a caption", 2, 2, (0, 2), (0.5, 0.25))])
    strip = picture[40:110, 190:]
    line = strip[1]
    # Four pictures with two pixels between them, in the place of eight.
    cell = (1280 - 190 - 12) // 8 - 2
    for place, colour in enumerate((KEPT, DROPPED, KEPT, DROPPED)):
        x = place * (cell + 2)
        assert has(line[x : x + cell], colour).all()
        assert not has(line[x + cell : x + cell + 2], colour).any()
        centre = strip[35, x + cell // 2]
        assert (centre == (100 if colour == KEPT else 45)).all()
    # The other video keeps all it has.
    below = picture[41 + strip_height(cell) + 12 :, 190:][1]
    assert not has(below, DROPPED).any()
    assert has(below, KEPT).sum() == 4 * cell


def strip_height(cell: int) -> int:
    return 2 + round(cell * 90 / 160)


def test_every_video_is_asked_for_once() -> None:
    asked = []

    def ask(video: int) -> np.ndarray:
        asked.append(video)
        return frames_of(video)

    queries = [Query("one", 0, 1, (0, 1), (1.0, 0.5)), Query("two", 1, 2, (1, 0), (1.0, 0.5))]
    picture = pictures.draw_result(queries, NAMES, SHOWN, COUNTS, ask)
    assert asked == [0, 1]
    alone = drawn(queries[:1])
    chart = pictures.draw_histograms(SHOWN, COUNTS)
    assert picture.shape[1] == chart.shape[1] == 1280
    assert len(picture) - len(alone) == len(alone) - len(chart)
    assert (picture[-len(chart) :] == chart).all()


def test_many_frames_take_several_lines() -> None:
    def height(count: int) -> int:
        frames = np.zeros((count, 90, 160, 3), np.uint8)
        query = Query("", 0, 1, (0,), (1.0,))
        return len(pictures.draw_result([query], ["v"], [[0]], [count], lambda _: frames))

    cell = (1280 - 190 - 12) // 16 - 2
    assert height(48) - height(32) == strip_height(cell) == 39
    # One line is no lower than the label beside it.
    assert height(32) - height(16) == 2 * 39 - 72


def test_histograms_count() -> None:
    assert pictures.position_shares(SHOWN, COUNTS) == pytest.approx([2 / 3, 2 / 3, 2 / 3, 1 / 3])
    assert pictures.kept_counts(SHOWN) == {1: 1, 2: 1, 3: 0, 4: 1}
    # Of a place, only the videos that have it count.
    assert pictures.position_shares([[0], [1]], [1, 2]) == [0.5, 1.0]
    chart = pictures.draw_histograms(SHOWN, COUNTS)
    # The line for all places alike lies over the tall bars.
    green = has(chart, KEPT) | has(chart, DROPPED)
    bottom, height = 250 - 44, 250 - 40 - 44
    places = 60 + (np.arange(4) + 0.5) * (640 - 12 - 60) / 4
    heights = [green[40 : bottom + 1, int(x)].sum() for x in places]
    tall, low = (1 + round(height * share) for share in (2 / 3, 1 / 3))
    # The line is above the low bar.
    assert heights == [tall, tall, tall, low + 1]
    counts = 700 + (np.arange(4) + 0.5) * (1280 - 12 - 700) / 4
    heights = [green[40 : bottom + 1, int(x)].sum() for x in counts]
    # The scale goes to 4.
    assert heights == [43, 43, 0, 43]
    # The line says what share all places would have: 7 of 12.
    level = bottom - round(height * 7 / 12)
    assert has(chart[level], DROPPED)[60:628].all()


def test_queries_are_spread_from_the_best_to_the_worst() -> None:
    ranks = np.array([9, 1, 4, 2, 30, 1])
    assert pictures.choose_queries(ranks, 3) == [1, 3, 4]
    assert pictures.choose_queries(ranks, 1) == [1]
    assert pictures.choose_queries(ranks, 9) == [1, 5, 3, 2, 0, 4]
    with pytest.raises(ValueError, match="at least 1, got 0"):
        pictures.choose_queries(ranks, 0)


def test_a_query_has_the_first_videos_of_its_row() -> None:
    scores = np.array([0.1, 0.7, 0.3, 0.7, 0.2], np.float32)
    found = pictures.found_by("words", 3, scores, 3)
    # Equal scores: the smaller number first, as ranks have it.
    assert (found.top, found.rank) == ((1, 3, 2), 2)
    assert found.scores == pytest.approx((0.7, 0.7, 0.3))
    assert pictures.found_by("words", 0, scores, 9).top == (1, 3, 2, 4, 0)


def test_only_the_rows_of_chosen_queries_are_asked_for() -> None:
    scores = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)
    owners = np.arange(9) % 4
    ranks = rank_matrix(scores, owners)
    asked: list[list[int]] = []

    def scores_of(queries: list[int]) -> np.ndarray:
        asked.append(queries)
        return scores[queries]

    found = pictures.queries_of(scores_of, [f"text {i}" for i in range(9)], ranks, 4, top=2)
    assert asked == [pictures.choose_queries(ranks.t2v, 4)]
    for query, shown in zip(asked[0], found, strict=True):
        assert (shown.text, shown.own) == (f"text {query}", query % 4)
        assert shown.rank == ranks.t2v[query]
        assert shown.top == tuple(np.argsort(-scores[query])[:2])


def test_long_and_strange_captions_fit() -> None:
    query = Query("word\n" * 200, 0, 1, (0,), (1.0,))
    picture = drawn([query])
    # Nothing of the caption is under what stands at the right.
    plain = drawn([Query("", 0, 1, (0,), (1.0,))])
    assert (picture[8:40, -170:] == plain[8:40, -170:]).all()
    assert (picture[8:40, :900] != plain[8:40, :900]).any()


@pytest.mark.parametrize(
    ("names", "kept", "counts", "message"),
    [
        (["a"], [[0], [1]], [2], "1 names, 2 lists of kept frames and 1 numbers"),
        ([], [], [], "0 names"),
        (["a"], [[2]], [2], r"a has 2 candidates and cannot keep \[2\]"),
        (["a"], [[]], [2], r"cannot keep \[\]"),
        (["a"], [[0]], [2], "a has 2 candidates, but 4 frames were given"),
    ],
)
def test_what_does_not_belong_together(
    names: list[str], kept: list[list[int]], counts: list[int], message: str
) -> None:
    query = Query("", 0, 1, (0,), (1.0,))
    with pytest.raises(ValueError, match=message):
        pictures.draw_result([query], names, kept, counts, frames_of)


def test_no_torch() -> None:
    code = "import sys, vidsampler.evaluation.pictures; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
