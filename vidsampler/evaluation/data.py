"""The split of a dataset that is evaluated: shards, or videos beside their annotations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidsampler import datasets
from vidsampler.cached_shards import check_shards, dataset_shards, split_folder
from vidsampler.config import layer_without
from vidsampler.datasets import Record
from vidsampler.datasets.shapes.reader import ShapesDataset
from vidsampler.datasets.shapes.settings import ShapesSettings
from vidsampler.errors import InputError, UsageError
from vidsampler.evaluation.embedding import Progress, Source
from vidsampler.evaluation.plan import Data, Plan
from vidsampler.evaluation.ranks import Ints
from vidsampler.evaluation.video_folder import VideoFile, VideoFolder
from vidsampler.extract import find_videos
from vidsampler.files import no_folder, to_json_bytes
from vidsampler.joined import DATASET, dataset_headers
from vidsampler.loading.loader import Loader, LoaderConfig
from vidsampler.loading.split import Split
from vidsampler.retriever import Retriever
from vidsampler.shards.errors import left_out


@dataclass(frozen=True, eq=False)
class EvalSplit:
    """A split that is ready to be embedded.

    Attributes:
        source: Of the frames of its V videos.
        keys: Their ids.
        fingerprint: Of what the source reads.
        texts: The U distinct captions.
        wordings_T: (T,) the words of each caption.
        owners_T: (T,) the video of each caption.
        training_captions: Gives the distinct captions of split train.
        missing: Ids whose video is not there, or could not be read when the shards were made.
        unreadable: The latter.
        protocol: How captions and videos belong together.
    """

    source: Source
    keys: list[str]
    fingerprint: str
    texts: list[str]
    wordings_T: Ints
    owners_T: Ints
    training_captions: Callable[[], list[str]]
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    protocol: str | None = None


def open_split(
    plan: Plan,
    retriever: Retriever,
    *,
    batch_size: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> EvalSplit:
    """Finds the videos and captions of a plan's split; nothing is decoded yet.

    Args:
        plan: What is evaluated.
        retriever: Says how many frames of which size are looked at.
        batch_size: Videos of a batch.
        workers: Decoding threads; None: as many as there are processors.
        progress: Of making the shards of `shapes`.

    Raises:
        UsageError: The shards are of another dataset, or nobody says where they are.
        InputError: The split is missing, empty, damaged or not finished, two videos have one id,
            or no video of it is there.
    """
    if plan.data.videos is not None:
        return _videos(plan, plan.data.videos, retriever, batch_size, workers)
    return _shards(plan, retriever, batch_size, workers, progress)


# -------------------------------------------------------------------- shards


def _shards(
    plan: Plan,
    retriever: Retriever,
    batch_size: int,
    workers: int | None,
    progress: Progress | None,
) -> EvalSplit:
    size = retriever.frame_size
    shards = _shards_folder(plan, size, progress)
    account = _account(shards, plan.data)
    folder = split_folder(shards, plan.data.split)
    _check_counted(shards, plan.data.split, account)
    loader = Loader(
        folder,
        LoaderConfig(
            frames=retriever.config.frames,
            size=size,
            captions="none",
            batch_size=batch_size,
            shuffle=False,
            drop_last=False,
            workers=workers,
            pin_memory=retriever.backbone.logit_scale.device.type == "cuda",
        ),
    )
    split = loader.split
    if not split.captions:
        split.need_captions()
    there = set(split.reader.sources.values())
    unreadable = [each.source for each in left_out(split.reader) if each.key]
    missing = list(account.get("missing", {}).get(plan.data.split, ()))
    content = [size, [[each.name, each.sha256] for each in split.reader.manifests]]
    return EvalSplit(
        source=loader,
        keys=split.keys,
        fingerprint=hashlib.sha256(to_json_bytes(content)).hexdigest(),
        texts=split.texts,
        wordings_T=split.wordings,
        owners_T=split.owners,
        training_captions=lambda: Split(split_folder(shards, "train")).texts,
        missing=[each for each in dict.fromkeys([*missing, *unreadable]) if each not in there],
        unreadable=unreadable,
        protocol=account.get("protocol"),
    )


def _shards_folder(plan: Plan, size: int, progress: Progress | None) -> Path:
    data = plan.data
    if data.shards is None and data.dataset != "shapes":
        raise UsageError(
            f"where are the videos of {data.dataset}?",
            hint="add --shards DIR, which vidsampler shard made, or --videos DIR --annotations DIR",
        )
    check_shards(data.dataset, data.shards)
    render = ShapesSettings()
    if data.dataset == "shapes":
        settings = datasets.settings_of("shapes", _reader_layers(plan))
        assert isinstance(settings, ShapesDataset)
        render = settings.render
    elif any(layer.values for layer in _reader_layers(plan)):
        raise UsageError(
            "settings of the dataset are for --videos: shards were made with their own",
            hint="make the shards again with them: vidsampler shard --dataset",
        )
    return dataset_shards(
        data.dataset,
        data.shards,
        render=render,
        frames=plan.config.frames,
        size=size,
        progress=progress,
    )


def _account(shards: Path, data: Data) -> dict[str, Any]:
    """What ``dataset.json`` says, if `vidsampler shard --dataset` wrote one.

    Raises:
        UsageError: The shards are of another dataset.
    """
    path = shards / DATASET
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}", code="damaged") from error
    if not isinstance(found, dict) or not isinstance(found.get("missing", {}), dict):
        raise InputError(f"{path}: not the account of a dataset", code="damaged")
    if found.get("dataset") != data.dataset:
        raise UsageError(
            f"{shards} holds shards of {found.get('dataset')}, not of {data.dataset}",
            hint=f"give --dataset {found.get('dataset')}, or other --shards",
        )
    return found


def _check_counted(shards: Path, split: str, account: dict[str, Any]) -> None:
    """Whether it is known what a split lacks.

    Raises:
        InputError: Its shards are all there, but `vidsampler shard` was interrupted before it
            could say so.
    """
    if split in dataset_headers(shards) and split not in account.get("splits", {}):
        raise InputError(
            f"{shards}: {DATASET} does not say which videos of split {split} are missing",
            hint="run the vidsampler shard command that was interrupted again",
            code="uncommitted",
        )


# -------------------------------------------------------------------- videos


def _videos(
    plan: Plan, videos: Path, retriever: Retriever, batch_size: int, workers: int | None
) -> EvalSplit:
    data = plan.data
    read = datasets.read(
        data.dataset,
        data.annotations or videos,
        datasets.settings_of(data.dataset, _reader_layers(plan)),
    )
    records = read.split(data.split)
    if not records:
        raise InputError(f"split {data.split} of {data.dataset} is empty", code="empty")
    files, missing = _files(records, videos, data.split)
    number = {file.key: place for place, file in enumerate(files)}
    captions = [
        (number[record.video], caption)
        for record in records
        if record.video in number
        for caption in record.captions
    ]
    if not captions:
        raise InputError(
            f"no video of split {data.split} of {data.dataset} has a caption", code="captions"
        )
    known: dict[str, int] = {}
    wordings = [known.setdefault(caption, len(known)) for _, caption in captions]
    folder = VideoFolder(
        files, retriever, retriever.frame_size, batch_size=batch_size, workers=workers
    )
    return EvalSplit(
        source=folder,
        keys=folder.keys,
        fingerprint=folder.fingerprint,
        texts=list(known),
        wordings_T=np.array(wordings, np.int64),
        owners_T=np.array([owner for owner, _ in captions], np.int64),
        training_captions=lambda: list(
            dict.fromkeys(text for record in read.split("train") for text in record.captions)
        ),
        missing=missing,
        protocol=read.protocol,
    )


def _files(
    records: Sequence[Record], videos: Path, split: str
) -> tuple[list[VideoFile], list[str]]:
    """The files of a split's videos in its order, and the ids that have none."""
    if not videos.is_dir():
        raise no_folder(videos)
    matched = datasets.match_videos(records, find_videos(videos).paths)
    if not matched.found:
        raise InputError(
            f"{videos}: none of the {len(records):,} videos of split {split} is there; the first "
            f"is {records[0].video}",
            hint="--videos must hold them under the names of the annotations",
            code="missing",
        )
    files = [
        VideoFile(record.video, matched.found[record.video], record.start, record.end)
        for record in records
        if record.video in matched.found
    ]
    return files, list(matched.missing)


def _reader_layers(plan: Plan) -> list[Any]:
    return [layer_without(layer, ["name"]) for layer in plan.of_dataset]
