"""`captions`: one's own videos, from a table of captions or texts beside the videos."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidsampler.datasets import normalised
from vidsampler.datasets.base import Annotations, DatasetReader, Record
from vidsampler.datasets.folder import FractionSettings, empty_shares, list_videos, shares
from vidsampler.datasets.gather import finish, strip_extension, tidy, tidy_captions
from vidsampler.datasets.reading import (
    Row,
    damaged,
    expect,
    find,
    missing,
    need,
    read_lines,
    read_table,
    shown,
)
from vidsampler.datasets.splits import by_fraction, into_splits
from vidsampler.errors import InputError
from vidsampler.timecode import parse_time

PROTOCOL = "every caption is a query"
TABLES = ("captions.csv", "captions.tsv", "captions.jsonl")
_SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "test": "test",
    "training": "train",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}


@dataclass(frozen=True)
class CaptionsSettings(FractionSettings):
    """Settings of `captions`.

    Attributes:
        file: The table in the folder, a .csv, .tsv or .jsonl; null: captions.csv, .tsv or .jsonl.
        video: Column of the video: its path below the folder of videos, its name or its stem.
        caption: Column of the caption; in .jsonl it may be a list of them.
        split: Column of the split, if there is one; the shares then do not count.
        start: Column of the time window's start, if there is one: seconds or mm:ss.
        end: Column of its end, if there is one.
        group: Column whose videos stay together when splits are drawn, such as their source.
    """

    file: str | None = None
    video: str = "video"
    caption: str = "caption"
    split: str = "split"
    start: str = "start"
    end: str = "end"
    group: str | None = None


@dataclass
class _Video:
    """What the rows of one video say; `line` is the first of them."""

    line: int
    captions: list[str]
    window: tuple[float | None, float | None]
    split: str
    group: str


def read(folder: Path, settings: CaptionsSettings) -> Annotations:
    """Reads captions of one's own videos.

    Looked for, in this order: a table (one row for each caption), split files in the normalised
    form (train.json, ...), and texts beside videos (`name.txt` beside `name.mp4`, one caption a
    line). Splits are those of the column, or drawn by share and seed; a video is in one only.

    Args:
        folder: Where the table is, or the table itself.
        settings: Names of the columns, and the shares.

    Raises:
        InputError: A file is missing or damaged.
    """
    if folder.is_file():
        return _from_table(folder, settings)
    if settings.file is not None:
        return _from_table(need("captions", folder, settings.file), settings)
    tables = [path for name in TABLES if (path := find(folder, name))]
    if len(tables) > 1:
        raise InputError(
            f"{folder}: there is both {tables[0].name} and {tables[1].name}; expected one of them",
            code="ambiguous",
            hint=f"choose with --set dataset.file={tables[0].name}",
        )
    if tables:
        return _from_table(tables[0], settings)
    if normalised.is_instead(folder, TABLES):
        return normalised.read_splits("captions", PROTOCOL, folder)
    return _from_texts(folder, settings)


def _from_table(path: Path, settings: CaptionsSettings) -> Annotations:
    counts: Counter[str] = Counter()
    videos: dict[str, _Video] = {}
    rows = _rows(path, settings)
    columns = {column for row in rows for column in row.values}
    for name, usual in (("split", "split"), ("start", "start"), ("end", "end"), ("group", None)):
        column = getattr(settings, name)
        if column is not None and column != usual and column not in columns:
            found = ", ".join(sorted(columns))
            problem = f"expected the column {column!r} (dataset.{name}), found {found}"
            raise damaged(path, "", problem)
    has_split = settings.split in columns
    for row in rows:
        split = _split(path, row, settings) if has_split else ""
        _add_row(path, row, split, settings, videos, counts)
    if has_split:
        split_of = {video: each.split for video, each in videos.items()}
    else:
        groups = {video: each.group for video, each in videos.items()}
        split_of = by_fraction(groups, shares(settings), settings.seed)
    records = [Record(video, tuple(each.captions), *each.window) for video, each in videos.items()]
    splits = into_splits(records, split_of)
    absent = {} if has_split else empty_shares(splits, settings, len(videos))
    return finish("captions", PROTOCOL, splits, counts, [path], absent)


def _rows(path: Path, settings: CaptionsSettings) -> list[Row]:
    """The rows of a table, each with a video and a caption."""
    needed = [settings.video, settings.caption]
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        rows = []
        for number, line in read_lines(path):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise damaged(path, f"line {number}", f"no JSON: {error}") from error
            expect(path, f"line {number}", values, dict, "an object")
            for column in needed:
                if column not in values:
                    problem = f"expected the key {column!r}, found {', '.join(values) or 'none'}"
                    raise damaged(path, f"line {number}", problem)
            rows.append(Row(number, values))
        return rows
    if suffix not in (".csv", ".tsv"):
        raise damaged(path, "", "expected a table that ends in .csv, .tsv or .jsonl")
    return read_table(path, needed, "\t" if suffix == ".tsv" else ",")


def _add_row(
    path: Path,
    row: Row,
    split: str,
    settings: CaptionsSettings,
    videos: dict[str, _Video],
    counts: Counter[str],
) -> None:
    where = f"line {row.line}"
    video = _text(path, where, row, settings.video).replace("\\", "/")
    if not video:
        raise damaged(path, where, "expected the name of a video, found nothing")
    caption = row.values[settings.caption]
    captions = tidy_captions(
        path, where, caption if isinstance(caption, list) else [caption], counts
    )
    window = _window(path, where, row, settings)
    # A video without a group is one of its own.
    group = (settings.group and _text(path, where, row, settings.group)) or video
    known = videos.setdefault(video, _Video(row.line, [], window, split, group))
    for what, here, there in (
        ("split", split, known.split),
        ("time window", window, known.window),
        ("group", group, known.group),
    ):
        if here != there:
            problem = (
                f"the {what} of {video!r} is {here!r} here and {there!r} on line {known.line}; "
                "expected one for each video"
            )
            raise damaged(path, where, problem)
    known.captions.extend(captions)


def _split(path: Path, row: Row, settings: CaptionsSettings) -> str:
    split = _text(path, f"line {row.line}", row, settings.split)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", split):
        problem = f"expected train, val, test or another split, found {split!r}"
        raise damaged(path, f"line {row.line}", problem)
    return _SPLIT_NAMES.get(split.casefold(), split)


def _text(path: Path, where: str, row: Row, column: str) -> str:
    value: Any = row.values.get(column, "")
    expect(path, f"{where}, {column}", value, str, "text")
    # Not tidied: a file may have two spaces in its name.
    text: str = value.strip()
    return text


def _window(
    path: Path, where: str, row: Row, settings: CaptionsSettings
) -> tuple[float | None, float | None]:
    start, end = (_time(path, where, row, name) for name in (settings.start, settings.end))
    if end is not None and end <= (start or 0.0):
        problem = f"expected an end after the start, found {start or 0:g} to {end:g} seconds"
        raise damaged(path, where, problem)
    return start, end


def _time(path: Path, where: str, row: Row, column: str) -> float | None:
    value: Any = row.values.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    if not isinstance(value, str):
        raise damaged(path, f"{where}, {column}", f"expected a time, found {shown(value)}")
    try:
        return parse_time(value)
    except ValueError as error:
        raise damaged(path, f"{where}, {column}", str(error)) from error


def _from_texts(folder: Path, settings: CaptionsSettings) -> Annotations:
    counts: Counter[str] = Counter()
    texts = {path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.txt"))}
    if not texts:
        raise missing("captions", folder, (*TABLES, "name.txt beside name.mp4"))
    owners: dict[str, str] = {}
    records, files = [], []
    for video in list_videos(folder):
        text = f"{strip_extension(video)}.txt"
        if text not in texts:
            records.append(Record(video))
            continue
        other = owners.setdefault(text, video)
        if other != video:
            problem = f"it stands beside {other} and {video}; expected one video of that name"
            raise damaged(folder / text, "", problem)
        files.append(folder / text)
        captions = tuple(tidy(line) for _, line in read_lines(folder / text))
        records.append(Record(video, captions))
    counts["texts_without_a_video"] = len(texts - owners.keys())
    captioned = {record.video: record.video for record in records if record.captions}
    if not captioned:
        raise missing("captions", folder, (*TABLES, "name.txt beside name.mp4"))
    dealt = by_fraction(captioned, shares(settings), settings.seed)
    counts["videos_without_captions_dropped"] = len(records) - len(captioned)
    splits = into_splits([record for record in records if record.captions], dealt)
    absent = empty_shares(splits, settings, len(captioned))
    return finish("captions", PROTOCOL, splits, counts, files, absent)


READER = DatasetReader("captions", read, CaptionsSettings)
