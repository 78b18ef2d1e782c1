"""Light networks that look at every candidate frame, so that CLIP need not.

mmSampler and AdaCLIP take MobileNetV2, MobileNetV3-Large, EfficientNet-B2 and -B3, small grey
pictures (`raw`), or the retrieval backbone's own features (`clip`); `small` is ours.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vidsampler.errors import ConfigError, unknown
from vidsampler.hub import hub_file
from vidsampler.preprocess import IMAGENET_MEAN, IMAGENET_STD, GreyInput, PixelInput
from vidsampler.samplers.policy_config import DEFAULT_WEIGHTS, EXTRACTORS, ExtractorConfig
from vidsampler.samplers.small_cnn import SmallCNN

WEIGHTS_NAME = "model.safetensors"

PIXELS_AT_ONCE = {"cpu": 8 * 224 * 224, "cuda": 256 * 224 * 224}
"""A frozen extractor takes frames of so many pixels at a time: what it computes is not kept, and on
a CPU more frames take longer each, 1.5 times where their maps no longer fit into its caches."""


class Extractor(nn.Module):
    """Frames in, features out.

    Args:
        network: From prepared pictures (M, ...) to (M, width).
        pixels: From uint8 frames (M, 3, H, W) to what the network takes.
        width: Numbers a frame.
        frozen: The network keeps its weights and stays in eval mode, whatever `train` is told.
    """

    def __init__(
        self, network: nn.Module, pixels: PixelInput | GreyInput, width: int, *, frozen: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels
        self.width = width
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> Extractor:
        """As every module's, except that a frozen one stays in eval mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, frames: Tensor) -> Tensor:
        """(M, 3, H, W) uint8 to (M, width) float32; without gradient where it is frozen."""
        if not self.frozen:
            return self._features(frames)
        with torch.no_grad():
            return torch.cat([self._features(part) for part in frames.split(self._at_once(frames))])

    def _at_once(self, frames: Tensor) -> int:
        most = PIXELS_AT_ONCE.get(frames.device.type, PIXELS_AT_ONCE["cuda"])
        return max(1, most // self.pixels.size**2)

    def _features(self, frames: Tensor) -> Tensor:
        pictures = self.pixels(frames)
        if pictures.dim() == 4:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.network(pictures)
        return features.float()


def build_extractor(config: ExtractorConfig) -> Extractor | None:
    """The extractor that a config names, with its weights; None for `clip`, which has none.

    Raises:
        ConfigError: The tag is unknown, or the weights file is missing or of another network.
        VidsamplerError: The hub cannot be reached.
    """
    if config.name == "clip":
        return None
    width = EXTRACTORS[config.name].width
    if config.name == "raw":
        return Extractor(nn.Identity(), GreyInput(), width, frozen=config.freeze)
    pixels = PixelInput(
        config.input_size,
        EXTRACTORS[config.name].crop,
        mean=config.mean or IMAGENET_MEAN,
        std=config.std or IMAGENET_STD,
    )
    network = build_network(config)
    return Extractor(network, pixels, width, frozen=config.freeze)


def build_network(config: ExtractorConfig) -> nn.Module:
    """The network alone: (M, 3, size, size) normalised pictures to (M, width).

    Under `torch.device("meta")` and with `pretrained: null` it costs nothing: that counts
    operations.

    Raises:
        ConfigError, VidsamplerError: As `build_extractor`.
    """
    network: nn.Module
    architecture = EXTRACTORS[config.name].architecture
    if architecture is None:
        network = SmallCNN()
    else:
        import timm

        # Without classes the network ends where the classifier would begin: MobileNetV3's
        # 960 -> 1280 and its Hardswish belong to the features.
        padding = "same" if config.padding == "same" else ""
        network = timm.create_model(architecture, num_classes=0, pad_type=padding)
    if config.pretrained is not None:
        file = _local_weights(config.pretrained) or _hub_weights(config.name, config.pretrained)
        _load(network, file, config.name)
    return network


def _local_weights(source: str) -> Path | None:
    """The file that `pretrained` names, or None if it is a tag."""
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / WEIGHTS_NAME
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ConfigError(
                f"cannot load extractor weights {path}: only .safetensors files are read",
                hint="safetensors.torch.save_file(state_dict, PATH) writes one",
            )
        return path
    if path.suffix or len(path.parts) > 1:
        raise ConfigError(f"there are no extractor weights at {path}")
    return None


def _hub_weights(name: str, tag: str) -> Path:
    """The file of timm's weights of this tag, from the hub or its cache.

    Not through timm, which falls back to pickled files.
    """
    spec = EXTRACTORS[name]
    if spec.architecture is None or spec.tag is None:
        raise ConfigError(
            f"there are no published weights of the extractor {name}, so no tag {tag!r}"
        )
    if tag == DEFAULT_WEIGHTS:
        tag = spec.tag
    else:
        import timm

        models = timm.list_models(f"{spec.architecture}.*", pretrained=True)
        tags = [model.partition(".")[2] for model in models]
        if tag not in tags:
            raise ConfigError(unknown(f"weights of {name}", tag, [DEFAULT_WEIGHTS, *tags]))
    repository = f"timm/{spec.architecture}.{tag}"
    return hub_file(
        f"the weights {repository} of the extractor {name}",
        repository,
        (WEIGHTS_NAME,),
        hint=f"without a network: download {WEIGHTS_NAME} of {repository} from the Hugging Face "
        "hub elsewhere and set the extractor's pretrained to its path, or to null for random "
        "weights",
    )


def _load(network: nn.Module, file: Path, name: str) -> None:
    """Loads a weights file; only its classifier may be left over."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise ConfigError(f"cannot read extractor weights {file}: {error}") from error
    own = network.state_dict()
    weights = {key: value for key, value in weights.items() if not key.startswith("classifier.")}
    wrong = [
        key
        for key in sorted(own.keys() | weights.keys())
        if key not in own or key not in weights or own[key].shape != weights[key].shape
    ]
    if wrong:
        raise ConfigError(
            f"the weights in {file} are not those of the extractor {name}: {len(wrong)} of "
            f"{len(own)} tensors are missing, unknown or of another shape, such as {wrong[0]}"
        )
    network.load_state_dict(weights)
