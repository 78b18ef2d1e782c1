"""Annotation files as text, JSON, tables and lists: each read once, each error with its place.

A byte order mark and Windows line ends are accepted everywhere. Nothing is executed.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vidsampler.config import file_layer
from vidsampler.errors import InputError

_LINE_END = re.compile(r"\r\n|\r|\n")


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        line: Where it starts, counted from 1.
        values: Column -> text.
    """

    line: int
    values: dict[str, Any]


def find(folder: Path, *names: str) -> Path | None:
    """The first of these files that is in the folder, or None.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "there is no such folder"
        raise InputError(f"{folder}: {problem}; expected one of annotation files", code="missing")
    try:
        return next((folder / name for name in names if (folder / name).is_file()), None)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder}: cannot be read: {reason}", code="unreadable") from error


def need(dataset: str, folder: Path, *names: str) -> Path:
    """The first of these files that is in the folder.

    Raises:
        InputError: None is; the error says where to get them.
    """
    path = find(folder, *names)
    if path is None:
        raise missing(dataset, folder, names)
    return path


def missing(dataset: str, folder: Path, names: Iterable[str]) -> InputError:
    """The error for files of which none is there."""
    about = file_layer(dataset, "datasets").values.get("about", {})
    page = about.get("page")
    return InputError(
        f"{folder}: {not_found(names)}, the annotations of {dataset}",
        code="missing",
        hint=f"where to get them: {page}" if page else None,
    )


def not_found(names: Iterable[str]) -> str:
    """Such as "there is no a.json or b.json"."""
    return f"there is no {' or '.join(names)}"


def damaged(path: Path, where: str, problem: str) -> InputError:
    """The error for a place in a file that is not as expected."""
    return InputError(
        f"{path}: {where}: {problem}" if where else f"{path}: {problem}", code="damaged"
    )


def shown(value: Any) -> str:
    """A found value, short enough for a message."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_text(path: Path) -> str:
    """A whole file as text.

    Raises:
        InputError: It cannot be read, is empty, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        code = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be read: {reason}", code=code) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"expected UTF-8 text, found the byte 0x{data[error.start]:02x}"
        raise damaged(path, f"line {line}", problem) from error
    if not text.strip():
        raise InputError(f"{path}: the file is empty", code="empty")
    return text


def read_json(path: Path, counts: Counter[str] | None = None) -> Any:
    """A JSON file.

    Args:
        path: The file.
        counts: Where keys are ids: an id twice with the same content is counted here, with
            another content it is an error. None: not looked at.

    Raises:
        InputError: It is no JSON (the place is named), or has an id twice.
    """
    text = read_text(path)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        whole = dict(pairs)
        if counts is not None and len(whole) != len(pairs):
            for key, value in pairs:
                if value != whole[key]:
                    problem = "it is there twice, and with different content; expected it once"
                    raise damaged(path, f"key {key!r}", problem)
            counts["repeated_ids_dropped"] += len(pairs) - len(whole)
        return whole

    try:
        # The hook costs time on files of many small objects, where no key is an id.
        return json.loads(text, object_pairs_hook=None if counts is None else once)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        cut = not text[error.pos :].strip() or error.msg.startswith("Unterminated")
        problem = "the file ends in the middle (cut off?)" if cut else f"no JSON: {error.msg}"
        raise damaged(path, where, problem) from error
    except (ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise damaged(path, "", f"no JSON of annotations: {problem}") from error


def expect(path: Path, where: str, value: Any, kind: type, what: str) -> None:
    """Checks the type of a JSON value.

    Raises:
        InputError: It is another one.
    """
    if not isinstance(value, kind):
        raise damaged(path, where, f"expected {what}, found {shown(value)}")


def member(path: Path, where: str, value: Any, key: str) -> Any:
    """value[key] of a JSON object.

    Raises:
        InputError: It is no object, or has no such key.
    """
    expect(path, where, value, dict, f"an object with the key {key!r}")
    if key not in value:
        found = ", ".join(map(repr, list(value)[:8])) or "none"
        raise damaged(path, where, f"expected the key {key!r}, found {found}")
    return value[key]


def read_lines(path: Path) -> list[tuple[int, str]]:
    """(line number, stripped text) of every line that is not blank.

    Raises:
        InputError: The file cannot be read, or is empty.
    """
    lines = ((number, line.strip()) for number, line in enumerate(split_lines(path), 1))
    return [(number, line) for number, line in lines if line]


def split_lines(path: Path) -> list[str]:
    """All lines, without their ends. Not `str.splitlines`, which knows ten more of them."""
    return _LINE_END.split(read_text(path))


def read_ids(path: Path, counts: Counter[str]) -> dict[str, int]:
    """A list of ids, one a line: id -> line; repeated ones are counted.

    Raises:
        InputError: The file cannot be read, or is empty.
    """
    return once_each(read_lines(path), counts)


def once_each(lines: Iterable[tuple[int, str]], counts: Counter[str]) -> dict[str, int]:
    """(line, id) as id -> the first line; repeated ones are counted."""
    found: dict[str, int] = {}
    for line, video in lines:
        if found.setdefault(video, line) != line:
            counts["repeated_ids_dropped"] += 1
    return found


def read_table(path: Path, columns: Sequence[str], delimiter: str = ",") -> list[Row]:
    """A table whose first line names its columns.

    Args:
        path: The file.
        columns: Those that must be there, in any order.
        delimiter: Comma (fields may be quoted) or tab (a field in quotes is one line long).

    Raises:
        InputError: A column is missing, a row has more or fewer fields than the first one, or
            there is no row.
    """
    header, *rows = _fields(path, delimiter)
    names = [name.strip() for name in header[1]]
    for name in names:
        if names.count(name) > 1:
            raise damaged(path, f"line {header[0]}", f"the column {name!r} is there twice")
    for column in columns:
        if column not in names:
            problem = f"expected the column {column!r}, found {', '.join(names)}"
            raise damaged(path, f"line {header[0]}", problem)
    if not rows:
        raise damaged(path, f"line {header[0] + 1}", "expected a row, found the end of the file")
    for line, row in rows:
        if len(row) != len(names):
            problem = f"expected {len(names)} fields, found {len(row)}: {shown(row)}"
            raise damaged(path, f"line {line}", problem)
    return [Row(line, dict(zip(names, row, strict=True))) for line, row in rows]


def _fields(path: Path, delimiter: str) -> list[tuple[int, list[str]]]:
    """(line, fields) of every line that is not blank, of which there is one at least."""
    if delimiter == "\t":
        lines = [line for line in enumerate(split_lines(path), 1) if line[1].strip()]
        return [(number, [_unquoted(each) for each in line.split("\t")]) for number, line in lines]
    rows = []
    # Strict, or a quote that never closes would swallow the rest of the file in silence.
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            if any(row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        problem = f"the row that starts here is no CSV: {error} (a quote that never closes?)"
        raise damaged(path, f"line {line}", problem) from error
    return rows


def _unquoted(value: str) -> str:
    """A field of a tab-separated file; quotes round it are taken off as spreadsheets put them."""
    if len(value) > 1 and value[0] == value[-1] == '"' and '"' not in value[1:-1].replace('""', ""):
        return value[1:-1].replace('""', '"')
    return value
