"""Which file belongs to which id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from vidsampler.datasets.base import Record
from vidsampler.datasets.gather import strip_extension
from vidsampler.errors import InputError

T = TypeVar("T")


class Matched(NamedTuple, Generic[T]):
    """The result of `match_videos`.

    Attributes:
        found: id -> what is available for it, in the order of the records.
        missing: ids for which nothing is, in the same order.
    """

    found: dict[str, T]
    missing: tuple[str, ...]


def match_videos(records: Iterable[Record], available: Mapping[str, T]) -> Matched[T]:
    """Finds each record's video among files, shards' keys or folders of frames.

    The first of these ways that finds something counts: the very same name; the same path below
    the folder; the same last part of the path (so `movie/clip` is found as `clip` and the other
    way round); the same last part but for a leading "v_". From the second way on, endings of video
    files do not count, on either side. What one id names exactly is no other id's.

    Args:
        records: Whose `video` is looked for.
        available: relative path with "/" or stem, with or without an ending -> anything.

    Raises:
        InputError: Two files fit one id, or two ids fit one file; the message names both.
    """
    records = tuple(records)
    exact = {record.video for record in records} & available.keys()
    paths: dict[str, list[str]] = defaultdict(list)
    stems: dict[str, list[str]] = defaultdict(list)
    bare: dict[str, list[str]] = defaultdict(list)
    for key in available:
        if key in exact:
            continue
        path = strip_extension(key)
        stem = path.rpartition("/")[2]
        paths[path].append(key)
        stems[stem].append(key)
        bare[stem.removeprefix("v_")].append(key)
    found: dict[str, T] = {}
    owners: dict[str, str] = {}
    missing = []
    for record in records:
        video = record.video
        path = strip_extension(video)
        stem = path.rpartition("/")[2]
        # An id without a folder fits a file at the top no better than one further down.
        ways = [paths.get(path)] if "/" in path else []
        ways += [stems.get(stem), bare.get(stem.removeprefix("v_"))]
        keys = [video] if video in exact else next((way for way in ways if way), [])
        if not keys:
            missing.append(video)
            continue
        if len(keys) > 1:
            raise InputError(
                f"two videos fit the id {video!r}: {keys[0]} and {keys[1]}",
                code="ambiguous",
                hint="move one of them away, or rename it",
            )
        other = owners.setdefault(keys[0], video)
        if other != video:
            raise InputError(
                f"the video {keys[0]} fits two ids: {other!r} and {video!r}", code="ambiguous"
            )
        found[video] = available[keys[0]]
    return Matched(found, tuple(missing))
