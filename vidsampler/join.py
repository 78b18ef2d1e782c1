"""Videos meet their annotations: one set of shards for each split of a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler.config import Layer, layer_part, layer_without, resolve, to_plain
from vidsampler.datasets.base import Annotations, DatasetSettings, Record
from vidsampler.datasets.load import settings_of
from vidsampler.errors import ConfigError, InputError, UsageError
from vidsampler.extraction.layers import one_way
from vidsampler.extraction.settings import Recipe
from vidsampler.files import to_json_bytes, write_file
from vidsampler.joined import DATASET, Joined, account, settle_splits, with_others
from vidsampler.packing.settings import ShardConfig

if TYPE_CHECKING:
    from vidsampler.shard import Source
    from vidsampler.shards.build import Work
    from vidsampler.shards.job import Item


@dataclass(frozen=True)
class JoinConfig:
    """Settings of `shard --dataset`.

    Attributes:
        dataset: Its name.
        settings: Of its reader, which tell the splits.
        splits: Which of them; none: all.
        pack: How frames are packed; `frames` of shards and folders.
        recipe: Which frames of videos are stored.
        rate: Pictures a second, of folders that do not say when each is shown.
    """

    dataset: str
    settings: DatasetSettings
    splits: tuple[str, ...] = ()
    pack: ShardConfig = field(default_factory=ShardConfig)
    recipe: Recipe = field(default_factory=Recipe)
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ConfigError(f"rate must be more than 0 pictures a second, not {self.rate:g}")

    def to_plain(self) -> dict[str, Any]:
        """As YAML holds it, and `join_config` takes back."""
        return {
            "dataset": {"name": self.dataset, **to_plain(self.settings)},
            "splits": list(self.splits),
            "recipe": to_plain(self.recipe),
            "rate": self.rate,
            **to_plain(self.pack),
        }


_OWN = ("dataset", "splits", "recipe", "rate")
"""Keys that `shard --dataset` has beside those of `ShardConfig`."""


def join_config(
    dataset: str | None, layers: Sequence[Layer], recipe_flags: Sequence[Layer] = ()
) -> JoinConfig:
    """The settings of `shard --dataset`.

    Args:
        dataset: Its name; None: as a layer says under ``dataset.name``.
        layers: Files, --set and flags, later ones winning.
        recipe_flags: Flags of the recipe alone; they win over what the dataset's own file says.

    Raises:
        UsageError: No name, or no such dataset.
        ConfigError: A value that does not fit.
    """
    of_dataset = [layer_part(layer, "dataset") for layer in layers]
    for layer in of_dataset:
        name = layer.values.get("name")
        dataset = dataset or (name if isinstance(name, str) else None)
    if dataset is None:
        raise UsageError("no dataset is named", hint="such as --dataset msrvtt")
    settings = settings_of(dataset, [layer_without(layer, ("name",)) for layer in of_dataset])
    extract = Layer("{key}", to_plain(settings.extract))
    rest = [
        layer_without(layer, [key for key in layer.values if key not in ("splits", "rate")])
        for layer in layers
    ]
    own = resolve(_Own, rest)
    return JoinConfig(
        dataset,
        settings,
        own.splits,
        resolve(ShardConfig, [layer_without(layer, _OWN) for layer in layers]),
        resolve(
            Recipe,
            [extract, *one_way(layer_part(each, "recipe") for each in layers), *recipe_flags],
        ),
        own.rate,
    )


@dataclass(frozen=True)
class _Own:
    splits: tuple[str, ...] = ()
    rate: float | None = None


def join(
    source: str | Path,
    out: str | Path,
    annotations: str | Path | None,
    config: JoinConfig,
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    asked_to_stop: Callable[[], None] | None = None,
) -> Joined:
    """Makes the shards of a dataset.

    Args:
        source: A folder of videos, of shards, or of folders of pictures.
        out: The folder; each split gets one below it, and ``dataset.json`` says what is there.
        annotations: The folder of the annotation files; None: they are in ``source``.
        config: All settings.
        retry_failed, overwrite, progress, asked_to_stop: As for `vidsampler.extract.extract`.

    Raises:
        InputError: The annotations or the source are damaged or missing, two videos fit one id, or
            no video of a split is there.
        UsageError: No such split, or ``out`` is not free.
        VidsamplerError: ``out`` cannot be written; what is committed stays.
        KeyboardInterrupt: A second Ctrl-C.
    """
    import time

    from vidsampler import datasets
    from vidsampler.shard import find_any_source, packed
    from vidsampler.shards.folder import OutputFolder
    from vidsampler.shards.job import ShardJob
    from vidsampler.shards.run import run

    clock = time.perf_counter()
    out = Path(out)
    read = datasets.read(config.dataset, annotations or source, config.settings)
    names = _splits(read, config.splits)
    if not names:
        raise InputError(f"{annotations or source}: there is no video in it", code="empty")
    found = find_any_source(source, leave_out=out)
    if found.kind == "videos":
        _refuse_unused(config)
    records = [record for name in names for record in read.splits[name]]
    matched = datasets.match_videos(records, {name: name for name in found.origins}).found
    for name in names:
        if not any(record.video in matched for record in read.splits[name]):
            first = read.splits[name][0].video
            raise InputError(
                f"{source}: none of the {len(read.splits[name]):,} videos of split {name} is "
                f"there; the first is {first}",
                hint="SOURCE must hold the videos under the names of the annotations",
                code="missing",
            )
    recipe = config.recipe.to_json() if found.kind == "videos" else packed(found, config.pack)
    result = Joined(
        read.dataset,
        read.protocol,
        recipe,
        {},
        notes=dict(read.notes),
        differences=list(datasets.differences(read, config.settings)),
    )
    headers = {name: _header(name, read.splits[name], config, recipe) for name in names}
    settle_splits(out, headers, overwrite=overwrite)
    before = 0

    def advance(done: int, of: int) -> None:
        # What an earlier run stored is passed over, and counts as finished.
        if progress is not None:
            progress(before + split_size - of + done, len(matched))

    pack = config.pack
    for name in names:
        split_size = sum(record.video in matched for record in read.splits[name])
        output = OutputFolder(out / name, headers[name], overwrite)
        report = run(
            ShardJob(output, recipe, pack.per_shard, even=True, shards=pack.shards),
            [record.video for record in read.splits[name] if record.video in matched],
            _FUNCTIONS[found.kind],
            _Worker(found, config, read.splits[name], matched),
            out=out / name,
            config=config.to_plain(),
            # Once, not for each split.
            not_found=found.unreadable if name == names[0] else None,
            workers=config.pack.workers,
            timeout=config.pack.timeout,
            retry_failed=retry_failed,
            progress=advance,
            asked_to_stop=asked_to_stop,
        )
        result.splits[name] = account(
            out / name, read.splits[name], matched, report, config.settings.frames
        )
        for kind, count in report.errors.items():
            result.errors[kind] = result.errors.get(kind, 0) + count
        before += split_size
        if report.interrupted:
            result.interrupted = True
            break
    else:
        write_file(out / DATASET, to_json_bytes(with_others(result, out, read)))
    result.seconds = time.perf_counter() - clock
    return result


_FUNCTIONS = {
    "videos": "vidsampler.extraction.video:store_video",
    "shards": "vidsampler.packing.samples:store_sample",
    "folders": "vidsampler.packing.samples:store_folder",
}


def _splits(read: Annotations, wanted: Sequence[str]) -> list[str]:
    for name in wanted:
        try:
            read.split(name)
        except InputError as error:
            raise UsageError(error.message) from error
    names = [name for name in read.splits if not wanted or name in wanted]
    return [name for name in names if read.splits[name]]


def _refuse_unused(config: JoinConfig) -> None:
    """Settings of pictures that are there already have no effect on videos."""
    if config.pack.frames is not None:
        raise UsageError(
            "frames is for shards and folders of pictures, and these are videos",
            hint=f"such as --set recipe.frames={config.pack.frames}",
        )
    if config.rate is not None:
        raise UsageError("rate is for folders of pictures; videos say when their frames are shown")


def _header(
    name: str, records: Sequence[Record], config: JoinConfig, recipe: dict[str, Any]
) -> dict[str, Any]:
    """What must be the same when a split is gone on with."""
    from vidsampler.shards.manifest import FORMAT

    said = [[each.video, each.captions, each.start, each.end] for each in records]
    settings = {**to_plain(config.settings), "extract": None}
    return {
        "format": FORMAT,
        "layout": "shards",
        "dataset": config.dataset,
        "split": name,
        # Other captions are other shards, and other settings may be other splits.
        "annotations": _digest(said),
        "settings": _digest(settings),
        "recipe": recipe,
        "per_shard": config.pack.per_shard,
        "shards": config.pack.shards,
    }


def _digest(data: Any) -> str:
    return hashlib.sha256(to_json_bytes(data)).hexdigest()[:16]


class _Worker:
    """Makes the work of an item, whose source is a video's id."""

    def __init__(
        self,
        found: Source,
        config: JoinConfig,
        records: Sequence[Record],
        matched: Mapping[str, str],
    ) -> None:
        self._found = found
        self._config = config
        self._records = {record.video: record for record in records}
        self._matched = matched

    def __call__(self, item: Item, spool: Path) -> Work:
        from vidsampler.extraction.video import VideoTask
        from vidsampler.packing.samples import SampleTask
        from vidsampler.shards.build import Work

        record = self._records.get(item.source)
        name = self._matched.get(item.source)
        if record is None or name is None:
            return Work(None, problem=("missing", f"{item.source}: the video is gone"))
        facts: dict[str, Any] = {"video": record.video, "captions": list(record.captions)}
        if record.start is not None or record.end is not None:
            facts["window"] = [record.start, record.end]
        key, origin = self._found.origins[name]
        pack = self._config.pack
        if self._found.kind == "videos":
            video = VideoTask(
                item.key,
                name,
                origin,
                self._config.recipe,
                spool,
                timeout=pack.timeout,
                facts=facts,
                start=record.start,
                end=record.end,
            )
            return Work(video, spool, float(origin.stat().st_size) if origin.exists() else 0.0)
        sample = SampleTask(
            item.key,
            name,
            origin,
            spool,
            pack.frames,
            pack.positions,
            facts=facts,
            start=record.start,
            end=record.end,
            rate=self._config.rate,
            found=key,
        )
        return Work(sample, spool)
