"""All settings of a training run: a method on a dataset, and how the run goes.

Importing this needs no torch; knowing a head's settings does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vidsampler.config import Layer, file_layer
from vidsampler.datasets.shapes.settings import ShapesSettings
from vidsampler.errors import ConfigError, UsageError
from vidsampler.loading.montage import MontageSettings
from vidsampler.methods import MethodConfig, method_layer
from vidsampler.retriever_config import resolve_tree
from vidsampler.runs import PublishedRun, published_run


@dataclass(frozen=True)
class DatasetChoice:
    """Which dataset is trained on.

    Attributes:
        name: A registered dataset.
        shards: The folder that `vidsampler shard` made, with a folder for each split; null: the
            cache's, which only `shapes` has (`--shards`).
        render: What the videos of `shapes` are like.
        videos: Of `folder`: the videos, which are decoded once, into the cache (`--videos`).
        val: Of `folder`: the share of the videos that checkpoints are chosen by; with few videos
            as many more as both sides need, four.
        groups: Of `folder`: a table with the columns video and group; what is of one group, such
            as parts of one recording, stays on one side.
        montage: Of `folder`: what its videos are cut to.
    """

    name: str = "shapes"
    shards: Path | None = None
    render: ShapesSettings = field(default_factory=ShapesSettings)
    videos: Path | None = None
    val: float = 0.2
    groups: Path | None = None
    montage: MontageSettings = field(default_factory=MontageSettings)

    def __post_init__(self) -> None:
        if not 0 < self.val < 1:
            raise ConfigError(f"dataset.val must be between 0 and 1, not {self.val:g}")
        if self.videos is not None and self.name != "folder":
            raise ConfigError(
                f"--videos is for --dataset folder, not for {self.name}",
                hint="make shards of videos with captions: vidsampler shard",
            )
        if self.groups is not None and self.videos is None:
            raise ConfigError(
                "dataset.groups divides the videos of --dataset folder --videos DIR",
                hint="the splits of shards are made already",
            )
        if self.videos is not None and self.shards is not None:
            raise ConfigError("give either --videos or --shards")


@dataclass(frozen=True)
class RunConfig:
    """How a run goes; nothing here changes what a step computes.

    Attributes:
        device: `cpu` or `cuda`; null: cuda where there is one.
        workers: Decoding threads of each process; null: as many as there are processors.
        evals_per_epoch: How often an epoch is interrupted for a validation; 0: never, and the last
            weights are the best ones.
        checkpoint_every: Save after so many steps too; validations and epochs always do.
        select_on: The split that says which weights are the best. `test` is the published habit,
            which reports the best of many tries on the test set.
        log_every: Steps between lines of `log.jsonl`.
        keep_decoded: MiB. A split whose decoded frames fit into so many is decoded once, not in
            each epoch; the processes on a machine share it. 0: never. Montages, and the
            augmentation `crop`, are decoded each time.
    """

    device: Literal["cpu", "cuda"] | None = None
    workers: int | None = None
    evals_per_epoch: int = 1
    checkpoint_every: int | None = None
    select_on: Literal["val", "test"] = "val"
    log_every: int = 10
    keep_decoded: int = 512

    def __post_init__(self) -> None:
        for name, least in (
            ("workers", 0),
            ("evals_per_epoch", 0),
            ("checkpoint_every", 1),
            ("log_every", 1),
            ("keep_decoded", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"run.{name} must be at least {least}, not {value}")


@dataclass(frozen=True)
class TrainConfig(MethodConfig):
    """Everything that a run depends on.

    Attributes:
        method: A registered method; where the other settings begin.
        dataset: What is trained on.
        sampler_from: A checkpoint or run whose sampler's weights are taken (`--sampler-from`).
        run: How the run goes.
    """

    method: str = "clip4clip"
    dataset: DatasetChoice = field(default_factory=DatasetChoice)
    sampler_from: Path | None = None
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler_from is not None and not self.sampler.learned:
            raise ConfigError(
                f"sampler_from (--sampler-from) needs a learned sampler; {self.sampler.name} has "
                "no weights",
                hint="add --sampler gate or --sampler topk",
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """Of the dataset, those that a run reads."""
        chosen = (self.run.select_on,) if self.run.evals_per_epoch else ()
        tested = ("test",) if self.dataset.name == "shapes" else ()
        return tuple(dict.fromkeys(("train", *chosen, *tested)))


def stored_run(path: Path) -> TrainConfig:
    """A run's own settings. What is newer than its file is as it was before: the default.

    Not what a method's file says of it now.

    Args:
        path: Its config.yaml.

    Raises:
        ConfigError: It cannot be read.
    """
    return resolve_tree(TrainConfig, [file_layer(str(path), "train")])


def train_config(
    layers: Sequence[Layer] = (),
    *,
    method: str | None = None,
    dataset: str | None = None,
    run: str | None = None,
) -> TrainConfig:
    """The settings of a run.

    Args:
        layers: Files, --set and flags, later ones winning.
        method: A registered method; None: as a layer says under ``method``.
        dataset: A registered dataset; None: as a layer says under ``dataset.name``.
        run: A published run, which says both and what is different.

    Raises:
        UsageError: No method or no dataset is named, or there is none of that name.
        ConfigError: A layer does not fit.
    """
    changes: dict[str, Any] = {}
    # Later layers win, and a flag over all of them.
    said_method = said_dataset = None
    for layer in layers:
        inside = layer.values.get("dataset")
        name = inside.get("name") if isinstance(inside, dict) else None
        said_dataset = name if isinstance(name, str) else said_dataset
        name = layer.values.get("method")
        said_method = name if isinstance(name, str) else said_method
    method, dataset = method or said_method, dataset or said_dataset
    for layer in layers:
        _check_method(layer, method)
    if run is not None:
        published = published_run(run)
        _same(run, published, method, dataset)
        method, dataset, changes = published.method, published.dataset, published.set
    if method is None:
        raise UsageError("no method is named", hint="such as --method adaclip")
    if dataset is None:
        raise UsageError("no dataset is named", hint="such as --dataset shapes")
    names = Layer("{key}", {"method": method, "dataset": {"name": dataset}})
    config = resolve_tree(TrainConfig, [method_layer(method, dataset, changes), *layers, names])
    if run is not None and config.sampler_from is None:
        source = published_run(run).sampler_from
        if source is not None:
            raise UsageError(
                f"the run {run} takes the sampler that the run {source} has trained",
                hint=f"train that one first, then add --sampler-from ITS_FOLDER; or let --run "
                f"'{run.partition('/')[0]}/*' train both",
            )
    return config


def _check_method(layer: Layer, method: str | None) -> None:
    """A config of one method under the name of another would be neither."""
    said = layer.values.get("method")
    if method is not None and said not in (None, method):
        own = [key for key in ("sampler", "head") if key in layer.values]
        if own:
            where = layer.place.partition(":")[0]
            raise ConfigError(
                f"{where} has the {' and '.join(own)} of {said}; --method {method} would change "
                "the name alone",
                hint=f"leave --method out, or take these out of {where}",
            )


def _same(run: str, published: PublishedRun, method: str | None, dataset: str | None) -> None:
    for what, said, theirs in (
        ("method", method, published.method),
        ("dataset", dataset, published.dataset),
    ):
        if said is not None and said != theirs:
            raise UsageError(f"the run {run} is of the {what} {theirs}, not {said}")
