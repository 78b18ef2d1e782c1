"""Decoded frames that are kept for later epochs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Decoded(NamedTuple):
    """What was decoded of a video.

    Attributes:
        frames_NHWC: (n, S, S, 3) uint8, cut and resized, not augmented.
        times_N: (n,) seconds.
    """

    frames_NHWC: npt.NDArray[np.uint8]
    times_N: npt.NDArray[np.float64]


class DecodedFrames:
    """Keeps what is decoded of the videos of a split, if there is room for all of it.

    All or nothing, so that a run takes the same memory and the same time in every epoch but its
    first. Threads may share it.

    Args:
        most_bytes: Room.
        videos: Of the split.
        frames: Of each video at most.
        size: S, their height and width.
    """

    def __init__(self, most_bytes: int, *, videos: int, frames: int, size: int) -> None:
        self._fits = videos * frames * size * size * 3 <= most_bytes
        self._kept: dict[int, Decoded] = {}

    def __len__(self) -> int:
        """How many videos are kept."""
        return len(self._kept)

    def get(self, video: int) -> Decoded | None:
        """What was kept of a video; not to be written to."""
        return self._kept.get(video)

    def keep(
        self, video: int, frames_NHWC: npt.NDArray[np.uint8], times_N: npt.NDArray[np.float64]
    ) -> None:
        """Copies what was decoded of a video, where there is room."""
        if self._fits:
            self._kept[video] = Decoded(frames_NHWC.copy(), times_N.copy())
