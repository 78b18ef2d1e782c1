"""``errors.jsonl``: what is failed now."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vidsampler.files import to_json_bytes, write_file, writing
from vidsampler.shards.folder import ERRORS
from vidsampler.shards.manifest import Failure

if TYPE_CHECKING:
    from vidsampler.shards.reader import Reader


def write_errors(folder: Path, failures: Iterable[Failure]) -> None:
    """Writes ``errors.jsonl``: what is failed now, in the order of the sources.

    Raises:
        VidsamplerError: It cannot be written.
    """
    ordered = sorted(failures, key=lambda failure: failure.source)
    data = b"".join(to_json_bytes(failure.to_json()) for failure in ordered)
    write_file(folder / ERRORS, data)


def add_error(folder: Path, failure: Failure) -> None:
    """Adds a line to ``errors.jsonl``.

    Raises:
        VidsamplerError: It cannot be written.
    """
    path = folder / ERRORS
    # Where somebody put a link in its place, what that leads to is not written to.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with writing(path), os.fdopen(os.open(path, flags, 0o666), "ab") as file:
        file.write(to_json_bytes(failure.to_json()))


def read_errors(folder: Path) -> list[Failure]:
    """What an earlier run wrote there; none where there is no such file or it is cut."""
    failures = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        for line in (folder / ERRORS).read_bytes().splitlines():
            failures.append(Failure.from_json(json.loads(line)))
    return failures


def left_out(reader: Reader) -> list[Failure]:
    """What could not be put into a folder of shards: by their commit files, and ``errors.jsonl``.

    The latter knows of folders of videos that nobody could look into too; their key is "".
    """
    failed = {each.source: each for each in reader.failed}
    there = set(reader.sources.values())
    failed |= {each.source: each for each in read_errors(reader.folder) if each.source not in there}
    return list(failed.values())
