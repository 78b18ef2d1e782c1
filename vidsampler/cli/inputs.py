"""Which videos the words of the command line mean: files, folders, standard input."""

from __future__ import annotations

import os
import select
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from vidsampler.errors import InputError, UsageError, VidsamplerError
from vidsampler.files import VIDEO_SUFFIXES, walk_videos
from vidsampler.lists import is_list, read_list

STDIN = "-"
_CHUNK = 1 << 20
_LOOK_UP_SECONDS = 0.2
"""A Ctrl-C that comes just before Python waits for input is noticed so much later."""


@dataclass(frozen=True)
class Item:
    """One video to work on.

    Attributes:
        name: What the user calls it: a path, or "-".
        error: Why there is nothing to work on, such as a folder without videos.
    """

    name: str
    error: InputError | None = None

    @property
    def stem(self) -> str:
        """A name for what is made from it."""
        if self.name == STDIN:
            return "stdin"
        return Path(self.name).stem.strip(".") or "video"


def collect(words: Sequence[str]) -> list[Item]:
    """Finds the videos, folders walked through in the order of their names.

    Files are taken as they are: the name's ending counts only inside folders, and for lists.

    Raises:
        UsageError: Standard input is asked for twice, or is a terminal.
        InputError: A list cannot be read.
    """
    if words.count(STDIN) > 1:
        raise UsageError("standard input (-) can be read only once")
    if STDIN in words and sys.stdin is None:
        raise UsageError("standard input (-) is closed", hint="pipe a video into it")
    if STDIN in words and sys.stdin.isatty():
        raise UsageError("standard input (-) is a terminal", hint="pipe a video into it")
    items: list[Item] = []
    for word in words:
        if is_list(word):
            items += [Item(str(path)) for path in read_list(word).values()]
        elif word == STDIN or not os.path.isdir(word):
            items.append(Item(word))
        elif found := [Item(each.path, each.error) for each in walk_videos(word)]:
            items += found
        else:
            wanted = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
            error = InputError(
                f"{word}: the folder has no videos in it",
                code="missing",
                hint=f"looked for {wanted}",
            )
            items.append(Item(word, error))
    return items


@contextmanager
def opened(item: Item) -> Iterator[Path]:
    """The path of a video's file; standard input becomes a temporary one, deleted afterwards.

    Raises:
        InputError: The item has an error, or standard input gave nothing.
    """
    if item.error is not None:
        raise item.error
    if not item.name:
        raise InputError("the name of a video is empty", code="missing")
    if item.name != STDIN:
        yield Path(item.name)
        return
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="vidsampler-") as spooled:
        _spool(sys.stdin.buffer, spooled)
        spooled.flush()
        if spooled.tell() == 0:
            raise InputError("standard input gave no bytes", code="empty")
        try:
            yield Path(spooled.name)
        except VidsamplerError as error:
            # Nobody knows the temporary file by its name.
            message = error.message.replace(spooled.name, "standard input")
            raise type(error)(message, hint=error.hint, code=error.code) from error


def _spool(source: BinaryIO, target: IO[bytes]) -> None:
    """Copies standard input to its end; Ctrl-C ends it though nothing more comes."""
    try:
        descriptor = source.fileno()
        select.select([descriptor], [], [], 0)
    except (OSError, ValueError):
        # No descriptor, or (on Windows) none that can be waited for.
        shutil.copyfileobj(source, target, _CHUNK)
        return
    while True:
        if select.select([descriptor], [], [], _LOOK_UP_SECONDS)[0]:
            data = os.read(descriptor, _CHUNK)
            if not data:
                return
            target.write(data)
