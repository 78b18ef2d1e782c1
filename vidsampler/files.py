"""Files: which ones are videos, and writing so that a file is whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidsampler.errors import InputError, UsageError, VidsamplerError

VIDEO_SUFFIXES = frozenset(
    {
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".gif",
        ".ivf",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".webm",
        ".wmv",
    }
)


TEMPORARY = ".tmp-"
"""How the names of files and folders begin that are in the making."""


@dataclass(frozen=True)
class Found:
    """What a walk came to: a video, or a folder that cannot be read.

    Attributes:
        path: The file or folder.
        error: Why it cannot be read.
    """

    path: str
    error: InputError | None = None


def walk_videos(folder: str | Path, leave_out: Path | None = None) -> Iterator[Found]:
    """The videos in a folder and those below, by their endings, in the order of their names.

    Links to folders are followed, each folder once.

    Args:
        folder: Where to look.
        leave_out: A folder that is passed over, such as the one that results go to.
    """
    unreadable: list[Found] = []

    def note(error: OSError) -> None:
        unreadable.append(Found(str(error.filename), unreadable_folder(error)))

    seen = {os.path.realpath(folder)}
    if leave_out is not None:
        seen.add(os.path.realpath(leave_out))
    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        folders[:] = _unseen(parent, folders, seen)
        yield from unreadable
        unreadable.clear()
        for name in sorted(files):
            if is_video_name(name):
                yield Found(os.path.join(parent, name))
    yield from unreadable


def _unseen(parent: str, folders: list[str], seen: set[str]) -> list[str]:
    """The folders to walk into, real ones before links to them, so that a link changes no name."""
    found = []
    for name in sorted(
        folders, key=lambda name: (os.path.islink(os.path.join(parent, name)), name)
    ):
        real = os.path.realpath(os.path.join(parent, name))
        if real not in seen:
            seen.add(real)
            found.append(name)
    return sorted(found)


def no_folder(path: str | Path, what: str = "", hint: str | None = None) -> InputError:
    """The error of what was to be a folder and is none.

    Args:
        path: Where.
        what: What should be in it, such as "of videos".
        hint: What to do.
    """
    problem = "is not a folder" if os.path.lexists(path) else "no such folder"
    return InputError(f"{path}: {f'{problem} {what}'.rstrip()}", hint=hint, code="missing")


def unreadable_folder(error: OSError) -> InputError:
    """The error of a walk that came to a folder it cannot look into."""
    message = f"{error.filename}: the folder cannot be read: {error.strerror}"
    return InputError(message, code="unreadable")


def is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video; hidden ones are not."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith(".")


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it.

    Raises:
        VidsamplerError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VidsamplerError(
            f"{folder}: cannot be made: {error.strerror or error}", code="unwritable"
        ) from error


def check_writable(folder: Path, name: str) -> None:
    """Whether files can be made in a folder, or the folder itself; nothing of it stays.

    A file is really made, in the folder or the nearest one above that exists. The permission bits
    would not tell: root may write where they say no, and nobody may on a file system that is
    mounted to be read only.

    Args:
        folder: May be missing.
        name: What a user calls it.

    Raises:
        UsageError: They cannot.
    """
    import tempfile

    try:
        # A link to nothing is there too.
        above = (folder, *folder.absolute().parents)
        there = next(each for each in above if each.exists() or each.is_symlink())
        if not there.is_dir():
            raise UsageError(f"{name}: {there} is not a folder", code="unwritable")
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UsageError(
            f"{name}: cannot write there ({error.strerror or error})", code="unwritable"
        ) from error


def write_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Writes a file; it is whole or not there.

    Args:
        path: The file; one that is there is replaced.
        data: What it holds.
        durable: On the disk before the call returns, so that a later file may vouch for it.

    Raises:
        VidsamplerError: It cannot be written.
    """
    with writing(path), whole_file(path) as (handle, temporary):
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[tuple[int, str]]:
    """A new file beside ``path``, deleted at the end unless it was renamed: (descriptor, name)."""
    temporary = str(path.parent / f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}")
    # Not by mkstemp, which lets nobody else read: the file is as any other that the user makes.
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield handle, temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system says against writing into an error that names the file.

    Raises:
        VidsamplerError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise VidsamplerError(
            f"{path}: cannot be written: {error.strerror or error}",
            hint="make room or choose another place, then run the same command again",
            code="unwritable",
        ) from error


def sync_folder(folder: Path) -> None:
    """Makes renamed names in a folder last a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def to_json_bytes(data: Any) -> bytes:
    """Compact JSON in ASCII, the same bytes for the same data, with a line end."""
    return (json.dumps(data, separators=(",", ":"), allow_nan=False) + "\n").encode("ascii")
