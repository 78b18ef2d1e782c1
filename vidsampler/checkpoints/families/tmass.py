"""T-MASS: X-Pool's tensors, and the radius of a text's ball.

| file | here |
|---|---|
| `clip.*`, `pool_frames.*` | as of X-Pool |
| `stochastic.std_branch.linear_proj` [D, F] | `head.radius.linear_proj` |
| `stochastic.std_branch.learnable_scalar` | left out: never initialised and never used |
"""

from __future__ import annotations

from vidsampler.checkpoints.heads import describe_pooling
from vidsampler.checkpoints.table import Described, Source, moved

METHOD = "tmass"
PREFIX = "clip."
_RADIUS = "stochastic.std_branch."


def describe(source: Source, joint: int) -> Described:
    """What a T-MASS file says.

    Args:
        source: The file.
        joint: D.

    Raises:
        UsageError: The radius is missing.
    """
    key = f"{_RADIUS}linear_proj.weight"
    frames = source.shape(key, 2)[1]
    found = Described(settings={"head": {"name": "tmass", "radius": "linear"}, "frames": frames})
    found.fixed |= {
        "head.name": ("tmass", f"{_RADIUS}*"),
        "head.radius": ("linear", key),
        "frames": (frames, key),
        "sampler.k": (None, key),
    }
    found.ignored[f"{_RADIUS}learnable_scalar"] = "never initialised and never used by T-MASS"
    found.assumed["head.noise"] = "the published default; LSMDC has normal noise of head.std 0.003"
    found.names.append(("head.radius.", moved(_RADIUS)))
    describe_pooling(found, "head.pooling")
    found.notes.append(
        "scores are made without the pairing of the test set, which T-MASS's own evaluation uses: "
        "its published figures (50.2 R@1 on MSRVTT) cannot be reached"
    )
    return found
