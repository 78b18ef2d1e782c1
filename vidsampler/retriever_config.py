"""Settings of a retriever: backbone, sampler and head. No torch, except to know a head's settings.

In YAML and on the command line a head's settings stand beside its name (`head.dropout=0.4`), and
are as strict as all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from vidsampler import plainyaml, registry
from vidsampler.backbones.config import BackboneConfig
from vidsampler.config import Layer, resolve, to_plain
from vidsampler.errors import ConfigError
from vidsampler.samplers.policy_config import PolicyConfig

T = TypeVar("T", bound="RetrieverConfig")

Targets = Literal["multi", "diagonal"]


@dataclass(frozen=True)
class SamplerConfig:
    """Which frames pass the image tower.

    Attributes:
        name: A registered sampler; not `keyframe`, which needs a video file, nor one that
            chooses by a question (`--sampler`).
        k: K, frames to keep; null: all of them. `gate` decides for itself (`--top-k`).
        seed: Of `random`.
        warmup_epochs: In so many first epochs the K of `topk` falls from N - 1 to its value, and
            the share that `gate` is held to from 1.
        hold_epochs: In so many epochs before them `topk` and `gate` keep every frame and their
            policy does not learn; 0, as published: it learns from the first step. Towers that
            start from random weights give it nothing to choose by at first.
        keep_target: The share of frames that `gate` is to keep (`--keep-target`).
        uniform_weight: Of the loss that holds `gate` to it; 0 leaves it out.
        draws: Of `topk`: so many choices of each video are drawn in training, and what each is
            worth to the retrieval loss is the policy's gradient; at least 2. 0, as published: one
            choice, with the straight-through gradient, which cannot tell that one of two like
            frames is enough. The backbone then encodes every candidate in training.
        straight_through: With draws: the straight-through gradient beside theirs. It says of each
            frame whether more of it would help, where the draws say which frames are enough
            together: on towers that have learned already, the two keep more that matters than
            either. Towers that learn with it see less of what it drops, and may never learn it.
        entropy_weight: Of the entropy of the first pick, where choices are drawn: more keeps the
            policy from making up its mind too soon.
        policy: The network of `gate` and `topk`.
    """

    name: str = "uniform"
    k: int | None = None
    seed: int = 0
    warmup_epochs: int = 0
    hold_epochs: int = 0
    keep_target: float = 0.5
    uniform_weight: float = 0.03
    draws: int = 0
    straight_through: bool = False
    entropy_weight: float = 0.0
    policy: PolicyConfig = field(default_factory=PolicyConfig)

    def __post_init__(self) -> None:
        if registry.entry("samplers", self.name).asks:
            raise ConfigError(
                f"the sampler {self.name} chooses by a question, but a retriever keeps the same "
                "frames of a video for all texts",
                hint=f"take one of: {', '.join(registry.training_free_samplers())}, gate, topk",
            )
        if registry.entry("samplers", self.name).shipped:
            raise ConfigError(
                f"the sampler {self.name} is a retriever's already; it is for select",
                hint="take topk to train one, and --sampler-from to begin with its weights",
            )
        if self.name == "keyframe":
            raise ConfigError(
                "the sampler keyframe chooses among the keyframes of a file, but a retriever sees "
                "evenly spread frames",
                hint="take uniform, or extract the frames with --keyframes",
            )
        if self.name == "topk" and self.k is None:
            raise ConfigError("the sampler topk needs sampler.k (--top-k), the frames to keep")
        if self.k is not None and self.k < 1:
            raise ConfigError(f"sampler.k (--top-k) must be at least 1, not {self.k}")
        for name in (
            "seed",
            "warmup_epochs",
            "hold_epochs",
            "uniform_weight",
            "draws",
            "entropy_weight",
        ):
            if (value := getattr(self, name)) < 0:
                raise ConfigError(f"sampler.{name} must be at least 0, not {value:g}")
        if self.straight_through and not self.draws:
            raise ConfigError(
                "sampler.straight_through is for sampler.draws from 2 on; without draws the "
                "straight-through gradient is the only one"
            )
        if self.draws == 1:
            raise ConfigError(
                "sampler.draws must be 0 or at least 2: a draw is held against others"
            )
        if not 0 <= self.keep_target <= 1:
            raise ConfigError(f"sampler.keep_target must be from 0 to 1, not {self.keep_target:g}")

    @property
    def learned(self) -> bool:
        """Whether it has weights."""
        return registry.entry("samplers", self.name).learned


@dataclass(frozen=True)
class HeadConfig:
    """What turns kept frames and texts into scores.

    Attributes:
        name: A registered head (`--head`).
        settings: Of that head's own `Config`; None: its defaults.
    """

    name: str = "mean"
    settings: Any = None

    def __post_init__(self) -> None:
        registry.entry("heads", self.name)


@dataclass(frozen=True)
class RetrieverConfig:
    """All that a retriever is built from.

    Attributes:
        backbone: The image-text model.
        sampler: Which of the candidate frames are kept.
        head: What turns them into scores.
        frames: N, candidate frames of a video (`--frames`).
        targets: What counts as a pair in training: `multi`, also other captions of the same video
            and captions of the same words; `diagonal`, caption i and video i alone, as published.
        seed: Of the new weights of sampler and head.
        notes: What has to be known of its weights with every result, such as what is not equal to
            the published system that they came from.
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    frames: int = 16
    targets: Targets = "multi"
    seed: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames must be at least 1, not {self.frames}")
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, not {self.seed}")

    @property
    def head_frames(self) -> int:
        """F, the frame slots that the head sees: N of `gate`, K (at most N) of the others."""
        if self.sampler.name == "gate" or self.sampler.k is None:
            return self.frames
        return min(self.sampler.k, self.frames)

    def retriever(self) -> RetrieverConfig:
        """These settings alone, where the config builds on this one."""
        return RetrieverConfig(
            **{each.name: getattr(self, each.name) for each in fields(RetrieverConfig)}
        )

    def to_plain(self) -> dict[str, Any]:
        """Plain data, with the head's settings beside its name; `resolve_tree` takes it back."""
        plain = to_plain(self)
        settings = plain["head"].pop("settings") or to_plain(head_settings(self.head.name)())
        plain["head"].update(settings)
        if not plain["notes"]:
            del plain["notes"]
        return plain


def head_settings(name: str) -> type[Any]:
    """The dataclass of a head's settings.

    Raises:
        UsageError: There is no such head.
    """
    kind: type[Any] = registry.load("heads", name).Config
    return kind


def resolve_tree(cls: type[T], layers: Iterable[Layer]) -> T:
    """Fills a retriever's config, or one that builds on it; see `config.resolve`.

    Settings of a head in a layer that names another head than the last one that is named do not
    count: `--head mean` over a method with `tmass` leaves that head's settings behind.

    Raises:
        UsageError: An unknown name.
        ConfigError: An unknown key, a wrong value.
    """
    parts = [_head_as_mapping(layer) for layer in layers]
    heads = [layer.values.get("head", {}) for layer in parts]
    names = [head["name"] for head in heads if isinstance(head, dict) and "name" in head]
    name = names[-1] if names else HeadConfig().name
    if not isinstance(name, str):
        raise ConfigError(f"head.name must be the name of a head, not {name!r}")
    kept = [
        _without_head(layer) if isinstance(head, dict) and head.get("name", name) != name else layer
        for layer, head in zip(parts, heads, strict=True)
    ]
    base: Any = cls
    tree = _tree(base, name)
    filled = resolve(tree, kept)
    kind = head_settings(name)
    settings = kind(**{each.name: getattr(filled.head, each.name) for each in fields(kind)})
    values = {each.name: getattr(filled, each.name) for each in fields(cls)}
    return cls(**{**values, "head": HeadConfig(name, settings)})


@cache
def _tree(cls: Any, head: str) -> type[Any]:
    """The config class with a head's settings, and its name among them, in place."""
    kind = head_settings(head)
    named = make_dataclass(
        kind.__name__, [("name", str, field(default=head))], bases=(kind,), frozen=True
    )
    return make_dataclass(
        cls.__name__, [("head", named, field(default_factory=named))], bases=(cls,), frozen=True
    )


def _head_as_mapping(layer: Layer) -> Layer:
    """A layer in which `head: NAME` stands as `head: {name: NAME}`."""
    head = layer.values.get("head")
    if not isinstance(head, str):
        return layer
    value: Any = head
    if layer.text:
        try:
            value = plainyaml.load(head)
        except ValueError:
            value = head
    if not isinstance(value, dict):
        value = {"name": head}
    return Layer(layer.place, {**layer.values, "head": value}, layer.text)


def _without_head(layer: Layer) -> Layer:
    rest = {key: value for key, value in layer.values.items() if key != "head"}
    return Layer(layer.place, rest, layer.text)


def retriever_config(layers: Sequence[Layer] = ()) -> RetrieverConfig:
    """The settings of a retriever from layers, later ones winning; see `resolve_tree`."""
    return resolve_tree(RetrieverConfig, layers)
