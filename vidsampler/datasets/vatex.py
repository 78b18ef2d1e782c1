"""`vatex`: VATEX, ten English captions a video, with the split lists of the field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vidsampler.datasets import normalised
from vidsampler.datasets.base import Annotations, DatasetReader, DatasetSettings, Record
from vidsampler.datasets.gather import CaptionsOf, choose, finish, records_of, tidy_captions
from vidsampler.datasets.reading import (
    damaged,
    expect,
    find,
    member,
    missing,
    not_found,
    read_ids,
    read_json,
)

PROTOCOL = "every English caption is a query"
FILES = {
    "train": "vatex_training_v1.0.json",
    "val": "vatex_validation_v1.0.json",
    "test": "vatex_public_test_english_v1.1.json",
}
LISTS = {split: f"{split}_list.txt" for split in FILES}


def read(folder: Path, settings: DatasetSettings) -> Annotations:
    """Reads VATEX: English captions from its json files, splits from the lists if there are any.

    Without lists each file is a split of its own. The clips are cut, as the ids say.

    Raises:
        InputError: A file is missing or damaged, or a list names a video without captions.
    """
    if normalised.is_instead(folder, (*FILES.values(), *LISTS.values())):
        return normalised.read_splits("vatex", PROTOCOL, folder)
    paths = {split: path for split, name in FILES.items() if (path := find(folder, name))}
    if not paths:
        raise missing("vatex", folder, FILES.values())
    counts: Counter[str] = Counter()
    captions: CaptionsOf = {}
    files, absent = list(paths.values()), {}
    own: dict[str, CaptionsOf] = {}
    for split, path in paths.items():
        own[split] = _read_captions(path, counts)
        captions |= own[split]
    lists = {split: path for split, name in LISTS.items() if (path := find(folder, name))}
    splits: dict[str, Iterable[Record]] = {}
    if not lists:
        splits = {split: records_of(each) for split, each in own.items()}
    source = " or ".join(path.name for path in files)
    for split, path in lists.items():
        listed = read_ids(path, counts)
        if not captions.keys() & listed.keys() and len(paths) < len(FILES):
            others = [name for name in FILES.values() if folder / name not in files]
            absent[split] = f"{source} has none of its videos, and {not_found(others)}"
            continue
        files.append(path)
        splits[split] = choose(listed, path, captions, source)
    if not splits:
        raise missing("vatex", folder, [name for name in FILES.values() if not find(folder, name)])
    names = LISTS if lists else FILES
    for split, name in names.items():
        if split not in splits:
            absent.setdefault(split, f"{folder}: {not_found([name])}")
    return finish("vatex", PROTOCOL, splits, counts, files, absent)


def _read_captions(path: Path, counts: Counter[str]) -> CaptionsOf:
    whole = read_json(path)
    expect(path, "", whole, list, "a list of videos")
    found: CaptionsOf = {}
    for number, each in enumerate(whole):
        video = member(path, f"[{number}]", each, "videoID")
        expect(path, f"[{number}].videoID", video, str, "the id of a video")
        where = f"[{number}] ({video}).enCap"
        captions = member(path, f"[{number}] ({video})", each, "enCap")
        if video in found:
            if found[video] != tidy_captions(path, where, captions, Counter()):
                problem = "the id is there twice, with other captions; expected it once"
                raise damaged(path, f"[{number}] ({video})", problem)
            counts["repeated_ids_dropped"] += 1
            continue
        found[video] = tidy_captions(path, where, captions, counts)
    return found


READER = DatasetReader("vatex", read, DatasetSettings)
