"""`random`: frames drawn at random, the bar that every other sampler must beat."""

from __future__ import annotations

import numpy as np

from vidsampler.samplers.base import Choice, Features, FloatArray, FrameSampler, check_arguments


def random(times: FloatArray, features: Features | None, k: int, *, seed: int = 0) -> Choice:
    """Draws candidates without replacement.

    Args:
        times: (N,) seconds, ascending; only their number counts.
        features: not used.
        k: how many frames to keep.
        seed: of the generator (PCG64); the same seed draws the same frames.

    Returns:
        min(k, N) candidates, without scores.
    """
    k = check_arguments(times, k)
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = generator.choice(len(times), size=k, replace=False)
    return Choice(np.sort(drawn).astype(np.int64))


SAMPLER = FrameSampler("random", random, "uniform", needs_features=False)
