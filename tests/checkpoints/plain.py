"""What the published systems compute, from their tensors by name, in plain float64.

One video or text at a time where that is the simplest; nothing of vidsampler is used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tests.checkpoints.published import Sizes, State

MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073), dtype=torch.float64).view(3, 1, 1)
STD = torch.tensor((0.26862954, 0.26130258, 0.27577711), dtype=torch.float64).view(3, 1, 1)


def doubled(state: State) -> State:
    return {key: each.double() for key, each in state.items()}


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def norm(s: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * s[f"{name}.weight"] + s[f"{name}.bias"]


def quick(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, *, causal: bool = False) -> Tensor:
    """(F, W) each."""
    mixed = []
    for qh, kh, vh in zip(*(each.chunk(heads, -1) for each in (q, k, v)), strict=True):
        scores = qh @ kh.T / math.sqrt(qh.shape[-1])
        if causal:
            ahead = torch.ones_like(scores).triu(1) > 0
            scores = scores.masked_fill(ahead, -torch.inf)
        mixed.append(scores.softmax(-1) @ vh)
    return torch.cat(mixed, -1)


def block(
    s: State, name: str, x: Tensor, *, causal: bool = False, eps: float = 1e-5, heads: int = 0
) -> Tensor:
    """A block in OpenAI's names on one sequence (F, W)."""
    heads = heads or max(1, x.shape[-1] // 64)
    y = norm(s, f"{name}.ln_1", x, eps)
    qkv = y @ s[f"{name}.attn.in_proj_weight"].T + s[f"{name}.attn.in_proj_bias"]
    q, k, v = qkv.chunk(3, -1)
    x = x + linear(s, f"{name}.attn.out_proj", attend(q, k, v, heads, causal=causal))
    y = quick(linear(s, f"{name}.mlp.c_fc", norm(s, f"{name}.ln_2", x, eps)))
    return x + linear(s, f"{name}.mlp.c_proj", y)


def layer(s: State, name: str, x: Tensor, *, causal: bool = False) -> Tensor:
    """The same in Hugging Face's names."""
    y = norm(s, f"{name}.layer_norm1", x)
    q, k, v = (linear(s, f"{name}.self_attn.{each}_proj", y) for each in "qkv")
    mixed = attend(q, k, v, max(1, x.shape[-1] // 64), causal=causal)
    x = x + linear(s, f"{name}.self_attn.out_proj", mixed)
    y = quick(linear(s, f"{name}.mlp.fc1", norm(s, f"{name}.layer_norm2", x)))
    return x + linear(s, f"{name}.mlp.fc2", y)


def image(s: State, p: str, z: Sizes, frame: Tensor) -> Tensor:
    """(D,) feature of a frame (3, S, S) uint8; `p` is the prefix of CLIP's names."""
    pixels = (frame.double() / 255 - MEAN) / STD
    hf = f"{p}visual_projection.weight" in s
    kernel = f"{p}vision_model.embeddings.patch_embedding" if hf else f"{p}visual.conv1"
    patches = functional.conv2d(pixels[None], s[f"{kernel}.weight"], stride=z.patch)[0]
    rows = patches.flatten(1).T
    if hf:
        e = f"{p}vision_model."
        x = torch.cat([s[f"{e}embeddings.class_embedding"][None], rows])
        x = norm(s, f"{e}pre_layrnorm", x + s[f"{e}embeddings.position_embedding.weight"])
        for i in range(z.vision_layers):
            x = layer(s, f"{e}encoder.layers.{i}", x)
        out = norm(s, f"{e}post_layernorm", x[0])
        return s[f"{p}visual_projection.weight"] @ out
    e = f"{p}visual."
    x = torch.cat([s[f"{e}class_embedding"][None], rows])
    x = norm(s, f"{e}ln_pre", x + s[f"{e}positional_embedding"])
    for i in range(z.vision_layers):
        x = block(s, f"{e}transformer.resblocks.{i}", x)
    return norm(s, f"{e}ln_post", x[0]) @ s[f"{e}proj"]


def text(s: State, p: str, z: Sizes, ids: Tensor) -> Tensor:
    """(D,) feature of a text's ids (L,), taken where its last word is."""
    at = int(ids.argmax())
    if f"{p}text_projection.weight" in s:
        e = f"{p}text_model."
        table = s[f"{e}embeddings.token_embedding.weight"]
        x = table[ids] + s[f"{e}embeddings.position_embedding.weight"]
        for i in range(z.text_layers):
            x = layer(s, f"{e}encoder.layers.{i}", x, causal=True)
        return s[f"{p}text_projection.weight"] @ norm(s, f"{e}final_layer_norm", x[at])
    x = s[f"{p}token_embedding.weight"][ids] + s[f"{p}positional_embedding"]
    for i in range(z.text_layers):
        x = block(s, f"{p}transformer.resblocks.{i}", x, causal=True)
    return norm(s, f"{p}ln_final", x[at]) @ s[f"{p}text_projection"]


def lstm(s: State, name: str, x: Tensor, end: str = "") -> Tensor:
    """(F, H) of one direction over (F, d)."""
    hidden = x.new_zeros(s[f"{name}.weight_hh_l0{end}"].shape[1])
    cell = hidden.clone()
    out = []
    for row in x.flip(0) if end else x:
        gates = s[f"{name}.weight_ih_l0{end}"] @ row + s[f"{name}.bias_ih_l0{end}"]
        gates = gates + s[f"{name}.weight_hh_l0{end}"] @ hidden + s[f"{name}.bias_hh_l0{end}"]
        i, f, g, o = gates.chunk(4)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        out.append(hidden)
    rows = torch.stack(out)
    return rows.flip(0) if end else rows


def policy(s: State, p: str, x: Tensor) -> Tensor:
    """(N, A) logits of one video from (N, d), with attention over its own frames."""
    if f"{p}projection.0.weight" in s:
        x = linear(s, f"{p}projection.0", x) + s[f"{p}frame_position_embeddings.weight"][: len(x)]
        x = block(s, f"{p}transformer.resblocks.0", x)
    elif f"{p}rnn.weight_ih_l0_reverse" in s:
        x = (lstm(s, f"{p}rnn", x) + lstm(s, f"{p}rnn", x, "_reverse")) / 2
    elif f"{p}rnn.weight_ih_l0" in s:
        x = lstm(s, f"{p}rnn", x)
    x = linear(s, f"{p}linear.0", x)
    return linear(s, f"{p}linear.2", x.relu()) if f"{p}linear.2.weight" in s else x


def with_differences(x: Tensor) -> Tensor:
    """(N, 2 d): each row, and what it differs by from the one before, the first from 0."""
    return torch.cat([x, torch.cat([x[:1], x[1:] - x[:-1]])], -1)


def unit(x: Tensor) -> Tensor:
    units: Tensor = x / x.norm(dim=-1, keepdim=True)
    return units


def encoded(s: State, x: Tensor, layers: int, heads: int) -> Tensor:
    """(F, D) of CLIP4Clip's sequential transformer."""
    y = x + s["frame_position_embeddings.weight"][: len(x)]
    for i in range(layers):
        y = block(s, f"transformerClip.resblocks.{i}", y, eps=1e-12, heads=heads)
    return x + y


def mlp_pooled(s: State, x: Tensor) -> Tensor:
    """(D,) of AdaCLIP's MLP-Score."""
    y = quick(linear(s, "frame_agg_mlp.0", x))
    scores = linear(s, "frame_agg_mlp.4", quick(linear(s, "frame_agg_mlp.2", y)))
    return scores[:, 0].softmax(0) @ x


def text_pooled(s: State, t: Tensor, x: Tensor, heads: int) -> Tensor:
    """(D,) of X-Pool, of frames (F, D) for a text (D,)."""
    p = "pool_frames."
    y = norm(s, f"{p}layer_norm1", x)
    q = linear(s, f"{p}cross_attn.q_proj", norm(s, f"{p}layer_norm1", t))[None]
    k, v = (linear(s, f"{p}cross_attn.{each}_proj", y) for each in "kv")
    o = linear(s, f"{p}cross_attn.out_proj", attend(q, k, v, heads)[0])
    o = norm(s, f"{p}layer_norm2", o)
    return norm(s, f"{p}layer_norm3", o + linear(s, f"{p}linear_proj", o))


def best_of_ball(s: State, t: Tensor, x: Tensor, heads: int, noise_MD: Tensor) -> float:
    """T-MASS's score of a text and a video: the best of some points in the text's ball."""
    name = "stochastic.std_branch.linear_proj"
    radius = linear(s, name, unit(x) @ unit(t)).exp()
    pooled = unit(text_pooled(s, t, x, heads))
    return max(float(unit(t + eps * radius) @ pooled) for eps in noise_MD)


def em_scores(t: Tensor, videos: list[Tensor], bases: Tensor, temperature: float) -> Tensor:
    """(V,) EMCL-Net's scores of a text: EM over its pooled rows of the gallery and itself."""
    rows = torch.stack([((x @ t) / temperature).softmax(0) @ x for x in videos] + [t])
    m = bases.expand(len(rows), -1)
    for _ in range(9):
        z = (rows.T @ m).softmax(-1)
        z = z / (1e-6 + z.sum(0))
        m = rows @ z
        m = m / (1e-6 + m.norm(dim=0))
    rows = unit(rows + 3.0 * m @ z.T)
    return rows[:-1] @ rows[-1]
