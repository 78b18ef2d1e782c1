"""What `embed` has to do: the videos that are there beside those that are in the index."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler.config import Layer
from vidsampler.errors import InputError, UsageError
from vidsampler.extract import find_videos
from vidsampler.search.entry import Stamp, stamp_of
from vidsampler.search.manifest import NAME, Failed, Kind, Manifest, read_manifest
from vidsampler.search.segment import Fact, facts_of
from vidsampler.search.settings import EmbedConfig, embed_config
from vidsampler.search.store import foreign
from vidsampler.shards import Reader
from vidsampler.shards.errors import left_out
from vidsampler.shards.folder import check_finished
from vidsampler.shards.manifest import Failure, committed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Source:
    """One video to look at.

    Attributes:
        path: Its file, or the folder of its shards.
        key: Of a sample of shards; None for a file.
        stamp: Likewise.
    """

    path: Path
    key: str | None = None
    stamp: Stamp | None = None


@dataclass(frozen=True)
class EmbedPlan:
    """What a run will do.

    Attributes:
        config: All settings.
        kind: `videos` or `shards`.
        folder: Where they are.
        index: Where the index is.
        sources: Path below the folder -> the video.
        unreadable: Path below the folder -> why a folder there could not be looked into, or a video
            is not in the shards.
        todo: The sources to embed, sorted.
        touched: Source -> the new stamp of a file that was touched but holds the same.
        gone: Sources to take out of the index.
        there: What is in the index.
        failed: What failed in an earlier run, and is left alone.
        manifest: The list of the index, if there is one that stays.
        overwrite: What was there is to be deleted.
        retry_failed: Nothing that failed before is left alone.
    """

    config: EmbedConfig
    kind: Kind
    folder: Path
    index: Path
    sources: Mapping[str, Source]
    unreadable: Mapping[str, Failure]
    todo: list[str]
    touched: dict[str, Stamp]
    gone: list[str]
    there: dict[str, Fact]
    failed: dict[str, Failed]
    manifest: Manifest | None
    overwrite: bool = False
    retry_failed: bool = False


def plan_embed(
    videos: Path,
    index: Path,
    layers: Sequence[Layer],
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
) -> EmbedPlan:
    """What `embed` would do; arguments and errors as there. Nothing is written."""

    check_free(index)
    check_videos(videos)
    manifest = None
    if (index / NAME).exists() and not overwrite:
        manifest = read_manifest(index)
    stored = None if manifest is None else manifest.config
    config = embed_config(layers, stored)
    kind: Kind = "shards" if _is_shards(videos) else "videos"
    if manifest is not None:
        _check_same(manifest, config, kind, index)
        _check_weights(manifest, config, index)
    sources, unreadable = _sources(videos, index, kind)
    there: dict[str, Fact] = {}
    if manifest is not None:
        there = {fact.source: fact for fact in facts_of(index, manifest)}
        _check_moved(manifest, videos, sources, there)
    failed = {} if manifest is None else manifest.failed
    todo: list[str] = []
    touched: dict[str, Stamp] = {}
    for source in sorted(sources):
        if source in there:
            same = same_as(sources[source], there[source].stamp)
            if same is None:
                todo.append(source)
            elif same != there[source].stamp:
                touched[source] = same
        elif source not in failed or retry_failed or _may_work(sources[source], failed[source]):
            todo.append(source)
    hidden = tuple(f"{folder}{os.sep}" for folder in unreadable)
    gone = [
        source
        for source in there
        if source not in sources and not source.startswith(hidden or ("\0",))
    ]
    return EmbedPlan(
        config=config,
        kind=kind,
        folder=Path(os.path.abspath(videos)),
        index=index,
        sources=sources,
        unreadable=unreadable,
        todo=todo,
        touched=touched,
        gone=gone,
        there=there,
        failed={
            source: each
            for source, each in failed.items()
            if source in sources and source not in todo
        },
        manifest=manifest,
        overwrite=overwrite and (index / NAME).exists(),
        retry_failed=retry_failed,
    )


def check_videos(videos: Path) -> None:
    """Whether there is a folder to look into.

    Raises:
        UsageError: It is a file.
        InputError: There is none.
    """
    if videos.is_file():
        raise UsageError(
            f"{videos} is a file; an index is made of a folder of videos or of shards",
            hint=f"give its folder: vidsampler embed {videos.parent} INDEX",
        )
    if not videos.is_dir():
        raise InputError(f"{videos}: no such folder of videos", code="missing")


def check_free(index: Path) -> None:
    """Whether a folder may become, or is, an index.

    Raises:
        UsageError: It may not.
    """
    if index.is_dir():
        others = foreign(index)
        if others and not (index / NAME).exists():
            raise UsageError(
                f"{index}: holds other things, such as {others[0]}",
                hint="name a new or an empty folder",
            )
    elif index.exists():
        raise UsageError(f"{index}: is not a folder", code="unwritable")


def _is_shards(folder: Path) -> bool:

    return bool(committed(folder))


def _sources(videos: Path, index: Path, kind: str) -> tuple[dict[str, Source], dict[str, Failure]]:
    if kind == "videos":
        found = find_videos(videos, index)
        return {name: Source(path) for name, path in found.paths.items()}, {
            name: Failure("", name, "find", error.code, error.message)
            for name, error in found.unreadable.items()
        }

    check_finished(videos)
    sources = {}
    reader = Reader(videos)
    for manifest in reader.manifests:
        for entry in manifest.entries:
            size = sum(size for _, size in entry.members)
            stamp = Stamp(size, 0, f"{manifest.sha256[:16]}:{entry.offset}")
            sources[entry.source] = Source(videos, entry.key, stamp)
    return sources, {each.source: each for each in left_out(reader)}


def same_as(source: Source, before: Stamp) -> Stamp | None:
    """The stamp of a video if it holds what it held before; None: it is another, or unreadable."""

    if source.stamp is not None:
        return source.stamp if source.stamp == before else None
    try:
        facts = source.path.stat()
        if (facts.st_size, facts.st_mtime_ns) == (before.size, before.mtime):
            return before
        if facts.st_size != before.size:
            return None
        now = stamp_of(source.path)
    except OSError:
        return None
    return now if now.digest == before.digest else None


def stamp_now(source: Source) -> Stamp | None:
    """The stamp of a video; None: it cannot be read."""

    if source.stamp is not None:
        return source.stamp
    try:
        return stamp_of(source.path)
    except OSError:
        return None


def _may_work(source: Source, failed: Failed) -> bool:
    """Whether a video that could not be used is another one now."""
    if failed.stamp is None:
        return stamp_now(source) is not None
    return same_as(source, failed.stamp) is None


def _check_same(manifest: Manifest, config: EmbedConfig, kind: str, index: Path) -> None:
    """Refuses to mix vectors of different makes."""

    hint = "name another folder, or start it again with --overwrite"
    if manifest.kind != kind:
        raise UsageError(f"{index} was made of {manifest.kind}, not of {kind}", hint=hint)
    before = _flat(embed_config([], manifest.config).identity())
    now = _flat(config.identity())
    if before != now:
        names = [name for name in before | now if before.get(name) != now.get(name)]
        different = ", ".join(
            f"{name} {before.get(name, 'unset')} (now {now.get(name, 'unset')})" for name in names
        )
        raise UsageError(f"{index} was made with other settings: {different}", hint=hint)


def _check_weights(manifest: Manifest, config: EmbedConfig, index: Path) -> None:
    """Refuses another checkpoint, even where nothing is to be embedded."""
    weights = config.weights
    if weights is None or os.path.abspath(weights) == manifest.checkpoint:
        return
    from vidsampler.search.encoding import checkpoint_fingerprint

    if (now := checkpoint_fingerprint(weights)) != manifest.fingerprint:
        raise made_with_other_weights(index, manifest.fingerprint, now)


def made_with_other_weights(index: Path, before: str, now: str) -> UsageError:
    """The error for vectors of two makes in one index."""
    return UsageError(
        f"{index} was made with other weights ({before}, now {now})",
        hint="name another folder, or start it again with --overwrite",
    )


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = (
            _flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
        )
        flat.update(inner)
    return flat


def _check_moved(
    manifest: Manifest, videos: Path, sources: dict[str, Source], there: dict[str, Fact]
) -> None:
    """Another folder with few of the videos is a slip, not a folder that was moved."""
    if manifest.folder == os.path.abspath(videos) or not there:
        return
    common = len(there.keys() & sources.keys())
    if 2 * common < len(there):
        raise UsageError(
            f"the index holds {len(there):,} videos of {manifest.folder}, and {videos} has "
            f"{common:,} of them: the others would be dropped",
            hint="name another index, or start this one again with --overwrite",
        )
