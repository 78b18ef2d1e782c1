"""The split files of published systems: {id: {extension, sentences[, timestamps, duration]}}.

Any dataset may come in this form, as train.json, val.json and test.json. The original files of
ActivityNet Captions, {id: {duration, timestamps, sentences}}, read the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vidsampler.datasets.base import Annotations, Record
from vidsampler.datasets.gather import (
    CaptionsOf,
    finish,
    paragraph,
    records_of,
    strip_extension,
    tidy_captions,
)
from vidsampler.datasets.reading import damaged, expect, find, member, not_found, read_json
from vidsampler.datasets.splits import with_val

FILES = {"train": "train.json", "val": "val.json", "test": "test.json"}


def read_map(path: Path, counts: Counter[str]) -> CaptionsOf:
    """One such file: id without the ending of a video file -> its sentences, tidied.

    Raises:
        InputError: The file is damaged; the message has the key.
    """
    whole = read_json(path, counts)
    expect(path, "", whole, dict, "an object of the form {id: {sentences: [...]}}")
    found: CaptionsOf = {}
    raw_ids: dict[str, str] = {}
    for raw, each in whole.items():
        sentences = member(path, f"key {raw!r}", each, "sentences")
        video = strip_extension(raw)
        other = raw_ids.setdefault(video, raw)
        if other != raw:
            raise damaged(path, f"key {raw!r}", f"expected another id than that of {other!r}")
        found[video] = tidy_captions(path, f"key {raw!r}: sentences", sentences, counts)
    return found


def as_paragraphs(sentences: CaptionsOf) -> CaptionsOf:
    """The sentences of each video joined to one caption."""
    return {video: paragraph(each) for video, each in sentences.items()}


def is_instead(folder: Path, own: Iterable[str]) -> bool:
    """Whether the folder has files of this form, and none of a dataset's own."""
    return find(folder, *own) is None and find(folder, *FILES.values()) is not None


def read_splits(
    dataset: str, protocol: str, folder: Path, *, joined: bool = False, val: int = 0
) -> Annotations:
    """The splits of a folder in this form.

    Args:
        dataset: As it is registered.
        protocol: As it stands in `Annotations`.
        folder: Where train.json, val.json and test.json are, or some of them.
        joined: The sentences of a video make one caption, not one each.
        val: Where there is no val.json, hold so many out of train.

    Raises:
        InputError: A file is damaged, or an id is in two of them.
    """
    counts: Counter[str] = Counter()
    splits: dict[str, Iterable[Record]] = {}
    files = []
    for split, name in FILES.items():
        if path := find(folder, name):
            sentences = read_map(path, counts)
            splits[split] = records_of(as_paragraphs(sentences) if joined else sentences)
            files.append(path)
    if "val" not in splits:
        splits = with_val(splits, val, counts)
    absent = {
        split: f"{folder}: {not_found([name])}"
        for split, name in FILES.items()
        if split not in splits
    }
    return finish(dataset, protocol, splits, counts, files, absent)
