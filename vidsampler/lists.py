"""Files that list videos: one path a line (.txt), or a table or objects with a path (.csv, .jsonl).

A path that is not absolute counts from the folder of the list. Samples are named by the paths as
they are written in the list, so that the same list gives the same keys on every machine.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidsampler.errors import InputError
from vidsampler.files import is_video_name

LIST_SUFFIXES = (".txt", ".csv", ".jsonl")
COLUMNS = ("video", "path", "file")
"""The column of a table, or the key of an object, that holds the path: the first that is there."""
_OTHERS = {";": "semicolons", "\t": "tabs"}


def is_list(path: str | Path) -> bool:
    """Whether a file's name says that it is a list of videos."""
    return Path(path).suffix.lower() in LIST_SUFFIXES and not os.path.isdir(path)


def read_list(path: str | Path) -> dict[str, Path]:
    """The videos of a list, each once, in its order.

    Args:
        path: A .txt file with a path a line, a .csv file with a column `video`, `path` or `file`
            (or one column without a heading), or a .jsonl file of objects with such a key, or of
            strings. UTF-8, with or without a BOM, with any line ends; of a .txt file any bytes.

    Returns:
        The path as written, normalised -> the file, which may not be there.

    Raises:
        InputError: The list cannot be read, or there is no video in it; the message has the line.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", code="missing") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}", code="unreadable"
        ) from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    read = {".txt": _lines, ".csv": _table, ".jsonl": _objects}[path.suffix.lower()]
    found: dict[str, Path] = {}
    for number, name in read(data, path):
        if "\0" in name:
            raise _bad(path, number, "a path with a zero byte")
        if name.strip():
            name = os.path.normpath(name)
            found.setdefault(name, path.parent / name)
    if not found:
        raise InputError(f"{path}: the list names no video", code="empty")
    return found


def _lines(data: bytes, path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        # Names of files may be any bytes.
        yield number, os.fsdecode(line.removesuffix(b"\r"))


def _table(data: bytes, path: Path) -> Iterator[tuple[int, str]]:
    reader = csv.reader(io.StringIO(_text(data, path), newline=""), strict=True)
    column: int | None = None
    try:
        for row in reader:
            if column is None:
                heads = [cell.strip().lower() for cell in row]
                column = next((heads.index(name) for name in COLUMNS if name in heads), None)
                if column is not None:
                    continue
                if len(row) > 1:
                    raise InputError(
                        f"{path}: none of its columns ({', '.join(row)}) holds the paths",
                        hint=f"name one of them {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}",
                        code="unreadable",
                    )
                if not row:
                    continue
                _check_first(row[0], path)
                column = 0
            if not row:
                continue
            if column >= len(row):
                raise _bad(path, reader.line_num, "no path in this line")
            yield reader.line_num, row[column]
    except csv.Error as error:
        raise _bad(path, reader.line_num, str(error)) from error


def _check_first(name: str, path: Path) -> None:
    """Whether the first line of a table of one column may be a path."""
    if not name.strip() or is_video_name(os.path.basename(name)):
        return
    if "\0" not in name and os.path.exists(path.parent / name):
        return
    columns = f"{', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
    separator = next((names for mark, names in _OTHERS.items() if mark in name), None)
    hint = f"name the column {columns}"
    if separator is not None:
        hint = (
            f"separate columns by commas, not by {separator}, and name that of the paths {columns}"
        )
    raise InputError(
        f"{path}: its first line, {name.strip()!r}, is neither the heading of a column of paths "
        "nor a path",
        hint=hint,
        code="unreadable",
    )


def _objects(data: bytes, path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _bad(path, number, f"not JSON: {error}") from error
        if isinstance(value, dict):
            value = next((value[name] for name in COLUMNS if name in value), None)
        if not isinstance(value, str):
            raise _bad(path, number, f"no text under any of {', '.join(COLUMNS)}")
        yield number, value


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _bad(path, line, "not UTF-8 text") from error


def _bad(path: Path, line: int, why: str) -> InputError:
    return InputError(f"{path}, line {line}: {why}", code="unreadable")
