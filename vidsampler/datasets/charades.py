"""`charades`: Charades, one description a video."""

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
from vidsampler.datasets.gather import finish, one_caption_each, records_of, strip_extension
from vidsampler.datasets.reading import Row, damaged, find, missing, not_found, read_table
from vidsampler.datasets.splits import NO_VAL, with_val

PROTOCOL = "one description a video"
FILES = {split: (f"Charades_v1_{split}.csv", f"{split}.csv") for split in ("train", "test")}
# The original's names first, then what tables made from it use.
_ID = ("id", "video_id", "video")
_TEXT = ("descriptions", "description", "caption", "sentence", "text")


@dataclass(frozen=True)
class CharadesSettings(DatasetSettings):
    """Settings of `charades`.

    Attributes:
        val: Videos held out of train for validation, those ids whose SHA-256 is smallest. 0:
            none, and there is no split to choose a checkpoint on but the one that is reported.
    """

    val: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, val=self.val)


def read(folder: Path, settings: CharadesSettings) -> Annotations:
    """Reads Charades. Of several descriptions, with ";" between, the first counts.

    Raises:
        InputError: A file is missing or damaged.
    """
    if normalised.is_instead(folder, [name for names in FILES.values() for name in names]):
        return normalised.read_splits("charades", PROTOCOL, folder, val=settings.val)
    counts: Counter[str] = Counter()
    splits: dict[str, Iterable[Record]] = {}
    files, absent = [], {}
    for split, names in FILES.items():
        if path := find(folder, *names):
            files.append(path)
            splits[split] = _read_descriptions(path, counts)
        else:
            absent[split] = f"{folder}: {not_found(names)}"
    if not files:
        raise missing("charades", folder, [name for names in FILES.values() for name in names])
    splits = with_val(splits, settings.val, counts)
    if "val" not in splits:
        absent["val"] = NO_VAL
    return finish("charades", PROTOCOL, splits, counts, files, absent)


def _read_descriptions(path: Path, counts: Counter[str]) -> list[Record]:
    rows = read_table(path, [])
    video, text = _column(path, rows[0], _ID), _column(path, rows[0], _TEXT)
    lines = []
    for row in rows:
        descriptions = [each for each in row.values[text].split(";") if each.strip()]
        counts["further_descriptions_dropped"] += max(len(descriptions) - 1, 0)
        name = strip_extension(row.values[video].strip())
        lines.append((row.line, name, descriptions[0] if descriptions else ""))
    return records_of(one_caption_each(path, lines, counts))


def _column(path: Path, row: Row, names: tuple[str, ...]) -> str:
    for name in names:
        if name in row.values:
            return name
    found = ", ".join(row.values)
    raise damaged(path, "line 1", f"expected a column {' or '.join(names)}, found {found}")


READER = DatasetReader("charades", read, CharadesSettings)
