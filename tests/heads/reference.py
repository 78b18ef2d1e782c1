"""Plain NumPy in float64, one video or text at a time: what the heads must compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[np.float64]


def numbers(tensor: torch.Tensor) -> Array:
    """A tensor as float64."""
    return tensor.detach().double().numpy()


def unit(x: Array) -> Array:
    """Vectors of the last axis with length 1."""
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def softmax(x: Array) -> Array:
    """Over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def linear(module: Any, x: Array) -> Array:
    """x W^T + b."""
    return np.asarray(x @ numbers(module.weight).T + numbers(module.bias))


def layer_norm(module: nn.LayerNorm, x: Array) -> Array:
    """Over the last axis, biased variance."""
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + module.eps)
    return np.asarray(normal * numbers(module.weight) + numbers(module.bias))


def quick_gelu(x: Array) -> Array:
    """x * sigmoid(1.702 x)."""
    return np.asarray(x / (1 + np.exp(-1.702 * x)))


def attention_block(block: Any, x: Array, keys: npt.NDArray[np.bool_]) -> Array:
    """A pre-LN block on one video (F, D), of whose frames only `keys` are looked at."""
    width, heads = x.shape[1], block.attn.num_heads
    each = width // heads
    weight, bias = numbers(block.attn.in_proj_weight), numbers(block.attn.in_proj_bias)
    y = layer_norm(block.ln_1, x)
    q, k, v = (
        y @ weight[i * width : (i + 1) * width].T + bias[i * width : (i + 1) * width]
        for i in range(3)
    )
    mixed = np.zeros_like(x)
    for h in range(heads):
        at = slice(h * each, (h + 1) * each)
        for f in range(len(x)):
            w = softmax(k[keys][:, at] @ q[f, at] / np.sqrt(each))
            mixed[f, at] = w @ v[keys][:, at]
    x = x + linear(block.attn.out_proj, mixed)
    hidden = quick_gelu(linear(block.mlp.c_fc, layer_norm(block.ln_2, x)))
    return np.asarray(x + linear(block.mlp.c_proj, hidden))


def text_pooling(pool: Any, text: Array, frames: Array, temperature: float = 1.0) -> Array:
    """X-Pool of the kept frames of one video (F, D) for one text (D,)."""
    width = len(text)
    each = width // pool.heads
    q = linear(pool.q_proj, layer_norm(pool.layer_norm1, text))
    k = linear(pool.k_proj, layer_norm(pool.layer_norm1, frames))
    v = linear(pool.v_proj, layer_norm(pool.layer_norm1, frames))
    mixed = np.zeros(width)
    for h in range(pool.heads):
        at = slice(h * each, (h + 1) * each)
        mixed[at] = softmax(k[:, at] @ q[at] / (np.sqrt(each) * temperature)) @ v[:, at]
    y = layer_norm(pool.layer_norm2, linear(pool.out_proj, mixed))
    return layer_norm(pool.layer_norm3, y + linear(pool.linear_proj, y))


def scramble(module: nn.Module, seed: int = 0, size: float = 0.3) -> None:
    """Adds noise to every parameter, so that nothing stays at 0, 1 or the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=size)
