"""`msrvtt`: MSR-VTT 1k-A, 9,000 (or 7,010) videos to train on and 1,000 test pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidsampler.datasets import normalised
from vidsampler.datasets.base import (
    Annotations,
    DatasetReader,
    DatasetSettings,
    Record,
    at_least,
)
from vidsampler.datasets.gather import choose, finish, one_caption_each
from vidsampler.datasets.msrvtt_json import JOINED, OFFICIAL, read_msrvtt_json
from vidsampler.datasets.reading import damaged, find, missing, not_found, read_table
from vidsampler.datasets.splits import NO_VAL, with_val

PROTOCOL = "one caption a test video"
TEST = "MSRVTT_JSFUSION_test.csv"


@dataclass(frozen=True)
class MsrvttSettings(DatasetSettings):
    """Settings of `msrvtt`.

    Attributes:
        train_list: Which list of train videos: MSRVTT_train.9k.csv or MSRVTT_train.7k.csv.
        val: Videos held out of the list for validation, by a fixed rule: those ids whose SHA-256
            is smallest. 0: none.
    """

    train_list: Literal["9k", "7k"] = "9k"
    val: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, val=self.val)


def read(folder: Path, settings: MsrvttSettings) -> Annotations:
    """Reads MSR-VTT with the lists of the 1k-A split.

    Train and validation videos have all their 20 captions, test videos the one of the list.

    Raises:
        InputError: A file is missing or damaged.
    """
    train_name = f"MSRVTT_train.{settings.train_list}.csv"
    if normalised.is_instead(folder, (JOINED, *OFFICIAL, train_name, TEST)):
        return normalised.read_splits("msrvtt", PROTOCOL, folder, val=settings.val)
    train_list, test_list = find(folder, train_name), find(folder, TEST)
    if train_list is None and test_list is None:
        raise missing("msrvtt", folder, (train_name, TEST))
    counts: Counter[str] = Counter()
    source = read_msrvtt_json("msrvtt", folder, counts)
    files = list(source.files)
    splits: dict[str, Iterable[Record]] = {}
    absent: dict[str, str] = {}
    if train_list:
        files.append(train_list)
        listed: dict[str, int] = {}
        for row in read_table(train_list, ["video_id"]):
            if listed.setdefault(row.values["video_id"].strip(), row.line) != row.line:
                counts["repeated_ids_dropped"] += 1
        train = choose(listed, train_list, source.captions, source.names)
        splits = with_val({"train": train}, settings.val, counts)
    else:
        absent |= dict.fromkeys(("train", "val"), f"{folder}: {not_found([train_name])}")
    if test_list:
        files.append(test_list)
        rows = read_table(test_list, ["video_id", "sentence"])
        lines = [(row.line, row.values["video_id"].strip(), row.values["sentence"]) for row in rows]
        tested = one_caption_each(test_list, lines, counts)
        for line, video, _ in lines:
            if video not in source.captions:
                problem = f"expected an id of {source.names}, found {video!r}"
                raise damaged(test_list, f"line {line}", problem)
        splits["test"] = [Record(video, captions) for video, captions in tested.items()]
    else:
        absent["test"] = f"{folder}: {not_found([TEST])}"
    if "val" not in splits:
        absent.setdefault("val", NO_VAL)
    return finish("msrvtt", PROTOCOL, splits, counts, files, absent)


READER = DatasetReader("msrvtt", read, MsrvttSettings)
