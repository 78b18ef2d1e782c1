"""Which frames of a video a recipe means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError
from vidsampler.extraction.settings import Recipe
from vidsampler.video import Video
from vidsampler.video.positions import uniform_positions

IntArray = npt.NDArray[np.int64]


def frame_numbers(
    video: Video, recipe: Recipe, start: float | None = None, end: float | None = None
) -> IntArray:
    """The frames to store, ascending.

    Args:
        video: An open video.
        recipe: What is wanted.
        start, end: Only frames shown from ``start`` up to ``end`` seconds.

    Returns:
        (n,) frame numbers. With ``store`` mp4 one for each point of the grid of ``fps``, so that
        some repeat where the source has fewer frames a second; else each once.

    Raises:
        InputError: There is no frame between ``start`` and ``end``.
    """
    first, past = video.numbers_between(start, end)
    if first >= past:
        raise InputError(
            f"{video.path}: there is no frame from {start or 0:g} s"
            + ("" if end is None else f" to {end:g} s")
            + f"; it lasts {video.duration:.2f} s",
            code="no-video",
        )
    if recipe.spread is not None:
        count = min(recipe.spread, past - first)
        return first + uniform_positions(past - first, count, recipe.positions)
    if recipe.keyframes:
        keyframes = video.keyframes()
        inside = keyframes[(keyframes >= first) & (keyframes < past)]
        # A window between two keyframes: its first frame stands for it.
        return inside if len(inside) else np.array([first], np.int64)
    everything = np.arange(first, past, dtype=np.int64)
    if recipe.fps is None:
        return everything
    times = video.times(everything)
    shown = first + frames_at_rate(times, recipe.fps, _last_moment(video, times, end))
    return shown if recipe.store == "mp4" else np.unique(shown)


def frames_at_rate(times: npt.NDArray[np.float64], fps: float, end: float) -> IntArray:
    """Which of some frames are shown at the points of an even grid that starts with the first.

    Args:
        times: (n,) when each frame is shown, seconds, ascending.
        fps: Points a second.
        end: When the last frame is no longer shown.

    Returns:
        (ceil((end - times[0]) * fps),) positions in ``times``, at least one.
    """
    # A clip of 10.01 s is not worth an eleventh frame at 1 fps, nor is a rounding error.
    count = max(1, int(np.ceil((end - times[0]) * fps - 0.02)))
    points = times[0] + np.arange(count) / fps
    shown: IntArray = np.searchsorted(times, points + 1e-6, side="right") - 1
    return shown


def _last_moment(video: Video, times: npt.NDArray[np.float64], end: float | None) -> float:
    """When the last frame is no longer shown."""
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1 / (video.fps or 25.0)
    last = float(times[-1] + step)
    return last if end is None else min(last, end)
