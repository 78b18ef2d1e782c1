"""CLIP inside a checkpoint: its sizes, and its tensors' names at OpenAI and at Hugging Face.

OpenAI's names are open_clip's, key for key. Hugging Face has attention's q, k and v apart, and the
two projections multiply from the other side.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from vidsampler.checkpoints.table import Recipe, Source, same, scalar, stacked, transposed

EXTRAS = {
    "input_resolution": "a number beside OpenAI's weights",
    "context_length": "a number beside OpenAI's weights",
    "vocab_size": "a number beside OpenAI's weights",
    "text_model.embeddings.position_ids": "a counter",
    "vision_model.embeddings.position_ids": "a counter",
}
"""What stands among CLIP's tensors and is none of its weights."""

_KNOWN = (
    "ViT-B-32-quickgelu",
    "ViT-B-16-quickgelu",
    "ViT-L-14-quickgelu",
    "ViT-L-14-336-quickgelu",
)
_HEAD_WIDTH = 64

# open_clip's name -> Hugging Face's, and what is done to it; blocks are below.
_PLAIN = {
    "logit_scale": ("logit_scale", scalar),
    "token_embedding.weight": ("text_model.embeddings.token_embedding.weight", same),
    "positional_embedding": ("text_model.embeddings.position_embedding.weight", same),
    "text_projection": ("text_projection.weight", transposed),
    "visual.class_embedding": ("vision_model.embeddings.class_embedding", same),
    "visual.conv1.weight": ("vision_model.embeddings.patch_embedding.weight", same),
    "visual.positional_embedding": ("vision_model.embeddings.position_embedding.weight", same),
    "visual.proj": ("visual_projection.weight", transposed),
}
_NORMS = {
    "ln_final.": "text_model.final_layer_norm.",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
}
_TOWERS = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "transformer.resblocks.": "text_model.encoder.layers.",
}
_LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def huggingface_recipe(name: str) -> Recipe:
    """Where one of open_clip's tensors is in Hugging Face's naming.

    Raises:
        KeyError: It is no tensor of a plain CLIP.
    """
    if name in _PLAIN:
        key, change = _PLAIN[name]
        return Recipe((key,), change)
    for ours, theirs in _NORMS.items():
        if name.startswith(ours):
            return Recipe((theirs + name.removeprefix(ours),))
    block = re.fullmatch(r"((?:visual\.)?transformer\.resblocks\.)(\d+)\.(.+)", name)
    if block is None:
        raise KeyError(name)
    tower, number, rest = block.groups()
    layer = f"{_TOWERS[tower]}{number}."
    if rest.startswith("attn.in_proj_"):
        leaf = rest.removeprefix("attn.in_proj_")
        return Recipe(tuple(f"{layer}self_attn.{each}_proj.{leaf}" for each in "qkv"), stacked)
    module, _, leaf = rest.rpartition(".")
    return Recipe((f"{layer}{_LAYERS[module]}.{leaf}",))


def clip_recipe(source: Source, prefix: str) -> Callable[[str], Recipe]:
    """From open_clip's names to where the tensors are in a file.

    Args:
        source: The file.
        prefix: How the names of its CLIP begin.
    """
    of_hugging_face = bool(source.under(f"{prefix}text_model.", f"{prefix}vision_model."))
    # open_clip's own models of two separate towers.
    apart = bool(source.under(f"{prefix}text."))

    def recipe(name: str) -> Recipe:
        if of_hugging_face:
            keys, change = huggingface_recipe(name)
            return Recipe(tuple(prefix + key for key in keys), change)
        text = apart and name != "logit_scale" and not name.startswith("visual.")
        key = f"{prefix}text.{name}" if text else prefix + name
        return Recipe((key,), scalar if name == "logit_scale" else same)

    return recipe


def clip_model(source: Source, prefix: str) -> dict[str, Any]:
    """open_clip's config of the CLIP in a file, every size from its tensors.

    Args:
        source: The file.
        prefix: How the names of its CLIP begin.

    Raises:
        UsageError: It is no vision transformer with CLIP's text tower, or a tensor is missing.
    """
    if source.under(f"{prefix}visual.attnpool.", f"{prefix}visual.layer1."):
        raise source.misfits("its image tower is a ResNet; only vision transformers are imported")
    recipe = clip_recipe(source, prefix)

    def sizes(name: str, axes: int) -> tuple[int, ...]:
        return source.made(recipe(name), axes)

    width, joint = sizes("visual.proj", 2)
    *_, patch = sizes("visual.conv1.weight", 4)
    table = "visual.positional_embedding"
    side = source.square(recipe(table).keys[0], sizes(table, 2)[0] - 1)
    context, text_width = sizes("positional_embedding", 2)
    vocabulary, _ = sizes("token_embedding.weight", 2)

    def tower(name: str, wide: int) -> tuple[int, int]:
        """Blocks, and how wide their MLPs are."""
        first = recipe(f"{name}0.mlp.c_fc.weight")
        blocks = source.layers(
            first.keys[0].removesuffix("0.mlp.c_fc.weight").removesuffix("0.mlp.fc1.weight")
        )
        return blocks, sizes(f"{name}0.mlp.c_fc.weight", 2)[0]

    layers, hidden = tower("visual.transformer.resblocks.", width)
    text_layers, text_hidden = tower("transformer.resblocks.", text_width)
    heads = _heads(source, f"{prefix}visual", width)
    vision: dict[str, Any] = {
        "image_size": side * patch,
        "layers": layers,
        "width": width,
        "head_width": width // heads,
        "patch_size": patch,
    }
    text: dict[str, Any] = {
        "context_length": context,
        "vocab_size": vocabulary,
        "width": text_width,
        "heads": _heads(source, f"{prefix}transformer", text_width),
        "layers": text_layers,
    }
    for part, wide, inner in ((vision, width, hidden), (text, text_width, text_hidden)):
        if inner != 4 * wide:
            part["mlp_ratio"] = inner / wide
    return {"embed_dim": joint, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}


def known_model(model: dict[str, Any]) -> str | None:
    """The open_clip model that is just like this one; None where there is none."""
    import open_clip

    for name in _KNOWN:
        theirs = open_clip.get_model_config(name)
        if theirs is not None and _plain(theirs) == _plain(model):
            return name
    return None


def _plain(model: dict[str, Any]) -> dict[str, Any]:
    defaults = {"vision_cfg": {"head_width": _HEAD_WIDTH}, "text_cfg": {}}
    return {**model, **{part: {**defaults[part], **model[part]} for part in defaults}}


def _heads(source: Source, tower: str, width: int) -> int:
    """Attention heads, as OpenAI counts them; the tensors do not show them."""
    heads = max(1, width // _HEAD_WIDTH)
    if width % heads:
        raise source.misfits(f"the tower {tower} is {width} wide, which {heads} heads cannot share")
    return heads
