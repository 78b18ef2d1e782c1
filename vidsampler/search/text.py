"""Texts to vectors, with the text tower alone and no more imports than it takes.

`embed` puts the text tower into the cache. A search then reads no image tower, and for CLIP's own
text transformer, which is written out here, imports no model library: that, and not the search, is
what one waits for.

Axes: T texts, L token ids, W channels of the tower, H heads, D joint width.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import Backbone
from vidsampler.backbones.precision import computed_in
from vidsampler.backbones.tokens import Tokenizer, clip_tokenizer, make_tokenizer
from vidsampler.config import cache_dir
from vidsampler.errors import VidsamplerError
from vidsampler.files import sync_folder, whole_file, writing

Weights = dict[str, Tensor]

_PLAIN = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
"""Settings of CLIP's own text transformer. A tower with others is built by open_clip."""


@dataclass
class TextTower:
    """What turns texts into vectors of length 1.

    Attributes:
        config: Of the backbone.
        tokenizer: Texts to ids.
        encode: (T, L) ids to (T, D) features.
        seconds: What getting it took, by ``imports`` and ``model``.
    """

    config: BackboneConfig
    tokenizer: Tokenizer
    encode: Callable[[Tensor], Tensor]
    seconds: dict[str, float] = field(default_factory=dict)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(T, D) float32, each of length 1."""
        tokens_TL = self.tokenizer(texts, self.config.words).ids_TL
        precision = computed_in(self.config.precision, "cpu")
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features_TD = self.encode(tokens_TL)
        unit: npt.NDArray[np.float32] = functional.normalize(features_TD.float(), dim=-1).numpy()
        return unit


def tower_of(backbone: Backbone) -> TextTower:
    """The text tower of a backbone that is there as a whole, on whatever device it is by then."""

    def encode(tokens_TL: Tensor) -> Tensor:
        return backbone.encode_texts(tokens_TL.to(backbone.logit_scale.device)).cpu()

    return TextTower(backbone.config, backbone.tokenizer, encode)


def tower_path(fingerprint: str) -> Path:
    """Where the cache has the text tower of some weights."""
    return cache_dir() / "text-towers" / f"{fingerprint}.safetensors"


def store_text_tower(backbone: Backbone, fingerprint: str) -> bool:
    """Puts the text tower into the cache; whether it is there now.

    A cache that cannot be written costs time later and nothing else.
    """
    from vidsampler.backbones.sources import find_model

    path = tower_path(fingerprint)
    if path.exists():
        return True
    weights = _text_weights(backbone)
    if weights is None:
        return False
    model = find_model(backbone.config.name).model
    facts = {
        "text_cfg": model["text_cfg"],
        "quick_gelu": bool(model.get("quick_gelu")),
        "embed_dim": backbone.width,
    }
    with contextlib.suppress(VidsamplerError, OSError), writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as (_, temporary):
            save_file(weights, temporary, {"text_tower": json.dumps(facts)})
            Path(temporary).replace(path)
            sync_folder(path.parent)
        return True
    return False


def load_text_tower(config: BackboneConfig, fingerprint: str) -> TextTower | None:
    """The text tower from the cache; None where it is not there, or cannot be used.

    Args:
        config: Of the backbone.
        fingerprint: Of the weights.
    """
    path = tower_path(fingerprint)
    clock = time.perf_counter()
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["text_tower"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    text = facts["text_cfg"]
    context = int(text.get("context_length", 77))
    imports = time.perf_counter()
    if _is_plain(text):
        tokens = _tokens_alone()
        reading = time.perf_counter()
        tokenizer = clip_tokenizer(tokens.SimpleTokenizer, context, text.get("vocab_size"))
        tower = PlainTower(weights, int(text["heads"]), quick=facts["quick_gelu"])
        encode: Callable[[Tensor], Tensor] = tower.__call__
    else:
        import open_clip.model

        reading = time.perf_counter()
        tokenizer = make_tokenizer(config.name, text, context)
        build: Any = open_clip.model._build_text_tower
        module = build(
            facts["embed_dim"], text | {"hf_model_pretrained": False}, facts["quick_gelu"]
        ).eval()
        module.load_state_dict(weights)
        encode = module.__call__
    end = time.perf_counter()
    seconds = {"imports": reading - imports, "model": (imports - clock) + (end - reading)}
    return TextTower(config, tokenizer, encode, seconds)


@dataclass(frozen=True)
class PlainTower:
    """CLIP's text transformer (Radford et al., 2021, section 2.4), from its weights.

    Attributes:
        weights: By the names that open_clip gives them.
        heads: H.
        quick: QuickGELU, x * sigmoid(1.702 x), in place of GELU.
    """

    weights: Weights
    heads: int
    quick: bool

    def __call__(self, tokens_TL: Tensor) -> Tensor:
        """(T, D) the projected feature of each text's end, which has the highest id."""
        w = self.weights
        ends_T = tokens_TL.argmax(1)
        # Each position looks back only, so that nothing behind the last end counts.
        tokens_TL = tokens_TL[:, : int(ends_T.max()) + 1]
        x_TLW = w["token_embedding.weight"][tokens_TL]
        x_TLW = x_TLW + w["positional_embedding"][: tokens_TL.shape[1]]
        for number in range(sum(name.endswith(".ln_1.weight") for name in w)):
            block = f"transformer.resblocks.{number}"
            x_TLW = x_TLW + self._attention(self._norm(x_TLW, f"{block}.ln_1"), f"{block}.attn")
            inner = self._linear(self._norm(x_TLW, f"{block}.ln_2"), f"{block}.mlp.c_fc")
            inner = inner * (1.702 * inner).sigmoid() if self.quick else functional.gelu(inner)
            x_TLW = x_TLW + self._linear(inner, f"{block}.mlp.c_proj")
        ends_TW = self._norm(x_TLW, "ln_final")[torch.arange(len(ends_T)), ends_T]
        return ends_TW @ w["text_projection"]

    def _attention(self, x_TLW: Tensor, name: str) -> Tensor:
        texts, length, width = x_TLW.shape
        joint = functional.linear(
            x_TLW, self.weights[f"{name}.in_proj_weight"], self.weights[f"{name}.in_proj_bias"]
        )
        query, key, value = joint.view(texts, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._linear(mixed.transpose(1, 2).reshape(texts, length, width), f"{name}.out_proj")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        gain, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, gain.shape, gain, bias)


def _text_weights(backbone: Backbone) -> Weights | None:
    """The weights of the text tower by their names in it; None for towers of other kinds."""
    import open_clip

    state = backbone.clip.state_dict()
    if isinstance(backbone.clip, open_clip.CustomTextCLIP):
        names = {name.removeprefix("text."): name for name in state if name.startswith("text.")}
    elif isinstance(backbone.clip, open_clip.CLIP):
        others = ("visual.", "logit_scale", "logit_bias")
        names = {name: name for name in state if not name.startswith(others)}
    else:
        return None
    return {own: state[name].detach().cpu().contiguous().clone() for own, name in names.items()}


def _is_plain(text: dict[str, Any]) -> bool:
    return set(text) <= _PLAIN and {"width", "heads", "layers"} <= set(text)


def _tokens_alone() -> ModuleType:
    """open_clip's module of tokenizers, without the rest of the package, which takes a second."""
    package = util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    spec = util.spec_from_file_location(
        "vidsampler_open_clip_tokenizer", Path(package.origin).with_name("tokenizer.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
