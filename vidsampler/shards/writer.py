"""Writing a shard: temporary name, flush, rename, commit file last."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from vidsampler.files import sync_folder, to_json_bytes, write_file, writing
from vidsampler.shards.manifest import Entry, Failure, Manifest

BLOCK = tarfile.BLOCKSIZE
DAMAGED = ".damaged"
"""How the names of files end that a repair has put aside."""
_ASIDE = re.compile(r".+\.damaged(-\d+)?", re.DOTALL)
_CHUNK = 1 << 20

NAME_BYTES = 255
"""How long the name of a file may be."""


@dataclass(frozen=True)
class Member:
    """One file of a sample, in a spool or in memory.

    Attributes:
        name: Without the key: ``000.jpg``.
        size: Bytes.
        data: What it holds, or None: it lies in the spool.
        offset: Where in the spool.
    """

    name: str
    size: int
    data: bytes | None = None
    offset: int = 0


def header(name: str, size: int) -> bytes:
    """(512,) the header of a tar's member, the same for the same name and size."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def padded(size: int) -> int:
    """Bytes that a member's data take in a tar."""
    return -(-size // BLOCK) * BLOCK


@dataclass
class ShardWriter:
    """One shard in the making; nothing is at its place before `commit`.

    Args:
        folder: Where the shard goes.
        name: Its name: ``000000``.
        recipe: How its samples were made.
        temporary: A folder on the same file system for the tar until it is whole.

    Use it in a ``with`` block: without `commit`, leaving it removes what was written.
    """

    folder: Path
    name: str
    recipe: dict[str, Any]
    temporary: Path
    _entries: list[Entry] = field(default_factory=list)
    _frames: int = 0
    _offset: int = 0

    def __post_init__(self) -> None:
        self._path = self.temporary / f"{self.name}.tar"
        self._file: BinaryIO | None = None
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def add(
        self,
        key: str,
        source: str,
        members: Sequence[Member],
        frames: int,
        spool: Path | None = None,
    ) -> None:
        """Appends a sample.

        Args:
            key: Its key.
            source: The path of its video, for the commit file.
            members: Its files.
            frames: How many frames it has.
            spool: The file that holds those members that are not in memory.

        Raises:
            VidsamplerError: There is no room.
        """
        entry = Entry(key, source, self._offset, tuple((each.name, each.size) for each in members))
        with writing(self._path), open(spool or os.devnull, "rb") as spooled:
            for member in members:
                self._write(header(f"{key}.{member.name}", member.size))
                if member.data is not None:
                    self._write(member.data)
                else:
                    self._copy(spooled, member)
                self._write(bytes(padded(member.size) - member.size))
        self._entries.append(entry)
        self._frames += frames

    def commit(self, failed: Sequence[Failure] = ()) -> Manifest:
        """Puts the tar in its place, then the commit file beside it.

        Raises:
            VidsamplerError: There is no room.
        """
        manifest = self.finish(failed)
        place(self.folder, manifest, self._path)
        return manifest

    def finish(self, failed: Sequence[Failure] = ()) -> Manifest:
        """Ends the tar, whole and on the disk, under its temporary name; `place` does the rest.

        Raises:
            VidsamplerError: There is no room.
        """
        if self._entries:
            with writing(self._path):
                self._write(bytes(2 * BLOCK))
                assert self._file is not None
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._file = None
        return Manifest(
            name=self.name,
            bytes=self._offset,
            sha256=self._sha256.hexdigest() if self._entries else "",
            recipe=self.recipe,
            entries=tuple(self._entries),
            failed=tuple(failed),
            frames=self._frames,
        )

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(data)
        self._sha256.update(data)
        self._offset += len(data)

    def _copy(self, spooled: BinaryIO, member: Member) -> None:
        spooled.seek(member.offset)
        left = member.size
        while left:
            data = spooled.read(min(left, _CHUNK))
            if not data:
                raise OSError(0, "its spooled data are shorter than they should be")
            self._write(data)
            left -= len(data)


def place(folder: Path, manifest: Manifest, tar: Path) -> None:
    """Puts a finished tar in its place, then its commit file.

    Args:
        folder: Where the shard goes.
        manifest: What the tar holds.
        tar: Where it lies, on the same file system; not looked at where every video failed.

    Raises:
        VidsamplerError: It cannot be written.
    """
    final = folder / f"{manifest.name}.tar"
    with writing(final):
        if manifest.entries:
            os.replace(tar, final)
            sync_folder(folder)
        else:
            final.unlink(missing_ok=True)
    commit = folder / f"{manifest.name}.json"
    write_file(commit, to_json_bytes(manifest.to_json()), durable=True)
    with writing(commit):
        for path in (commit, final):  # it has been done again
            drop_aside(path)


def put_aside(path: Path, planned: Collection[str] = ()) -> None:
    """Renames what is damaged, beside what was put aside before.

    Args:
        path: A file or a folder; it may be missing.
        planned: Names in its folder that are not free, though nothing may have them yet.

    Raises:
        OSError: It cannot be renamed.
    """
    if os.path.lexists(path):
        free = (each for each in _asides(path, planned) if not os.path.lexists(each))
        os.rename(path, next(free))


def drop_aside(path: Path, planned: Collection[str] = ()) -> None:
    """Deletes what `put_aside` has made of a file or folder, which has been done again."""
    for aside in _asides(path, planned):
        if not os.path.lexists(aside):
            return
        remove_spool(aside)


def is_aside(name: str) -> bool:
    """Whether a file or folder of this name may be one that was put aside."""
    return _ASIDE.fullmatch(name) is not None


def _asides(path: Path, planned: Collection[str]) -> Iterator[Path]:
    for number in count(1):
        ending = DAMAGED if number == 1 else f"{DAMAGED}-{number}"
        name = path.name + ending
        if len(os.fsencode(name)) > NAME_BYTES:
            name = hashlib.sha256(os.fsencode(path.name)).hexdigest() + ending
        if name not in planned:
            yield path.with_name(name)


def remove_spool(spool: Path | None) -> None:
    """Deletes a spool, be it a file or a folder."""
    if spool is None:
        return
    if spool.is_dir():
        shutil.rmtree(spool, ignore_errors=True)
    else:
        # What cannot be deleted goes with the run's temporary folder.
        with contextlib.suppress(OSError):
            spool.unlink()
