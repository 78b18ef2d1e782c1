"""Settings of `embed`. No torch, except to know a head's settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from vidsampler import registry
from vidsampler.config import CANDIDATES, KEPT, Layer, file_layer
from vidsampler.errors import ConfigError
from vidsampler.retriever_config import RetrieverConfig, resolve_tree
from vidsampler.run_folder import weights_folder


@dataclass(frozen=True)
class IndexSettings:
    """How an index is made.

    Attributes:
        per_segment: Videos in one file of vectors, on the average.
        workers: Decoding processes; null: as many as there are processors to use.
        timeout: Seconds that one video may take; null: no limit.
        salvage: Take what decodes of a cut or damaged file in place of refusing it.
        device: `cpu` or `cuda`; null: cuda where there is one.
    """

    per_segment: int = 2048
    workers: int | None = None
    timeout: float | None = 600.0
    salvage: bool = False
    device: Literal["cpu", "cuda"] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.per_segment <= 1_000_000:
            raise ConfigError(
                f"index.per_segment must be from 1 to 1,000,000, not {self.per_segment}"
            )
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise ConfigError(f"workers must be from 1 to 1024, not {self.workers}")
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise ConfigError(f"timeout must be more than 0 seconds, not {self.timeout:g}")


@dataclass(frozen=True)
class EmbedConfig(RetrieverConfig):
    """Settings of `embed`: those of a retriever, where its weights are, and how to index.

    Attributes:
        checkpoint: A run folder or a checkpoint; null: the backbone's own weights.
        which: `best` or `last` of a run folder.
        index: How the index is made.
    """

    checkpoint: str | None = None
    which: Literal["best", "last"] = "best"
    index: IndexSettings = field(default_factory=IndexSettings)

    @property
    def weights(self) -> Path | None:
        """The folder of the weights."""
        return (
            None if self.checkpoint is None else weights_folder(Path(self.checkpoint), self.which)
        )

    def identity(self) -> dict[str, Any]:
        """What the vectors depend on beside the weights, as plain data."""
        plain = self.to_plain()
        index = plain.pop("index")
        for name in ("checkpoint", "which"):
            plain.pop(name)
        return plain | {"index": {name: index[name] for name in ("per_segment", "salvage")}}


def embed_config(layers: Sequence[Layer], stored: dict[str, Any] | None = None) -> EmbedConfig:
    """The settings of `embed`.

    Args:
        layers: What the user says, later ones winning.
        stored: What the index was made with, where there is one: what is not said is as there.

    Raises:
        ConfigError: A layer does not fit.
        UsageError: An unknown name.
        InputError: The checkpoint is none.
    """
    said = _last(layers, "checkpoint")
    if stored is not None:
        return _anywhere(resolve_tree(EmbedConfig, [Layer("the index: {key}", stored), *layers]))
    if said is not None:
        from vidsampler.retriever_files import CONFIG, saved_config

        which = _last(layers, "which") or "best"
        folder = weights_folder(Path(said), which)
        saved_config(folder)  # says what is wrong with it
        of_run = file_layer(str(folder / CONFIG), "retrievers")
        return _anywhere(resolve_tree(EmbedConfig, [of_run, *layers]))
    base = {"sampler": {"name": "uniform", "k": KEPT}}
    config = resolve_tree(EmbedConfig, [Layer("default {key}", base), *layers])
    if not any("frames" in layer.values for layer in layers):
        # `uniform` looks at what it keeps; whoever chooses has to have a choice.
        k = config.sampler.k or KEPT
        frames = k if config.sampler.name == "uniform" else max(CANDIDATES, k)
        config = replace(config, frames=frames)
    return _anywhere(config)


def _anywhere(config: EmbedConfig) -> EmbedConfig:
    """The same, with paths that hold in every working directory: an index is asked from others."""

    backbone = config.backbone
    name, pretrained, checkpoint = backbone.name, backbone.pretrained, config.checkpoint
    if os.path.exists(name) and not _is_known(name):
        name = os.path.abspath(name)
    if os.path.exists(pretrained) and (os.sep in pretrained or "." in pretrained):
        pretrained = os.path.abspath(pretrained)
    if checkpoint is not None and os.path.exists(checkpoint):
        checkpoint = os.path.abspath(checkpoint)
    backbone = replace(backbone, name=name, pretrained=pretrained)
    return replace(config, backbone=backbone, checkpoint=checkpoint)


def _is_known(name: str) -> bool:
    """Whether a backbone is meant by its name, whatever file there may be of that name."""
    if os.sep in name or name.endswith(".json"):
        return False
    if name in registry.names("backbones"):
        return True
    import open_clip  # takes seconds

    return name in open_clip.list_models()


def _last(layers: Sequence[Layer], key: str) -> str | None:
    values = [layer.values[key] for layer in layers if layer.values.get(key) is not None]
    return str(values[-1]) if values else None


def blind_sampler(config: RetrieverConfig) -> str | None:
    """The sampler, if it chooses without a look at the frames: only what it keeps is decoded."""
    name = config.sampler.name
    if config.sampler.learned or registry.load("samplers", name).needs_features:
        return None
    return name


def named_layers(settings: dict[str, Any]) -> list[Layer]:
    """What a call from Python says by name.

    Args:
        settings: ``backbone``, ``pretrained``, ``sampler``, ``k``, ``frames``, ``checkpoint``,
            ``which``, and the fields of `IndexSettings`.

    Raises:
        ConfigError: An unknown name.
    """
    from vidsampler.errors import unknown

    places: dict[str, tuple[str, ...]] = {
        "backbone": ("backbone", "name"),
        "pretrained": ("backbone", "pretrained"),
        "sampler": ("sampler", "name"),
        "k": ("sampler", "k"),
        "frames": ("frames",),
        "checkpoint": ("checkpoint",),
        "which": ("which",),
        **{each.name: ("index", each.name) for each in fields(IndexSettings)},
    }
    layers = []
    for name, value in settings.items():
        if name not in places:
            raise ConfigError(unknown("setting", name, places))
        nested: Any = str(value) if isinstance(value, Path) else value
        for part in reversed(places[name]):
            nested = {part: nested}
        layers.append(Layer("{key}", nested))
    return layers
