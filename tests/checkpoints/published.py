"""Tensors in the layouts of the published systems, small and random, written name by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """Of a small CLIP: joint width, towers' widths, patch, patches a side, context, words."""

    joint: int = 24
    vision: int = 40
    text: int = 48
    patch: int = 8
    side: int = 2
    context: int = 12
    words: int = 50
    vision_layers: int = 2
    text_layers: int = 2

    @property
    def image(self) -> int:
        return self.patch * self.side


SMALL = Sizes()
WIDE = Sizes(joint=128, vision=128, text=192, patch=4, side=3, context=9, vision_layers=1)
"""Towers of two and three attention heads."""


class Draw:
    """Random tensors from one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float | None = None, mean: float = 0.0) -> Tensor:
        """Normal numbers; where no scale is given, as large as keeps activations near 1."""
        fan = shape[-1] if len(shape) < 3 else shape[1] * shape[2] * shape[3]
        size = fan**-0.5 if scale is None else scale
        return mean + size * torch.randn(shape, generator=self.generator)

    def linear(self, name: str, out: int, into: int) -> State:
        return {f"{name}.weight": self(out, into), f"{name}.bias": self(out, scale=0.1)}

    def norm(self, name: str, width: int) -> State:
        return {
            f"{name}.weight": self(width, scale=0.1, mean=1.0),
            f"{name}.bias": self(width, scale=0.1),
        }

    def block(self, name: str, width: int) -> State:
        return {
            f"{name}.attn.in_proj_weight": self(3 * width, width),
            f"{name}.attn.in_proj_bias": self(3 * width, scale=0.1),
            **self.linear(f"{name}.attn.out_proj", width, width),
            **self.norm(f"{name}.ln_1", width),
            **self.linear(f"{name}.mlp.c_fc", 4 * width, width),
            **self.linear(f"{name}.mlp.c_proj", width, 4 * width),
            **self.norm(f"{name}.ln_2", width),
        }

    def blocks(self, name: str, width: int, count: int) -> State:
        return {k: v for i in range(count) for k, v in self.block(f"{name}.{i}", width).items()}

    def lstm(self, name: str, width: int, into: int, *, both: bool = False) -> State:
        found = {}
        for end in ("", "_reverse") if both else ("",):
            found[f"{name}.weight_ih_l0{end}"] = self(4 * width, into)
            found[f"{name}.weight_hh_l0{end}"] = self(4 * width, width)
            found[f"{name}.bias_ih_l0{end}"] = self(4 * width, scale=0.1)
            found[f"{name}.bias_hh_l0{end}"] = self(4 * width, scale=0.1)
        return found


def openai_clip(draw: Draw, s: Sizes, prefix: str = "clip.") -> State:
    """CLIP as OpenAI names it."""
    state = {
        "logit_scale": torch.tensor(4.6),
        "positional_embedding": draw(s.context, s.text, scale=0.3),
        "token_embedding.weight": draw(s.words, s.text, scale=0.5),
        "text_projection": draw(s.text, s.joint),
        "visual.class_embedding": draw(s.vision, scale=0.3),
        "visual.positional_embedding": draw(s.side**2 + 1, s.vision, scale=0.3),
        "visual.conv1.weight": draw(s.vision, 3, s.patch, s.patch),
        "visual.proj": draw(s.vision, s.joint),
        **draw.norm("ln_final", s.text),
        **draw.norm("visual.ln_pre", s.vision),
        **draw.norm("visual.ln_post", s.vision),
        **draw.blocks("transformer.resblocks", s.text, s.text_layers),
        **draw.blocks("visual.transformer.resblocks", s.vision, s.vision_layers),
    }
    return {prefix + key: value for key, value in state.items()}


def huggingface_clip(draw: Draw, s: Sizes, prefix: str = "clip.") -> State:
    """CLIP as transformers names it."""
    state = {
        "logit_scale": torch.tensor(4.6),
        "text_model.embeddings.position_embedding.weight": draw(s.context, s.text, scale=0.3),
        "text_model.embeddings.token_embedding.weight": draw(s.words, s.text, scale=0.5),
        "text_projection.weight": draw(s.joint, s.text),
        "visual_projection.weight": draw(s.joint, s.vision),
        "vision_model.embeddings.class_embedding": draw(s.vision, scale=0.3),
        "vision_model.embeddings.patch_embedding.weight": draw(s.vision, 3, s.patch, s.patch),
        "vision_model.embeddings.position_embedding.weight": draw(
            s.side**2 + 1, s.vision, scale=0.3
        ),
        "vision_model.embeddings.position_ids": torch.arange(s.side**2 + 1)[None],
        "text_model.embeddings.position_ids": torch.arange(s.context)[None],
        **draw.norm("text_model.final_layer_norm", s.text),
        **draw.norm("vision_model.pre_layrnorm", s.vision),
        **draw.norm("vision_model.post_layernorm", s.vision),
    }
    for tower, width, layers in (
        ("text_model", s.text, s.text_layers),
        ("vision_model", s.vision, s.vision_layers),
    ):
        for number in range(layers):
            layer = f"{tower}.encoder.layers.{number}"
            for each in ("q_proj", "k_proj", "v_proj", "out_proj"):
                state |= draw.linear(f"{layer}.self_attn.{each}", width, width)
            state |= draw.norm(f"{layer}.layer_norm1", width)
            state |= draw.norm(f"{layer}.layer_norm2", width)
            state |= draw.linear(f"{layer}.mlp.fc1", 4 * width, width)
            state |= draw.linear(f"{layer}.mlp.fc2", width, 4 * width)
    return {prefix + key: value for key, value in state.items()}


def policy(
    draw: Draw,
    prefix: str,
    *,
    actions: int,
    into: int,
    temporal: str = "transformer",
    head: str = "mlp",
    frames: int = 5,
    width: int = 32,
    hidden: int = 20,
) -> State:
    """The policy network of mmSampler and AdaCLIP."""
    state: State = {}
    if temporal == "transformer":
        state |= draw.linear("projection.0", width, into)
        state["frame_position_embeddings.weight"] = draw(frames, width, scale=0.5)
        state |= draw.block("transformer.resblocks.0", width)
    elif temporal != "none":
        state |= draw.lstm("rnn", width, into, both=temporal == "bilstm")
    else:
        width = into
    if head == "mlp":
        state |= draw.linear("linear.0", hidden, width)
        state |= draw.linear("linear.2", actions, hidden)
    else:
        state |= draw.linear("linear.0", actions, width)
    return {prefix + key: value for key, value in state.items()}


def pooling(draw: Draw, joint: int) -> State:
    """X-Pool's `pool_frames.*`."""
    state: State = {}
    for each in ("q_proj", "k_proj", "v_proj", "out_proj"):
        state |= draw.linear(f"pool_frames.cross_attn.{each}", joint, joint)
    state |= draw.linear("pool_frames.linear_proj", joint, joint)
    for number in (1, 2, 3):
        state |= draw.norm(f"pool_frames.layer_norm{number}", joint)
    return state


def sequence(draw: Draw, joint: int, positions: int, layers: int) -> State:
    """CLIP4Clip's and EMCL-Net's transformer over frames."""
    return {
        "frame_position_embeddings.weight": draw(positions, joint, scale=0.3),
        **draw.blocks("transformerClip.resblocks", joint, layers),
    }


def halved(state: State) -> State:
    """Matrices in half precision, as CLIP's are in most of these files; norms stay."""
    return {
        key: value.half()
        if value.ndim > 1 and key.startswith("clip.") and value.is_floating_point()
        else value
        for key, value in state.items()
    }


def written(path: Path, content: Any) -> Path:
    """A torch file."""
    torch.save(content, path)
    return path
