"""Where the shards of a dataset are. Those of `shapes` are made in the cache on first use."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vidsampler.datasets.shapes.settings import ShapesSettings
from vidsampler.errors import InputError, UsageError, VidsamplerError
from vidsampler.files import no_folder

Progress = Callable[[int, int], None]
"""Called with the number of videos that are done, and of all videos."""


def dataset_shards(
    dataset: str,
    shards: Path | None,
    *,
    render: ShapesSettings,
    frames: int,
    size: int,
    progress: Progress | None = None,
) -> Path:
    """The folder of a dataset's shards, which has a folder for each split.

    Args:
        dataset: A registered dataset.
        shards: The folder that the user named, or None.
        render: What the videos of `shapes` are like.
        frames: Candidates of each video; of `shapes` so many are stored.
        size: Pixels of their shorter side, likewise.
        progress: Of rendering and packing `shapes`.

    Raises:
        UsageError, InputError: As `check_shards`.
        VidsamplerError: The cache cannot be written, or some videos cannot be packed.
        KeyboardInterrupt: The user ended it.
    """
    check_shards(dataset, shards)
    return shards or _shapes_shards(render, frames, size, progress)


def check_shards(
    dataset: str, shards: Path | None, splits: Iterable[str] = (), videos: Path | None = None
) -> None:
    """Whether it is known where the shards of a dataset are. It takes no time.

    Args:
        dataset: A registered dataset.
        shards: The folder that the user named, or None.
        splits: Which must be in it.
        videos: Of `folder`: what shards are made of.

    Raises:
        UsageError: No folder is named, and the dataset is not `shapes`.
        InputError: The folder is not there, or a split is not in it or not finished.
    """
    if shards is not None and not shards.is_dir():
        raise no_folder(shards, "of shards")
    if shards is None and dataset == "folder" and videos is not None:
        if not videos.is_dir():
            raise no_folder(videos, "of videos")
        return
    if shards is None and dataset == "folder":
        raise UsageError(
            "where are the videos?", hint="add --videos DIR, or --shards DIR, which shard made"
        )
    if shards is None and dataset != "shapes":
        raise UsageError(
            f"where are the shards of {dataset}?",
            hint=f"make them with: vidsampler shard VIDEOS OUT --dataset {dataset} --annotations "
            "DIR, then add --shards OUT",
        )
    if shards is not None:
        for split in splits:
            split_folder(shards, split)


def split_folder(shards: Path, split: str) -> Path:
    """The shards of one split.

    Raises:
        InputError: There is no such split, or not all of its shards are made yet.
    """
    from vidsampler.shards.folder import check_finished

    folder = shards / split
    if not folder.is_dir():
        there = sorted(each.name for each in shards.iterdir() if any(each.glob("*.tar")))
        if not there and any(shards.glob("*.tar")):
            raise InputError(
                f"{shards} holds shards without splits",
                hint="give the folder that holds it, or divide it with: vidsampler shard "
                f"{shards} OUT --dataset NAME --annotations DIR",
                code="split",
            )
        raise InputError(
            f"{shards}: there is no split {split}"
            + (f" (there are: {', '.join(there)})" if there else ""),
            hint="make it with: vidsampler shard SOURCE OUT --dataset NAME --annotations DIR"
            + (
                "; or choose the checkpoint by the test split as the published runs do "
                "(--select-on test), or take the last one (--evals-per-epoch 0)"
                if split == "val"
                else ""
            ),
            code="split",
        )
    check_finished(folder)
    return folder


def _shapes_shards(
    settings: ShapesSettings, frames: int, size: int, progress: Progress | None
) -> Path:
    from vidsampler.config import Layer
    from vidsampler.datasets.shapes import cached_folder, render
    from vidsampler.join import join, join_config
    from vidsampler.joined import DATASET

    videos = cached_folder(settings)
    shards = videos / f"shards-{frames}-of-{size}"
    if (shards / DATASET).is_file():
        return shards
    with alone(videos):
        if (shards / DATASET).is_file():
            return shards
        render(settings, videos, progress=progress)
        wanted = {"recipe": {"frames": frames, "size": size}}
        joined = join(
            videos,
            shards,
            None,
            join_config("shapes", [Layer("{key}", wanted)]),
            progress=progress,
        )
        if joined.interrupted:
            raise KeyboardInterrupt
        if joined.failed:
            raise VidsamplerError(
                f"{joined.failed} videos of {videos} cannot be packed",
                hint=f"remove {videos} and run again",
            )
    return shards


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time through: several ranks, or runs, may want the same videos."""
    from vidsampler.files import writing

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
