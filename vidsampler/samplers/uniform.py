"""`uniform`: the middles of K equal segments."""

from __future__ import annotations

from vidsampler.samplers.base import Choice, Features, FloatArray, FrameSampler, check_arguments
from vidsampler.video.positions import uniform_positions


def uniform(times: FloatArray, features: Features | None, k: int, *, seed: int = 0) -> Choice:
    """Keeps candidate floor((2i + 1) N / (2K)) for i = 0 ... K-1.

    Args:
        times: (N,) seconds, ascending; only their number counts.
        features: not used.
        k: how many frames to keep.
        seed: not used.

    Returns:
        min(k, N) candidates, without scores.
    """
    k = check_arguments(times, k)
    return Choice(uniform_positions(len(times), k))


# The candidates are the kept frames: nothing else is looked at.
SAMPLER = FrameSampler("uniform", uniform, "kept", needs_features=False)
