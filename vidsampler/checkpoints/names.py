"""Names of families and namings; no torch here, so that the command line can complete them."""

from __future__ import annotations

FAMILIES = ("clip4clip", "mmsampler", "adaclip", "xpool", "tmass", "emcl")
"""Whose checkpoints are imported; each has a file in `checkpoints.families`."""

NAMINGS = ("openclip", "huggingface")
"""Whose names the tensors of an exported CLIP have."""
