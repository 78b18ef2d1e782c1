"""Which weights learn how fast, and the rates of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

BACKBONE = "backbone."
"""What names of the image-text model's weights begin with; all others are new modules."""


def parameter_groups(
    module: nn.Module, *, new_rate: float, backbone_rate: float, decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimiser: new modules and backbone, with and without weight decay.

    Norms, biases, scalars (logit scale), and tables of positions do not decay.

    Args:
        module: A retriever.
        new_rate: Learning rate of sampler and head.
        backbone_rate: Of the image-text model.
        decay: Weight decay of the rest.
    """
    plain = set(_undecayed(module))
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            part = "backbone" if name.startswith(BACKBONE) else "new"
            groups.setdefault((part, name in plain), []).append(parameter)
    return [
        {
            "name": part if not undecayed else f"{part}, no decay",
            "params": parameters,
            "lr": backbone_rate if part == "backbone" else new_rate,
            "peak": backbone_rate if part == "backbone" else new_rate,
            "weight_decay": 0.0 if undecayed else decay,
        }
        for (part, undecayed), parameters in sorted(groups.items())
    ]


def _undecayed(module: nn.Module) -> Iterable[str]:
    """Names of weights that do not decay."""
    norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    for prefix, part in module.named_modules():
        for name, parameter in part.named_parameters(prefix, recurse=False):
            last = name.rpartition(".")[2]
            if (
                isinstance(part, norms)
                or parameter.ndim <= 1
                or last.endswith("bias")
                or any(word in name for word in ("position", "pos_embed"))
                or "logit_scale" in last
            ):
                yield name


def schedule(step: int, steps: int, warmup: float = 0.1) -> float:
    """The factor of the learning rates at a step: linear warm-up, then half a cosine to 0.

    s/S0 for s < S0 = int(warmup * S), then (1 + cos(pi (s - S0)/(S - S0)))/2: CLIP4Clip's.

    Args:
        step: s, from 0.
        steps: S, of the whole run.
        warmup: Share of the steps.
    """
    first = int(warmup * steps)
    if step < first:
        return step / first
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, steps - first)))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Sets the rate of each group to its peak times a factor; gives them by name."""
    rates = {}
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
        rates[group["name"]] = group["lr"]
    return rates
