"""In which precision a device computes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import torch

from vidsampler.backbones.config import Precision

Computed = Literal["fp32", "bf16"]


def computed_in(precision: Precision, device: torch.device | str) -> Computed:
    """What a precision means on a device; of `auto` bf16 where it has instructions for it."""
    if precision == "auto":
        return "bf16" if has_bf16(torch.device(device).type) else "fp32"
    return precision


def slow_precision(precision: str, device: torch.device | str) -> str | None:
    """What to tell a user who wants bf16 of a processor that has no instructions for it.

    It gives the same numbers, but through loops that nobody made fast: training on `shapes` took
    ten times as long as in fp32 on a processor that has AVX2 alone.
    """
    kind = torch.device(device).type
    if precision != "bf16" or kind != "cpu" or has_bf16(kind):
        return None
    return (
        "note: this processor has no instructions for bf16, and is many times slower in it than in "
        "fp32; add --set backbone.precision=auto"
    )


@cache
def has_bf16(kind: str) -> bool:
    """Whether a kind of device, such as `cpu` or `cuda`, has instructions for bf16."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        able: Mapping[str, Any] = torch.cpu.get_capabilities()
        # The last two are of ARM.
        return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    # Before that there was no public word for it.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, each)() for each in probes if hasattr(torch.cpu, each))
