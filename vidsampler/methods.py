"""Methods: named recipes of sampler, head, losses and training, for each dataset.

`configs/methods/NAME.yaml` holds one: settings of `MethodConfig`, and under `datasets` what is
different on each dataset. No torch, except to know a head's settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from vidsampler import registry
from vidsampler.config import Layer, configs_dir, file_layer
from vidsampler.errors import ConfigError
from vidsampler.retriever_config import RetrieverConfig, resolve_tree


@dataclass(frozen=True)
class TrainingConfig:
    """How a retriever is trained. Data for the training loop; nothing here runs.

    Attributes:
        epochs: Times over the training split; 0: nothing is trained.
        batch_size: Pairs in a step of all ranks together.
        lr: Highest learning rate of new modules.
        lr_clip: Highest learning rate of the backbone. The published 1e-7 of CLIP4Clip, mmSampler,
            AdaCLIP and EMCL-Net is of fp16 Adam moments, whose underflow makes it act 20 to 100
            times larger; in fp32 and bf16 about 1e-6 does the same.
        betas: Of AdamW.
        eps: Of AdamW.
        weight_decay: Of AdamW; not on norms, biases, the logit scale and positions.
        warmup: Share of all steps in which learning rates rise linearly; then they fall as a
            cosine, to 0.
        clip_norm: Gradients are scaled down to this global norm; null: they are not.
        captions: `one` random caption of a video each epoch, or `all` pairs of captions and videos.
        augment: `none`; `flip`, all frames of every second video mirrored left to right; `crop`, a
            random resized crop and flip of all frames of a video; `randaugment`.
        freeze: Groups of the backbone's weights that keep their values; `all` for the whole
            backbone (`--freeze-backbone`).
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 1e-4
    lr_clip: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.2
    warmup: float = 0.1
    clip_norm: float | None = 1.0
    captions: Literal["one", "all"] = "one"
    augment: Literal["none", "flip", "crop", "randaugment"] = "none"
    freeze: tuple[Literal["patch_conv", "embeddings", "ln_pre", "token_embedding", "all"], ...] = ()

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"training.epochs must be at least 0, not {self.epochs}")
        if self.batch_size < 2:
            raise ConfigError(
                f"training.batch_size must be at least 2, not {self.batch_size}: the loss compares "
                "the pairs of a batch"
            )
        for name in ("lr", "lr_clip", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"training.{name} must be at least 0, not {getattr(self, name)}")
        for name in ("eps", "clip_norm"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ConfigError(f"training.{name} must be above 0, not {value:g}")
        for beta in self.betas:
            if not 0 <= beta < 1:
                raise ConfigError(f"training.betas must be from 0 to below 1, not {beta:g}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"training.warmup must be from 0 to below 1, not {self.warmup:g}")


@dataclass(frozen=True)
class MethodConfig(RetrieverConfig):
    """A retriever and how it is trained.

    Attributes:
        training: How.
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)


class Method(NamedTuple):
    """A method that is registered.

    Attributes:
        name: As it is registered; its settings are in `configs/methods/NAME.yaml`.
    """

    name: str

    def config(self, dataset: str | None = None, layers: Iterable[Layer] = ()) -> MethodConfig:
        """Its settings; see `method_config`."""
        return method_config(self.name, dataset, layers)


ADACLIP = Method("adaclip")
CLIP4CLIP = Method("clip4clip")
DEFAULT = Method("default")
EMCL = Method("emcl")
MMSAMPLER = Method("mmsampler")
TMASS = Method("tmass")
XPOOL = Method("xpool")


def method_config(
    name: str, dataset: str | None = None, layers: Iterable[Layer] = ()
) -> MethodConfig:
    """The settings of a method on a dataset, with what the layers say in their place.

    Args:
        name: A registered method.
        dataset: A registered dataset; None, or one that the method says nothing of: its defaults.
        layers: Such as `set_layer("sampler.k=6")`.

    Raises:
        UsageError: There is no such method or dataset.
        ConfigError: A layer does not fit.
    """
    return resolve_tree(MethodConfig, [method_layer(name, dataset), *layers])


def method_layer(
    name: str, dataset: str | None = None, changes: Mapping[str, Any] | None = None
) -> Layer:
    """What a method's file says of a dataset, as one layer.

    Args:
        name: A registered method.
        dataset: A registered dataset, or None.
        changes: Values in place of the method's, such as those of a published run.

    Raises:
        UsageError: There is no such method or dataset.
    """
    registry.entry("methods", name)
    layer = file_layer(name, "methods")
    values = {key: value for key, value in layer.values.items() if key != "datasets"}
    if dataset is not None:
        registry.entry("datasets", dataset)
        if (configs_dir() / "training" / f"{dataset}.yaml").is_file():
            # What training on this dataset changes in every method.
            values = _merged(values, file_layer(dataset, "training").values)
        values = _merged(values, (layer.values.get("datasets") or {}).get(dataset) or {})
    return Layer(layer.place, _merged(values, changes or {}))


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; a head or extractor of another name replaces the former."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            named = key in ("head", "extractor") and "name" in value
            other = named and below.get("name") != value["name"]
            merged[key] = dict(value) if other else _merged(below, value)
        else:
            merged[key] = value
    return merged
