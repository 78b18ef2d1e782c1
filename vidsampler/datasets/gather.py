"""From what the files say to records: captions tidied, repetitions counted, splits disjoint."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from vidsampler.datasets.base import Annotations, Record
from vidsampler.datasets.reading import damaged, expect, shown
from vidsampler.errors import InputError
from vidsampler.files import VIDEO_SUFFIXES

CaptionsOf = dict[str, tuple[str, ...]]

# DiDeMo's ids end as the files of its uploaders did, with a dot where they had no ending; ".null"
# is what the site said of one that it did not know.
_ENDINGS = VIDEO_SUFFIXES | {".", ".3g2", ".3gpp", ".divx", ".null", ".qt"}


def strip_extension(name: str) -> str:
    """An id or path without the endings of video files ("a.avi.mp4" is "a").

    Other dots stay: the clips of LSMDC have times in their names.
    """
    stem, suffix = os.path.splitext(name)
    while suffix.lower() in _ENDINGS:
        name = stem
        stem, suffix = os.path.splitext(name)
    return name


def tidy(caption: str) -> str:
    """The caption with single spaces, none at its ends."""
    return " ".join(caption.split())


def tidy_captions(
    path: Path, where: str, captions: object, counts: Counter[str]
) -> tuple[str, ...]:
    """A JSON list of captions, tidied; empty ones are counted and dropped.

    Raises:
        InputError: It is no list of text.
    """
    if not isinstance(captions, (list, tuple)):
        raise damaged(path, where, f"expected a list of captions, found {shown(captions)}")
    kept = []
    for number, caption in enumerate(captions):
        expect(path, f"{where}[{number}]", caption, str, "a caption")
        if text := tidy(caption):
            kept.append(text)
    counts["empty_captions_dropped"] += len(captions) - len(kept)
    return tuple(kept)


def paragraph(sentences: Iterable[str]) -> tuple[str, ...]:
    """The sentences joined to one caption; no caption where there is none."""
    joined = " ".join(sentences)
    return (joined,) if joined else ()


def one_caption_each(
    path: Path, lines: Iterable[tuple[int, str, str]], counts: Counter[str]
) -> CaptionsOf:
    """Captions of a table that has one for each video: id -> the caption, or none if it is empty.

    Args:
        path: The table, for errors.
        lines: (line, id, caption).
        counts: An id that is there again with the same caption is counted, and so is an empty one.

    Raises:
        InputError: An id is empty, or has two captions.
    """
    found: CaptionsOf = {}
    first: dict[str, int] = {}
    for line, video, caption in lines:
        if not video:
            raise damaged(path, f"line {line}", "expected the id of a video, found nothing")
        text = tidy(caption)
        captions = (text,) if text else ()
        if video in found:
            if found[video] != captions:
                problem = (
                    f"the id {video!r} is also on line {first[video]}, with another caption; "
                    "expected one caption a video"
                )
                raise damaged(path, f"line {line}", problem)
            counts["repeated_ids_dropped"] += 1
            continue
        counts["empty_captions_dropped"] += not text
        found[video], first[video] = captions, line
    return found


def records_of(captions: Mapping[str, tuple[str, ...]]) -> list[Record]:
    """One record for each id."""
    return [Record(video, each) for video, each in captions.items()]


def choose(
    listed: Mapping[str, int], path: Path, captions: Mapping[str, tuple[str, ...]], source: str
) -> list[Record]:
    """The records of a split that a list names.

    Args:
        listed: id -> line in the list.
        path: The list, for errors.
        captions: id -> captions.
        source: The files that they come from, for errors.

    Raises:
        InputError: An id has no annotations; the message has the first one and their number.
    """
    check_known(listed, path, captions, source)
    return [Record(video, captions[video]) for video in listed]


def check_known(listed: Mapping[str, int], path: Path, known: Collection[str], source: str) -> None:
    """Checks the ids of a list: (id -> line), its file, the ids that there are, their files.

    Raises:
        InputError: An id is not known; the message has the first one and the number of others.
    """
    strange = [video for video in listed if video not in known]
    if strange:
        more = f" (nor are {len(strange) - 1:,} more)" if len(strange) > 1 else ""
        problem = f"expected an id of {source}; {strange[0]!r} is not in there{more}"
        raise damaged(path, f"line {listed[strange[0]]}", problem)


def finish(
    dataset: str,
    protocol: str,
    splits: Mapping[str, Iterable[Record]],
    counts: Counter[str],
    files: Iterable[Path],
    absent: Mapping[str, str] | None = None,
) -> Annotations:
    """The annotations, after a look at what must hold for every dataset.

    Videos without a caption are dropped and counted. Captions that a video has twice are kept, as
    published counts include them, and counted.

    Raises:
        InputError: A video is in two splits, or a split has no caption at all.
    """
    owner: dict[str, str] = {}
    finished: dict[str, tuple[Record, ...]] = {}
    counts = Counter(counts)
    paths = tuple(files)
    place = ", ".join(map(str, paths))
    for name, records in splits.items():
        all_records = tuple(records)
        kept = tuple(record for record in all_records if record.captions)
        counts["videos_without_captions_dropped"] += len(all_records) - len(kept)
        if all_records and not kept:
            raise InputError(
                f"{place}: expected captions, found none for any video of the split {name!r}",
                code="empty",
            )
        for record in kept:
            other = owner.setdefault(record.video, name)
            if other != name:
                raise InputError(
                    f"{place}: expected each video in one split, found {record.video!r} in "
                    f"{other!r} and in {name!r}",
                    code="damaged",
                )
            counts["repeated_captions_kept"] += len(record.captions) - len(set(record.captions))
        finished[name] = kept
    notes = {name: count for name, count in sorted(counts.items()) if count}
    return Annotations(dataset, protocol, finished, notes, paths, dict(absent or {}))
