"""The backbone: any open_clip model, as one module that encodes frames and texts."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.frames_only import is_frames_only
from vidsampler.backbones.precision import Computed, computed_in
from vidsampler.backbones.sources import find_model, find_weights
from vidsampler.backbones.tokens import Tokenizer, Tokens, make_tokenizer
from vidsampler.backbones.weights import build_model, load_weights
from vidsampler.errors import UsageError, unknown

# Parameters by what they are, in CLIP, in timm's towers (trunk) and in Hugging Face's text models.
_GROUPS = {
    "patch_conv": r"visual\.(conv1|trunk\.(patch_embed|conv_stem|stem))\..*",
    "embeddings": r"(visual\.)?(class_embedding|positional_embedding)|text\.(cls_emb|"
    r"positional_embedding|transformer\.embeddings\.(position|token_type)_embeddings\..*)|"
    r"visual\.trunk\.(cls_token|pos_embed)",
    "ln_pre": r"visual\.(ln_pre|trunk\.norm_pre)\..*",
    "token_embedding": r"(text\.)?(token_embedding|transformer\.embeddings\.word_embeddings)\..*",
    "all": r".*",
}
FREEZE_GROUPS: tuple[str, ...] = tuple(_GROUPS)
"""What can be frozen by name; `embeddings` are class and position embeddings of both towers."""

MOST_LOGIT_SCALE = math.log(100)
_PIXEL_FACTS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class PixelInput:
    """The pixels that an image tower wants.

    Attributes:
        height, width: pixels.
        mean, std: of each colour, in the range 0 to 1.
        interpolation: such as `bicubic`.
        resize: `shortest` (then a centre crop), `longest` or `squash`.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize: str

    def normalise(self, frames_MHWC: npt.NDArray[np.uint8] | Tensor) -> Tensor:
        """(M, 3, H, W) float32 from (M, H, W, 3) uint8 frames of this size."""
        frames = torch.as_tensor(frames_MHWC)
        pixels_MCHW = frames.permute(0, 3, 1, 2).float() / 255
        shape = (1, 3, 1, 1)
        mean = torch.tensor(self.mean, device=frames.device).view(shape)
        std = torch.tensor(self.std, device=frames.device).view(shape)
        return (pixels_MCHW - mean) / std


class Backbone(nn.Module):
    """An image-text model: frames and captions to features of one width D.

    Built by `load_backbone`.

    Attributes:
        config: its settings.
        clip: open_clip's model, in fp32.
        width: D, the joint width.
        pixel_input: what `encode_frames` wants.
        context: the length of a text's token ids.
        has_texts: there is a text tower.
    """

    def __init__(
        self,
        config: BackboneConfig,
        clip: nn.Module,
        model_config: dict[str, Any],
        pixel_input: PixelInput,
    ) -> None:
        super().__init__()
        self.config = config
        self.clip = clip
        self.width = int(model_config["embed_dim"])
        self.pixel_input = pixel_input
        self.context = int(model_config["text_cfg"].get("context_length", 77))
        if config.words > self.context:
            raise UsageError(
                f"words must be at most {self.context}, the context length of {config.name}, "
                f"not {config.words}"
            )
        self._model_config = model_config
        self.has_texts = not is_frames_only(model_config)
        # Convolutions are faster with colours last, 1.6 times on a CPU; a single one that cuts a
        # picture into patches gains nothing.
        self._layout = torch.contiguous_format
        if sum(isinstance(module, nn.Conv2d) for module in self.image_tower.modules()) > 1:
            self._layout = torch.channels_last
            self.image_tower.to(memory_format=self._layout)

    # ---------------------------------------------------------------- precision

    @property
    def precision(self) -> Computed:
        """What it computes in where its weights are."""
        return self.precision_on(self.logit_scale.device)

    def precision_on(self, device: torch.device) -> Computed:
        """What it computes in on a device."""
        return computed_in(self.config.precision, device)

    # ---------------------------------------------------------------- features

    def encode_frames(self, pixels_MCHW: Tensor) -> Tensor:
        """(M, D) float32 features of frames, not normalised.

        Args:
            pixels_MCHW: (M, 3, H, W) float, as `pixel_input` says.

        Raises:
            ValueError: The frames have another size.
        """
        wanted = (3, self.pixel_input.height, self.pixel_input.width)
        if tuple(pixels_MCHW.shape[1:]) != wanted:
            raise ValueError(f"frames must be (M, {wanted}), got {tuple(pixels_MCHW.shape)}")
        if not len(pixels_MCHW):
            return pixels_MCHW.new_zeros((0, self.width), dtype=torch.float32)
        with self._autocast(pixels_MCHW):
            pixels_MCHW = pixels_MCHW.contiguous(memory_format=self._layout)
            # CoCa would normalise them where nothing is said.
            features: Tensor = cast(Any, self.clip).encode_image(pixels_MCHW, normalize=False)
        return features.float()

    def encode_texts(self, tokens_TL: Tensor) -> Tensor:
        """(T, D) float32 features of captions, not normalised.

        Args:
            tokens_TL: (T, context length) ids, as `tokenize` gives them.

        Raises:
            ValueError: They have another length.
            UsageError: There is no text tower.
        """
        if tokens_TL.ndim != 2 or tokens_TL.shape[1] != self.context:
            raise ValueError(f"tokens must be (T, {self.context}), got {tuple(tokens_TL.shape)}")
        if not len(tokens_TL):
            return torch.zeros((0, self.width), device=tokens_TL.device)
        self._need_texts()
        with self._autocast(tokens_TL):
            features: Tensor = cast(Any, self.clip).encode_text(tokens_TL, normalize=False)
        return features.float()

    def cast_for_inference(self) -> None:
        """Holds the towers' matrices in bf16, if that is the precision.

        Autocast casts them anew in every call, which takes as long as encoding a few frames. The
        features stay the same. Such a backbone is not to be trained, nor its weights saved.
        """
        if self.precision == "bf16":
            for module in self.clip.modules():
                if isinstance(module, (nn.Linear, nn.Conv2d, nn.MultiheadAttention)):
                    module.to(torch.bfloat16)

    def _autocast(self, like: Tensor) -> torch.autocast:
        # The meta device, for counting without weights, has no autocast.
        return torch.autocast(
            "cpu" if like.is_meta else like.device.type,
            dtype=torch.bfloat16,
            enabled=not like.is_meta and self.precision_on(like.device) == "bf16",
            # In a caller's autocast the cache lives on, and older versions of torch then take a
            # weight that was cast without gradient where there is one.
            cache_enabled=None if torch.is_grad_enabled() else False,
        )

    # ---------------------------------------------------------------- captions

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Captions to token ids."""
        self._need_texts()
        # Not before it is asked for: some lie on a hub, and counting needs none.
        return make_tokenizer(self.config.name, self._model_config["text_cfg"], self.context)

    def tokenize(self, captions: Sequence[str], words: int | None = None) -> Tokens:
        """Token ids of captions, and the share of captions that were cut.

        The first L - 1 ids and the end are kept, then padding up to the context length; CLIP's
        text tower only looks back, so padding does not change a feature.

        Args:
            captions: T of them.
            words: L; None: the config's.

        Raises:
            UsageError: words is out of range.
        """
        return self.tokenizer(captions, self.config.words if words is None else words)

    def _need_texts(self) -> None:
        if not self.has_texts:
            raise UsageError(
                f"the backbone {self.config.name} sees frames and reads no captions",
                hint="train it with --dataset folder --videos DIR, or take another --backbone",
            )

    # ---------------------------------------------------------------- parameters

    @property
    def logit_scale(self) -> nn.Parameter:
        """CLIP's parameter s; cosines are multiplied by exp(s)."""
        return cast(nn.Parameter, self.clip.logit_scale)

    def scale(self) -> Tensor:
        """exp(s), a scalar, with its gradient."""
        return self.logit_scale.float().exp().reshape(())

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Holds s at ln 100 or below; to be called after each optimiser step."""
        self.logit_scale.clamp_(max=MOST_LOGIT_SCALE)

    def freeze(self, groups: Iterable[str]) -> dict[str, int]:
        """Turns gradients off.

        Args:
            groups: names out of `FREEZE_GROUPS`.

        Returns:
            For each group, how many numbers it holds; 0 where this model has nothing of that kind.

        Raises:
            UsageError: There is no such group.
        """
        frozen = {}
        for group in groups:
            if group not in _GROUPS:
                raise UsageError(unknown("group of parameters", group, FREEZE_GROUPS))
            found = [p for n, p in self.clip.named_parameters() if re.fullmatch(_GROUPS[group], n)]
            for parameter in found:
                parameter.requires_grad_(False)
            frozen[group] = sum(parameter.numel() for parameter in found)
        return frozen

    @property
    def image_tower(self) -> nn.Module:
        """What encodes frames."""
        return cast(nn.Module, self.clip.visual)

    def text_tower(self) -> tuple[Tensor, Sequence[nn.Module]] | None:
        """Positions (L, W) and blocks of CLIP's own text transformer; None for other towers."""
        tower = getattr(self.clip, "text", self.clip)
        positions = getattr(tower, "positional_embedding", None)
        blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
        if positions is None or blocks is None:
            return None
        return positions.detach(), list(blocks)

    def fingerprint(self) -> str:
        """16 hexadecimal digits of every weight, wherever it lies, and of the architecture.

        The same weights compute other features with another activation or number of heads.
        """
        architecture = {
            **self._model_config,
            "quick_gelu": bool(self._model_config.get("quick_gelu")),
        }
        digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
        for name, tensor in sorted(self.clip.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(plain.numpy().data)
        return digest.hexdigest()[:16]


def load_backbone(config: BackboneConfig) -> Backbone:
    """Builds a backbone and fills it with its weights, in eval mode, on the CPU.

    Raises:
        UsageError: An unknown name, weights for another model or activation.
        ConfigError: A model config that cannot be used.
        VidsamplerError: A hub cannot be reached, or a package is missing.
    """
    source = find_model(config.name)
    weights = find_weights(source, config.pretrained)
    clip = build_model(source.name, source.model, config.seed)
    if weights is not None:
        quick = bool(source.model.get("quick_gelu"))
        load_weights(clip, weights.path, source.name, quick_gelu=quick)
    facts = source.preprocess | (weights.preprocess if weights else {})
    pixels = _pixel_input(clip, facts)
    return Backbone(config, clip, source.model, pixels).eval()


def _pixel_input(clip: nn.Module, facts: dict[str, Any]) -> PixelInput:
    size = cast(Any, clip.visual).image_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    known = {name: facts[name] for name in _PIXEL_FACTS if facts.get(name)}
    if len(known) < len(_PIXEL_FACTS):
        from open_clip.transform import PreprocessCfg

        default = PreprocessCfg()
        known = {name: getattr(default, name) for name in _PIXEL_FACTS} | known
    return PixelInput(
        height=int(height),
        width=int(width),
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
        interpolation=known["interpolation"],
        resize=known["resize_mode"],
    )
