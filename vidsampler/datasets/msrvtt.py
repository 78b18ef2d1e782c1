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
from vidsampler.datasets.gather import (
    CaptionsOf,
    check_known,
    choose,
    finish,
    one_caption_each,
    records_of,
)
from vidsampler.datasets.msrvtt_json import JOINED, OFFICIAL, MsrvttJson, read_msrvtt_json
from vidsampler.datasets.reading import find, missing, not_found, once_each, read_table
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
    splits: dict[str, Iterable[Record]] = {}
    absent: dict[str, str] = {}
    if train_list is None:
        absent["train"] = f"{folder}: {not_found([train_name])}"
    else:
        rows = read_table(train_list, ["video_id"])
        listed = once_each(((row.line, row.values["video_id"].strip()) for row in rows), counts)
        if source.lacks and not source.captions.keys() >= listed.keys():
            problem = f"{source.names} has not all of its videos, and {not_found([source.lacks])}"
            absent["train"] = problem
        else:
            train = choose(listed, train_list, source.captions, source.names)
            splits = with_val({"train": train}, settings.val, counts)
    if test_list is None:
        absent["test"] = f"{folder}: {not_found([TEST])}"
    else:
        splits["test"] = records_of(_queries(test_list, source, counts))
    if "val" not in splits:
        absent["val"] = absent.get("train", NO_VAL)
    files = [*source.files, *filter(None, (train_list, test_list))]
    return finish("msrvtt", PROTOCOL, splits, counts, files, absent)


def _queries(path: Path, source: MsrvttJson, counts: Counter[str]) -> CaptionsOf:
    rows = read_table(path, ["video_id", "sentence"])
    lines = [(row.line, row.values["video_id"].strip(), row.values["sentence"]) for row in rows]
    found = one_caption_each(path, lines, counts)
    check_known({video: line for line, video, _ in lines}, path, source.captions, source.names)
    return found


READER = DatasetReader("msrvtt", read, MsrvttSettings)
