"""`msvd`: MSVD (YouTube2Text), about 40 captions a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vidsampler.datasets import normalised
from vidsampler.datasets.base import Annotations, DatasetReader, DatasetSettings, Record
from vidsampler.datasets.gather import CaptionsOf, choose, finish, tidy_captions
from vidsampler.datasets.reading import (
    damaged,
    expect,
    find,
    missing,
    need,
    not_found,
    read_ids,
    read_json,
    shown,
)
from vidsampler.datasets.safe_pickle import read_plain_pickle

PROTOCOL = "every caption is a query"
CAPTIONS = ("raw-captions.pkl", "captions_msvd.json", "captions.json")
LISTS = {split: f"{split}_list.txt" for split in ("train", "val", "test")}


def read(folder: Path, settings: DatasetSettings) -> Annotations:
    """Reads MSVD: captions from the pickle or a json, splits from three lists.

    Raises:
        InputError: A file is missing or damaged, or the pickle asks for more than plain data.
    """
    if normalised.is_instead(folder, (*CAPTIONS, *LISTS.values())):
        return normalised.read_splits("msvd", PROTOCOL, folder)
    path = need("msvd", folder, *CAPTIONS)
    counts: Counter[str] = Counter()
    captions = _read_captions(path, counts)
    files = [path]
    splits: dict[str, Iterable[Record]] = {}
    absent = {}
    for split, name in LISTS.items():
        if listed := find(folder, name):
            files.append(listed)
            splits[split] = choose(read_ids(listed, counts), listed, captions, path.name)
        else:
            absent[split] = f"{folder}: {not_found([name])}"
    if not splits:
        raise missing("msvd", folder, LISTS.values())
    return finish("msvd", PROTOCOL, splits, counts, files, absent)


def _read_captions(path: Path, counts: Counter[str]) -> CaptionsOf:
    pickled = path.suffix == ".pkl"
    whole = read_plain_pickle(path) if pickled else read_json(path, counts)
    expect(path, "", whole, dict, "captions by id")
    found: CaptionsOf = {}
    for video, captions in whole.items():
        where = f"key {video!r}"
        expect(path, where, video, str, "the id of a video")
        if not isinstance(captions, (list, tuple)):
            raise damaged(path, where, f"expected a list of captions, found {shown(captions)}")
        # The pickle has a list of words for each caption, the json the caption itself.
        texts = [_joined(path, where, each) for each in captions] if pickled else captions
        found[video] = tidy_captions(path, where, texts, counts)
    return found


def _joined(path: Path, where: str, words: object) -> object:
    if not isinstance(words, (list, tuple)):
        return words
    for word in words:
        expect(path, where, word, str, "a caption as a list of words")
    return " ".join(words)


READER = DatasetReader("msvd", read, DatasetSettings)
