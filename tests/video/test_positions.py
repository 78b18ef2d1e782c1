"""Candidate positions: values by hand."""

import numpy as np
import pytest

from vidsampler.video.positions import uniform_positions


def test_middles_of_equal_segments() -> None:
    assert uniform_positions(16, 4).tolist() == [2, 6, 10, 14]
    assert uniform_positions(10, 3).tolist() == [1, 5, 8]  # floor of 10/6, 30/6, 50/6
    assert uniform_positions(1, 1).tolist() == [0]


def test_starts_of_equal_segments() -> None:
    assert uniform_positions(16, 4, "start").tolist() == [0, 4, 8, 12]
    assert uniform_positions(10, 3, "start").tolist() == [0, 3, 6]


def test_fewer_frames_than_candidates_repeat() -> None:
    assert uniform_positions(2, 4).tolist() == [0, 0, 1, 1]


def test_always_in_range_and_ascending() -> None:
    for frames in (1, 2, 7, 1000, 2**40):
        for count in (1, 5, 64):
            found = uniform_positions(frames, count)
            assert found.min() >= 0
            assert found.max() < frames
            assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize(("frames", "count"), [(0, 1), (1, 0), (-1, 3)])
def test_nothing_to_choose_from(frames: int, count: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        uniform_positions(frames, count)
