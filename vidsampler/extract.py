"""Folders of videos become shards (or frame folders), and nothing is lost on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler.errors import InputError, UsageError, unknown
from vidsampler.extraction.settings import ExtractConfig, Recipe
from vidsampler.files import Found, walk_videos
from vidsampler.lists import is_list, read_list

if TYPE_CHECKING:
    from vidsampler.extraction.folders import FolderJob
    from vidsampler.shards.build import Work
    from vidsampler.shards.job import Item, ShardJob
    from vidsampler.shards.run import Report


@dataclass(frozen=True)
class Videos:
    """The videos below a folder or in a list, or one video.

    Attributes:
        paths: Path below the folder, or as the list has it -> file.
        unreadable: Path below the folder -> why a folder there could not be looked into.
    """

    paths: dict[str, Path]
    unreadable: dict[str, InputError]


def find_videos(videos: str | Path, out: Path | None = None) -> Videos:
    """The videos to work on, in the order of their paths.

    Args:
        videos: A folder, walked through, a list of files (see `vidsampler.lists`), or one file.
        out: A folder to leave out.

    Raises:
        InputError: There is none, or the list cannot be read.
    """
    if is_list(videos):
        return Videos(read_list(videos), {})
    if not os.path.isdir(videos):
        from vidsampler.video.container import check_file

        check_file(Path(videos))
        return Videos({Path(videos).name: Path(videos)}, {})
    found: list[Found] = list(walk_videos(videos, leave_out=out))
    named = {os.path.relpath(each.path, videos): each for each in found}
    if not found:
        raise InputError(f"{videos}: the folder has no videos in it", code="missing")
    return Videos(
        {name: Path(each.path) for name, each in named.items() if each.error is None},
        {name: each.error for name, each in named.items() if each.error is not None},
    )


def extract(
    videos: str | Path,
    out: str | Path,
    config: ExtractConfig | None = None,
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    asked_to_stop: Callable[[], None] | None = None,
    **settings: Any,
) -> Report:
    """Stores frames of every video below a folder in shards.

    Running it again does only what is missing. A video that cannot be used is left out and listed
    in ``errors.jsonl``; all others are stored. The first Ctrl-C commits the shard at hand.

    Args:
        videos: A folder, walked through, one file, or a list of files: .txt, .csv or .jsonl.
        out: The folder for ``NNNNNN.tar`` and ``NNNNNN.json``, or for the frame folders.
        config: All settings.
        retry_failed: Try the videos again that failed in an earlier run.
        overwrite: Delete what earlier runs made in ``out`` and start again.
        progress: Called with how many videos are finished and how many there are to do.
        asked_to_stop: Called at the first Ctrl-C.
        settings: In place of ``config``: fields of `Recipe` and of `ExtractConfig` by name, such as
            ``fps=3, size=224, store="mp4"``.

    Returns:
        What was done.

    Raises:
        UsageError: The settings do not fit each other, or ``out`` is not free for them.
        InputError: There is no video.
        VidsamplerError: ``out`` cannot be written; what is committed stays.
        KeyboardInterrupt: A second Ctrl-C.

    Example:
        >>> import vidsampler
        >>> vidsampler.extract("videos/", "shards/", frames=16)      # doctest: +SKIP
    """
    from vidsampler.config import to_plain
    from vidsampler.shards.run import run

    config = config_of(config, settings).explicit()
    if config.engine == "ray":
        from vidsampler.shards.cluster import check_ray

        check_ray()
    # Workers on other nodes have other current folders.
    out = Path(out).absolute() if config.engine == "ray" else Path(out)
    found = find_videos(videos, out)
    return run(
        _open_job(out, config, overwrite=overwrite),
        list(found.paths),
        "vidsampler.extraction.video:store_video",
        _Worker(found.paths, config),
        out=out,
        config=to_plain(config),
        not_found=found.unreadable,
        workers=config.workers,
        timeout=config.timeout,
        engine=config.engine,
        address=config.address,
        retry_failed=retry_failed,
        progress=progress,
        asked_to_stop=asked_to_stop,
    )


def config_of(config: ExtractConfig | None, settings: dict[str, Any]) -> ExtractConfig:
    """The settings of a call from Python.

    Raises:
        UsageError: An unknown name, or both ways at once.
    """
    if config is not None:
        if settings:
            raise UsageError("give either a config or settings by name, not both")
        return config
    of_recipe = {each.name for each in fields(Recipe)}
    of_job = {each.name for each in fields(ExtractConfig)} - {"recipe"}
    for name in settings:
        if name not in of_recipe | of_job:
            raise UsageError(unknown("setting", name, sorted(of_recipe | of_job)))
    recipe = Recipe(**{name: value for name, value in settings.items() if name in of_recipe})
    rest = {name: value for name, value in settings.items() if name in of_job}
    return ExtractConfig(recipe=recipe, **rest)


class _Worker:
    """Makes the work of an item."""

    def __init__(self, paths: dict[str, Path], config: ExtractConfig) -> None:
        self._paths = paths
        self._config = config

    def __call__(self, item: Item, spool: Path) -> Work:
        from vidsampler.extraction.video import VideoTask
        from vidsampler.shards.build import Work

        path = self._paths.get(item.source)
        if path is None:
            return Work(None, problem=("missing", f"{item.source}: the file is gone"))
        task = VideoTask(
            item.key,
            item.source,
            path.absolute() if self._config.engine == "ray" else path,
            self._config.recipe,
            spool,
            folders=self._config.layout == "folders",
            timeout=self._config.timeout,
        )
        try:
            return Work(task, spool, float(path.stat().st_size), reads=task.path)
        except OSError:
            return Work(task, spool)


def _open_job(out: Path, config: ExtractConfig, *, overwrite: bool) -> FolderJob | ShardJob:
    from vidsampler.extraction.folders import FolderJob
    from vidsampler.shards.folder import OutputFolder
    from vidsampler.shards.job import ShardJob
    from vidsampler.shards.manifest import FORMAT

    recipe = config.recipe.to_json()
    header = {"format": FORMAT, "layout": config.layout, "recipe": recipe}
    if config.layout == "folders":
        return FolderJob(OutputFolder(out, header, overwrite))
    header["per_shard"] = config.per_shard
    return ShardJob(OutputFolder(out, header, overwrite), recipe, config.per_shard)
