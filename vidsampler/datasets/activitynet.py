"""`activitynet`: ActivityNet Captions, the sentences of a video joined to one paragraph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vidsampler.datasets import normalised
from vidsampler.datasets.base import (
    Annotations,
    DatasetReader,
    DatasetSettings,
    Record,
    at_least,
)
from vidsampler.datasets.gather import finish, records_of
from vidsampler.datasets.reading import find, missing, not_found
from vidsampler.datasets.splits import NO_VAL, with_val

PROTOCOL = "paragraph: all sentences of a video joined"
FILES = {
    "train": ("train.json", "train_normalised.json"),
    "test": ("val_1.json", "val.json", "val_normalised.json"),
}


@dataclass(frozen=True)
class ActivitynetSettings(DatasetSettings):
    """Settings of `activitynet`.

    Attributes:
        val: Videos held out of train for validation, those ids whose SHA-256 is smallest. 0:
            none, and there is no split to choose a checkpoint on but the one that is reported.
    """

    val: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, val=self.val)


def read(folder: Path, settings: ActivitynetSettings) -> Annotations:
    """Reads ActivityNet Captions, in its original form or the normalised one.

    The field reports on the file called val_1, so that is the split `test` here. With a test.json
    beside it, val.json is what it says.

    Raises:
        InputError: A file is missing or damaged.
    """
    if find(folder, "test.json"):
        return normalised.read_splits(
            "activitynet", PROTOCOL, folder, joined=True, val=settings.val
        )
    paths = {split: path for split, names in FILES.items() if (path := find(folder, *names))}
    if not paths:
        raise missing("activitynet", folder, [name for names in FILES.values() for name in names])
    counts: Counter[str] = Counter()
    read_ones = {split: normalised.read_map(path, counts) for split, path in paths.items()}
    splits: dict[str, Iterable[Record]] = {
        split: records_of(normalised.as_paragraphs(each)) for split, each in read_ones.items()
    }
    absent = {
        split: f"{folder}: {not_found(names)}"
        for split, names in FILES.items()
        if split not in paths
    }
    splits = with_val(splits, settings.val, counts)
    if "val" not in splits:
        absent["val"] = NO_VAL
    return finish("activitynet", PROTOCOL, splits, counts, paths.values(), absent)


READER = DatasetReader("activitynet", read, ActivitynetSettings)
