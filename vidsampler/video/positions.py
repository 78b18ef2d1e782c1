"""Which frames to look at: pure numbers, no decoder."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

Positions = Literal["middle", "start"]


def uniform_positions(frames: int, count: int, positions: Positions = "middle") -> IntArray:
    """Frame numbers that spread ``count`` candidates evenly over ``frames`` frames.

    Args:
        frames: how many frames there are (n >= 1).
        count: how many candidates are wanted (N >= 1).
        positions: ``middle`` takes the middle of each of N equal segments, floor((2i+1)n / 2N);
            ``start`` takes its first frame, floor(i n / N), the layout of the published systems.

    Returns:
        (N,) int64, ascending. With n < N frame numbers repeat.

    Raises:
        ValueError: ``frames`` or ``count`` is below 1.
    """
    if frames < 1 or count < 1:
        raise ValueError(f"frames and count must be at least 1, got {frames} and {count}")
    i = np.arange(count, dtype=np.int64)
    if positions == "start":
        return i * frames // count
    return (2 * i + 1) * frames // (2 * count)
