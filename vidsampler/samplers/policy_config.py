"""Settings of the policy network that `gate` and `topk` share; costs no import of torch."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from vidsampler.errors import ConfigError, unknown

Feature = Literal["frame", "diff", "concat", "change", "relations"]
Temporal = Literal["transformer", "lstm", "bilstm", "none"]
Head = Literal["mlp", "fc"]
Padding = Literal["symmetric", "same"]

REACH = 8
"""`relations` are with so many frames before and after."""
NEAREST = 2
"""Further distances of `relations`: to the nearest frame before, and after."""

DEFAULT_WEIGHTS = "default"
HEAD_SIZE = 64
"""Channels of one attention head where the number of heads is not given."""


class ExtractorSpec(NamedTuple):
    """What is known of an extractor without building it.

    Attributes:
        width: Numbers a frame.
        size: Its own input size in pixels; 0 where it sees none.
        architecture: Its name in timm, or None.
        tag: The weights in timm that `pretrained: default` means, or None.
        crop: Which fraction of the shorter side it sees.
    """

    width: int
    size: int
    architecture: str | None = None
    tag: str | None = None
    crop: float = 1.0


# Of EfficientNet, timm's own ports rather than the tf_ ones: same sizes, and published weights that
# were trained with the symmetric padding and the ImageNet statistics of the other extractors.
EXTRACTORS: dict[str, ExtractorSpec] = {
    "mobilenet_v2": ExtractorSpec(1280, 224, "mobilenetv2_100", "ra_in1k", 0.875),
    "mobilenet_v3_large": ExtractorSpec(1280, 224, "mobilenetv3_large_100", "ra_in1k", 0.875),
    "efficientnet_b2": ExtractorSpec(1408, 260, "efficientnet_b2", "ra_in1k", 0.875),
    "efficientnet_b3": ExtractorSpec(1536, 300, "efficientnet_b3", "ra2_in1k", 0.875),
    "raw": ExtractorSpec(56 * 56, 56),
    "clip": ExtractorSpec(0, 0),
    # Sees the same square as the retrieval backbone.
    "small": ExtractorSpec(128, 112),
}


@dataclass(frozen=True)
class ExtractorConfig:
    """Which light network looks at the candidate frames.

    Attributes:
        name: One of `EXTRACTORS`.
        size: Input size in pixels; null: the extractor's own.
        pretrained: A tag of timm's hub, `default` for the usual one, or the path of a safetensors
            file; null: random weights.
        freeze: The extractor keeps its weights and stays in eval mode.
        mean: What its weights want to be subtracted from red, green and blue; null: ImageNet's.
        std: What they want these to be divided by; null: ImageNet's.
        padding: How its convolutions pad: `same` is TensorFlow's way, for weights from there.
    """

    name: str = "mobilenet_v2"
    size: int | None = None
    pretrained: str | None = DEFAULT_WEIGHTS
    freeze: bool = True
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    padding: Padding = "symmetric"

    def __post_init__(self) -> None:
        check_choice("extractor", self.name, EXTRACTORS)
        check_choice("padding", self.padding, get_args(Padding))
        spec = EXTRACTORS[self.name]
        if self.size is not None and spec.architecture is None and self.name != "small":
            raise ConfigError(f"the extractor {self.name} has no input size to set ({self.size})")
        # Five halvings leave nothing of less.
        if self.size is not None and self.size < 32:
            raise ConfigError(f"the extractor's input size must be at least 32, not {self.size}")
        if self.name == "small" and self.pretrained == DEFAULT_WEIGHTS:
            raise ConfigError(
                "there are no published weights of the extractor small",
                hint="set pretrained to a file, or to null (and freeze to false) to train it",
            )

    @property
    def input_size(self) -> int:
        """Pixels a side that the network sees."""
        return self.size or EXTRACTORS[self.name].size


@dataclass(frozen=True)
class PolicyConfig:
    """The network that scores candidate frames.

    Attributes:
        extractor: Where frame features come from.
        features: `frame` f_t, `diff` f_t - f_{t-1}, `concat`, both, `change`, f_t and the size of
            the difference, or `relations`, how far f_t is from the other frames of its video,
            whatever they show.
        temporal: How frames see each other.
        head: `mlp` or one linear layer, `fc`.
        width: Channels of the temporal model.
        heads: Attention heads of the transformer; null: one for each 64 channels.
        hidden: Channels between the two layers of `mlp`.
        frames: N, the candidates of a video that it is trained with; null: the retriever's.
        normalise: What the temporal model is given of a frame is brought to mean 0 and variance 1
            first: for features whose size changes while their network learns.
        position_std: Standard deviation of the positions to begin with. Features of variance 1
            disappear behind positions of 1 for the first epochs.
        start_even: The last layer's weights begin at 0: no frame is preferred before anything is
            learned.
        start_bias: What the last layer's bias of keeping begins at: `gate` keeps a share of
            1 / (1 + exp(-start_bias)) at first, where it starts even; `topk` does not see it.
        channel_groups: Of `relations`: equal parts of a feature's channels, in their order, of
            which each has its mean and standard deviation told apart: of pictures, say, their
            colours and edges. A frame that is blurred differs in the edges alone.
    """

    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    features: Feature = "frame"
    temporal: Temporal = "transformer"
    head: Head = "mlp"
    width: int = 512
    heads: int | None = None
    hidden: int = 1024
    frames: int | None = None
    normalise: bool = False
    position_std: float = 1.0
    start_even: bool = False
    start_bias: float = 0.0
    channel_groups: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.position_std < math.inf:
            raise ConfigError(f"position_std must be from 0 on, not {self.position_std:g}")
        for what, name, choices in (
            ("policy features", self.features, get_args(Feature)),
            ("temporal model", self.temporal, get_args(Temporal)),
            ("policy head", self.head, get_args(Head)),
        ):
            check_choice(what, name, choices)
        for what, number in (
            ("width", self.width),
            ("heads", self.attention_heads),
            ("hidden", self.hidden),
            ("frames", self.frames),
            ("channel_groups", self.channel_groups),
        ):
            if number is not None and number < 1:
                raise ConfigError(f"the policy's {what} must be at least 1, not {number}")
        if self.width % self.attention_heads:
            raise ConfigError(
                f"the policy's width {self.width} cannot be split over "
                f"{self.attention_heads} attention heads"
            )
        # Of `clip` the backbone says it.
        if known := EXTRACTORS[self.extractor.name].width:
            self.width_given(known)

    def width_given(self, width: int) -> int:
        """Numbers a frame that the temporal model is given, of features of so many.

        Raises:
            ConfigError: The groups do not divide the channels.
        """
        if self.features == "relations":
            groups = self.channel_groups
            if width % groups:
                raise ConfigError(
                    f"the policy's channel_groups, {groups}, do not divide the {width} channels of "
                    "a frame",
                    hint="--set sampler.policy.channel_groups=1",
                )
            return 2 * REACH + NEAREST + 2 * groups
        return width * (2 if self.features in ("concat", "change") else 1)

    @property
    def attention_heads(self) -> int:
        """Heads of the transformer."""
        return max(1, self.width // HEAD_SIZE) if self.heads is None else self.heads


def check_choice(what: str, name: str, choices: Collection[str]) -> None:
    """Raises ConfigError, with the nearest name, for one that is not known."""
    if name not in choices:
        raise ConfigError(unknown(what, name, choices))
