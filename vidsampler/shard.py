"""Frames that are already pictures, in shards or folders, become shards of another cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidsampler.errors import InputError, UsageError, unknown
from vidsampler.files import no_folder, unreadable_folder
from vidsampler.lists import is_list
from vidsampler.packing.settings import ShardConfig

if TYPE_CHECKING:
    from vidsampler.shards.build import Work
    from vidsampler.shards.job import Item
    from vidsampler.shards.run import Report


@dataclass(frozen=True)
class Source:
    """What is to be packed.

    Attributes:
        folder: Where it is.
        kind: ``shards``, ``folders`` of pictures, or ``videos``.
        origins: Path below the folder of videos -> its key, if it has one, and the file or folder
            that the worker reads.
        recipe: How the frames were made, as far as that is known.
        unreadable: Path below the folder -> why a folder there could not be looked into.
    """

    folder: Path
    kind: Literal["shards", "folders", "videos"]
    origins: Mapping[str, tuple[str | None, Path]]
    recipe: dict[str, Any]
    unreadable: Mapping[str, InputError] = field(default_factory=dict)


def find_source(folder: str | Path) -> Source:
    """Looks what a folder holds: shards, or folders of pictures.

    Raises:
        InputError: Neither, or damaged shards.
    """
    folder = _folder(folder)
    found = _shards(folder) or _folders(folder)
    if found is None:
        raise InputError(
            f"{folder}: there are neither shards nor folders of pictures in it",
            hint="make shards of videos: vidsampler extract VIDEOS OUT",
            code="missing",
        )
    return found


def find_any_source(folder: str | Path, leave_out: Path | None = None) -> Source:
    """Looks what a folder holds: shards, videos, or folders of pictures; or reads a list of videos.

    Raises:
        InputError: None of them, or damaged shards.
    """
    from vidsampler.extract import find_videos
    from vidsampler.shards.folder import PLAN
    from vidsampler.shards.manifest import committed

    if is_list(folder):
        videos = find_videos(folder)
        origins = {name: (None, path) for name, path in videos.paths.items()}
        return Source(Path(folder), "videos", origins, {}, videos.unreadable)
    folder = _folder(folder)
    # A tar alone may be what the videos came in.
    if (committed(folder) or (folder / PLAN).exists()) and (found := _shards(folder)):
        return found
    try:
        videos = find_videos(folder, leave_out)
    except InputError:
        if found := _shards(folder) or _folders(folder):
            return found
        raise InputError(
            f"{folder}: there are neither shards nor videos nor folders of pictures in it",
            code="missing",
        ) from None
    origins = {name: (None, path) for name, path in videos.paths.items()}
    return Source(folder, "videos", origins, {}, videos.unreadable)


def _folder(folder: str | Path) -> Path:
    if not Path(folder).is_dir():
        raise no_folder(folder)
    return Path(folder)


def _shards(folder: Path) -> Source | None:
    from vidsampler.shards import Reader
    from vidsampler.shards.folder import check_finished
    from vidsampler.shards.manifest import committed

    if not committed(folder) and not any(folder.glob("*.tar")):
        return None
    with Reader(folder) as reader:
        check_finished(folder)
        origins = {source: (key, folder) for key, source in reader.sources.items()}
        return Source(folder, "shards", origins, reader.manifests[0].recipe)


def _folders(folder: Path) -> Source | None:
    from vidsampler.packing.samples import PICTURES
    from vidsampler.shards.folder import PLAN
    from vidsampler.shards.writer import is_aside

    found: dict[str, tuple[str | None, Path]] = {}
    unreadable: dict[str, InputError] = {}

    def note(error: OSError) -> None:
        unreadable[os.path.relpath(error.filename, folder)] = unreadable_folder(error)

    for parent, folders, files in os.walk(folder, onerror=note):
        extracted = PLAN in files
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            # What `verify --repair` has put aside is no video.
            and not (extracted and is_aside(name) and f"{name}.json" not in files)
        )
        if any(name.lower().endswith(PICTURES) for name in files) and Path(parent) != folder:
            found[os.path.relpath(parent, folder)] = (None, Path(parent))
    return Source(folder, "folders", found, {}, unreadable) if found or unreadable else None


def packed(source: Source, config: ShardConfig) -> dict[str, Any]:
    """The recipe of samples that are packed from a source.

    Raises:
        UsageError: Some frames of mp4 files are wanted.
    """
    recipe = {"from": source.kind, **source.recipe}
    if config.frames is not None:
        if source.recipe.get("store") == "mp4":
            raise UsageError(
                f"{source.folder}: its frames are in mp4 files, of which --frames cannot choose "
                "some",
                hint="extract the videos again, with the frames that you need",
            )
        recipe |= {"kept": config.frames, "kept_positions": config.positions}
    return recipe


def shard(
    source: str | Path,
    out: str | Path,
    config: ShardConfig | None = None,
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    asked_to_stop: Callable[[], None] | None = None,
    **settings: Any,
) -> Report:
    """Packs frames that are already pictures into shards; the pictures are copied as they are.

    Args:
        source: A folder of shards, or one of folders of pictures (``VIDEO/image_00001.jpg``).
        out: The folder for the new shards.
        config: All settings.
        retry_failed, overwrite, progress, asked_to_stop: As for `vidsampler.extract.extract`.
        settings: In place of ``config``: fields of `ShardConfig` by name.

    Returns:
        What was done.

    Raises:
        UsageError: Wrong settings, or ``out`` is not free for them.
        InputError: There is nothing to pack, or the shards are damaged.
        VidsamplerError: ``out`` cannot be written; what is committed stays.

    Example:
        >>> import vidsampler
        >>> vidsampler.shard("shards/", "fewer/", shards=8)      # doctest: +SKIP
    """
    from vidsampler.config import to_plain
    from vidsampler.shards.folder import OutputFolder
    from vidsampler.shards.job import ShardJob
    from vidsampler.shards.manifest import FORMAT
    from vidsampler.shards.run import run

    if config is None:
        known = [each.name for each in fields(ShardConfig)]
        for name in settings:
            if name not in known:
                raise UsageError(unknown("setting", name, known))
        config = ShardConfig(**settings)
    elif settings:
        raise UsageError("give either a config or settings by name, not both")
    out = Path(out)
    if out.resolve() == Path(source).resolve():
        raise UsageError(f"{out}: the new shards cannot go where the old ones are")
    found = find_source(source)
    per_shard = config.per_shard
    if config.shards is not None:
        per_shard = max(1, -(-len(found.origins) // config.shards))
    recipe = packed(found, config)
    header = {"format": FORMAT, "layout": "shards", "recipe": recipe, "per_shard": per_shard}
    function = {"shards": "store_sample", "folders": "store_folder"}[found.kind]
    return run(
        ShardJob(
            OutputFolder(out, header, overwrite),
            recipe,
            per_shard,
            keys={source: key for source, (key, _) in found.origins.items() if key is not None},
            even=True,
            shards=config.shards,
        ),
        list(found.origins),
        f"vidsampler.packing.samples:{function}",
        _Worker(found, config),
        out=out,
        config=to_plain(config),
        not_found=found.unreadable,
        workers=config.workers,
        timeout=config.timeout,
        retry_failed=retry_failed,
        progress=progress,
        asked_to_stop=asked_to_stop,
    )


class _Worker:
    """Makes the work of an item."""

    def __init__(self, found: Source, config: ShardConfig) -> None:
        self._found = found
        self._config = config

    def __call__(self, item: Item, spool: Path) -> Work:
        from vidsampler.packing.samples import SampleTask
        from vidsampler.shards.build import Work

        if item.source not in self._found.origins:
            return Work(None, problem=("missing", f"{item.source}: it is gone"))
        key, origin = self._found.origins[item.source]
        frames, positions = self._config.frames, self._config.positions
        return Work(
            SampleTask(key or item.key, item.source, origin, spool, frames, positions), spool
        )
