"""Shards of a folder of videos without captions, made in the cache on first use."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidsampler.config import Layer, cache_dir
from vidsampler.errors import InputError
from vidsampler.files import to_json_bytes

if TYPE_CHECKING:
    from vidsampler.shards.manifest import Failure

STORED = 128
"""Frames of a video that are stored, evenly spread: at most so many, whatever its length."""

_QUALITY = 92
_LEAST = 4
"""Videos of a split."""
_TRIES = 64
"""Shares that are tried, those nearest to what is asked for."""


def folder_shards(
    videos: Path,
    *,
    size: int,
    val: float,
    seed: int,
    groups: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder of the shards of all videos below a folder, with ``train`` and ``val``.

    Each video is decoded once, `STORED` frames of it; the same files by name, size and time of
    change, and the same settings, are not looked at again.

    Args:
        videos: The folder.
        size: Pixels of the shorter side.
        val: The share that is not trained on; see `divided`.
        seed: Of that share.
        groups: A table with the columns video and group; videos of a group stay on one side.
        progress: Called with videos that are done, and all.

    Raises:
        InputError: There are no videos, or too few, or none of a split can be used.
        VidsamplerError: The cache cannot be written.
        KeyboardInterrupt: The user ended it.
    """
    from vidsampler.cached_shards import alone
    from vidsampler.datasets.folder import list_videos
    from vidsampler.join import join, join_config
    from vidsampler.joined import DATASET

    names = list_videos(videos)
    val, split_of = divided(videos, names, val, seed, groups)
    stats = [os.stat(videos / name) for name in names]
    files = [
        [name, each.st_size, each.st_mtime_ns] for name, each in zip(names, stats, strict=True)
    ]
    recipe = {"frames": STORED, "size": size, "quality": _QUALITY}
    content = to_json_bytes([str(videos.resolve()), files, sorted(split_of.items()), recipe])
    shards = cache_dir() / "folder" / hashlib.sha256(content).hexdigest()[:16]
    if not (shards / DATASET).is_file():
        with alone(shards):
            # Another process may have made them meanwhile; then nothing is left to do.
            settings = {"val": val, "seed": seed, "groups": None if groups is None else str(groups)}
            layer = Layer("{key}", {"dataset": settings, "recipe": recipe})
            joined = join(videos, shards, None, join_config("folder", [layer]), progress=progress)
            if joined.interrupted:
                raise KeyboardInterrupt
    _check_usable(videos, shards, len(names))
    return shards


def divided(
    videos: Path, names: Sequence[str], val: float, seed: int, groups: Path | None
) -> tuple[float, dict[str, str]]:
    """Divides videos so that both ``train`` and ``val`` have enough to make montages of.

    Args:
        videos: The folder, for messages.
        names: Paths of the videos below it.
        val: The share of ``val``; where a split would have too few, the nearest that will do.
        seed: As of `folder_shards`.
        groups: Likewise.

    Returns:
        The share, and video -> split.

    Raises:
        InputError: There are too few videos, or groups leave too few to a split.
    """
    from vidsampler.datasets.folder import FolderSettings, split_videos

    count = len(names)
    enough = range(_LEAST, count - _LEAST + 1)
    nearest = sorted(enough, key=lambda size: abs(size - val * count))[:_TRIES]
    few: list[tuple[int, str]] = []
    for share in (val, *(size / count for size in nearest)):
        split_of = split_videos(names, FolderSettings(val=share, seed=seed, groups=groups))
        found = Counter(split_of.values())
        few.append(min((found[split], split) for split in ("train", "val")))
        if few[-1][0] >= _LEAST:
            return share, split_of
    number, split = few[0]
    within, hint = "", f"there must be {2 * _LEAST} videos at least"
    if count >= 2 * _LEAST and groups is not None:
        within, hint = f" in the groups of {groups}", "groups stay together: make smaller ones"
    raise InputError(
        f"{videos}: {count} videos{within} leave {number} for the split {split}, which needs "
        f"{_LEAST} to make montages of",
        code="too-few",
        hint=hint,
    )


def _check_usable(videos: Path, shards: Path, count: int) -> None:
    from vidsampler.shards import Reader
    from vidsampler.shards.errors import left_out

    failed: list[Failure] = []
    usable: dict[str, int] = {}
    for split in ("train", "val"):
        with Reader(shards / split) as reader:
            usable[split] = len(reader)
            failed += left_out(reader)
    for split, number in usable.items():
        if number < _LEAST:
            raise InputError(
                f"{videos}: {len(failed)} of {count} videos cannot be used, such as "
                f"{failed[0].message}; that leaves {number} for the split {split}, which needs "
                f"{_LEAST} to make montages of",
                code="too-few",
            )
