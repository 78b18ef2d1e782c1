"""`msrvtt-full`: MSR-VTT with its official splits, 6,513 / 497 / 2,990 videos, 20 captions each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vidsampler.datasets.base import Annotations, DatasetReader, DatasetSettings, Record
from vidsampler.datasets.gather import finish
from vidsampler.datasets.msrvtt_json import read_msrvtt_json
from vidsampler.errors import InputError, unknown

PROTOCOL = "every caption is a query"
_SPLITS = {"train": "train", "validate": "val", "test": "test"}


def read(folder: Path, settings: DatasetSettings) -> Annotations:
    """Reads MSR-VTT with the splits that its json names.

    Raises:
        InputError: A file is missing or damaged.
    """
    counts: Counter[str] = Counter()
    source = read_msrvtt_json("msrvtt-full", folder, counts)
    splits: dict[str, list[Record]] = {}
    for video, captions in source.captions.items():
        official = source.official.get(video, "")
        if official not in _SPLITS:
            found = unknown("split", official, _SPLITS)
            message = f"{folder}: {source.names}: the video {video!r}: {found}"
            raise InputError(message, code="damaged")
        splits.setdefault(_SPLITS[official], []).append(Record(video, captions))
    absent = {
        name: f"{source.names} names no video of it"
        for name in _SPLITS.values()
        if name not in splits
    }
    return finish("msrvtt-full", PROTOCOL, splits, counts, source.files, absent)


READER = DatasetReader("msrvtt-full", read, DatasetSettings)
