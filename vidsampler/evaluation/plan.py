"""What an evaluation is of: the checkpoint, its settings, and the data. No torch for a plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidsampler import plainyaml, registry
from vidsampler.config import Layer, flag_layer, layer_part, layer_without, to_plain
from vidsampler.errors import InputError, UsageError
from vidsampler.retriever_config import RetrieverConfig, resolve_tree
from vidsampler.run_folder import BEST, CONFIG, LAST, RESULT, weights_folder

Which = Literal["best", "last"]


@dataclass(frozen=True)
class Data:
    """What is evaluated on.

    Attributes:
        dataset: A registered dataset.
        split: Its split.
        shards: What `vidsampler shard` made; None: `videos`, or those of `shapes` in the cache.
        videos: A folder of videos, which are decoded as they are needed.
        annotations: The folder of the annotation files, with `videos`; None: they are there too.
    """

    dataset: str
    split: str = "test"
    shards: Path | None = None
    videos: Path | None = None
    annotations: Path | None = None

    def __post_init__(self) -> None:
        registry.entry("datasets", self.dataset)
        if self.shards is not None and self.videos is not None:
            raise UsageError("give either shards (--shards) or videos (--videos), not both")
        if self.annotations is not None and self.videos is None:
            raise UsageError(
                "annotations (--annotations) are for videos (--videos); shards have their captions"
            )


@dataclass(frozen=True)
class Plan:
    """What an evaluation will do, found out without loading weights or looking at videos.

    Attributes:
        config: Of the retriever.
        weights: The folder of the checkpoint; None: zero-shot.
        layers: Other settings than the checkpoint's.
        data: Where the videos are.
        of_dataset: Settings of the dataset's reader, or of `shapes`.
        selected_on: The split on which the checkpoint was chosen.
    """

    config: RetrieverConfig
    weights: Path | None
    layers: tuple[Layer, ...]
    data: Data
    of_dataset: tuple[Layer, ...] = ()
    selected_on: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """As ``--dry-run`` prints it."""
        data = {name: each for name, each in to_plain(self.data).items() if each is not None}
        return {"checkpoint": self.name, "data": data, **self.config.to_plain()}

    @property
    def name(self) -> str:
        """What is evaluated."""
        backbone = self.config.backbone
        return str(self.weights or f"{backbone.name}, {backbone.pretrained}, zero-shot")


def plan_evaluation(
    checkpoint: Path | None, data: Data, layers: Sequence[Layer] = (), which: Which = "best"
) -> Plan:
    """Finds the checkpoint and its settings.

    Args:
        checkpoint: A folder of weights, or of a run; None: zero-shot, with a backbone that the
            layers name.
        data: What to evaluate on.
        layers: Other settings, later ones winning; under ``dataset`` those of its reader.
        which: Of a run, the best weights or the last ones.

    Raises:
        InputError: There is no checkpoint.
        ConfigError: A layer does not fit.
        UsageError: Settings that do not fit each other.
    """
    if data.dataset == "folder":
        raise UsageError(
            "videos of a folder have no captions that retrieval is measured by",
            hint="runs on them are measured while they train (log.jsonl); to measure by captions, "
            "write a table of them: --dataset captions",
        )
    own = tuple(layer_without(layer, ["dataset"]) for layer in layers)
    of_dataset = [layer_part(layer, "dataset") for layer in layers]
    if checkpoint is None:
        return Plan(_zero_shot(data.dataset, own), None, own, data, tuple(of_dataset))
    from vidsampler.retriever_files import saved_config, whole_one_below

    if checkpoint.is_file():
        raise InputError(
            f"{checkpoint} is a file, not the folder of a checkpoint",
            hint="give the folder that train wrote, or one that import made of the file",
            code="foreign",
        )
    folder = weights_folder(checkpoint, which)
    inside = folder != checkpoint
    if not inside and any((checkpoint / name).is_dir() for name in (BEST, LAST)):
        raise InputError(
            f"{checkpoint} is a run without {which} weights",
            hint=whole_one_below(checkpoint),
            code="missing",
        )
    config = saved_config(folder, own)
    data, of_run = _of_run(checkpoint if inside else checkpoint.parent, data)
    selected = _selected_on(folder)
    return Plan(config, folder, own, data, (*of_run, *of_dataset), selected)


def retriever_layers(*, sampler: Any = None, top_k: Any = None, frames: Any = None) -> list[Layer]:
    """What stands before the same weights; values as of Python or of the command line."""
    return [
        flag_layer("--sampler", "name", sampler, "sampler"),
        flag_layer("--top-k", "k", top_k, "sampler"),
        flag_layer("--frames", "frames", frames),
    ]


def _zero_shot(dataset: str, layers: Sequence[Layer]) -> RetrieverConfig:
    """The settings of a backbone alone, with the dataset's frames and words."""
    from vidsampler.datasets.load import settings_of

    of_dataset = settings_of(dataset)
    shipped = {"frames": of_dataset.frames, "backbone": {"words": of_dataset.words}}
    config = resolve_tree(RetrieverConfig, [Layer("{key}", shipped), *layers])
    if not any(
        name in layer.values.get("backbone", {})
        for layer in layers
        for name in ("name", "pretrained")
    ):
        raise UsageError(
            "there is neither a checkpoint nor a backbone to evaluate",
            hint="give the folder of a run, or for zero-shot --backbone ViT-B-32-quickgelu",
        )
    if config.sampler.learned:
        raise UsageError(
            f"the sampler {config.sampler.name} has nothing to choose by before it is trained",
            hint="take --sampler uniform, or give a checkpoint",
        )
    return config


def _of_run(run: Path, data: Data) -> tuple[Data, list[Layer]]:
    """Where a run has its data, as far as it is of the same dataset."""
    try:
        said = plainyaml.load((run / CONFIG).read_text("utf-8"))["dataset"]
        name, shards, render = said["name"], said["shards"], said["render"]
    except (OSError, ValueError, KeyError, TypeError):
        return data, []
    if name != data.dataset:
        return data, []
    if data.shards is None and data.videos is None and shards and Path(shards).is_dir():
        data = Data(data.dataset, data.split, Path(shards))
    return data, [Layer(f"{run / CONFIG}: dataset.{{key}}", {"render": render})] if (
        name == "shapes"
    ) else []


def _selected_on(folder: Path) -> str | None:
    """The split that the weights were chosen by; ``last`` where they were not chosen."""
    if folder.name == LAST:
        return "last"
    try:
        found = json.loads((folder / RESULT).read_bytes())["selected_on"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(found)
