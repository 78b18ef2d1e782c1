"""X-Pool: `clip.*` in Hugging Face's naming, and `pool_frames.*`.

| file | here |
|---|---|
| `clip.*` | `backbone.clip.*` (see `checkpoints.clip`) |
| `pool_frames.cross_attn.{q,k,v,out}_proj` | `head.pool_frames.{q,k,v,out}_proj` |
| `pool_frames.linear_proj`, `pool_frames.layer_norm{1,2,3}` | `head.pool_frames.*` |
"""

from __future__ import annotations

from vidsampler.checkpoints.heads import POOLING, describe_pooling
from vidsampler.checkpoints.table import Described, Source

METHOD = "xpool"
PREFIX = "clip."


def describe(source: Source, joint: int) -> Described:
    """What an X-Pool file says.

    Args:
        source: The file.
        joint: D.
    """
    found = Described(settings={"head": {"name": "xpool"}})
    found.fixed["head.name"] = ("xpool", f"{POOLING}*")
    found.assumed["frames"] = "as published; the file does not say"
    describe_pooling(found, "head")
    return found
