"""Reading shards by their index: any sample with one read, and nothing damaged unnoticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vidsampler.errors import InputError
from vidsampler.files import no_folder
from vidsampler.shards.manifest import (
    MEND,
    NAME,
    Entry,
    Failure,
    Manifest,
    check_tar,
    committed,
    read_manifest,
)
from vidsampler.shards.writer import BLOCK, header, padded

PICTURES = (".jpg", ".png", ".webp")

MOST_AT_ONCE = 0x7FFFF000
"""Bytes that the system gives at once."""

LARGE = 64 << 20
"""A sample of more bytes is looked at before it is read."""


@dataclass(frozen=True)
class Sample:
    """One video's frames and facts.

    Attributes:
        key: Its key.
        source: The path of its video below the folder of videos.
        members: File name without the key (``000.jpg``, ``mp4``, ``json``) -> its bytes.
    """

    key: str
    source: str
    members: dict[str, memoryview]

    @property
    def facts(self) -> dict[str, Any]:
        """What ``KEY.json`` says: source, size, pts, times, fps, recipe and more."""
        facts: dict[str, Any] = json.loads(bytes(self.members["json"]))
        return facts

    @property
    def frames(self) -> list[memoryview]:
        """The coded pictures, in time order; none where they are in one video file."""
        return [data for name, data in self.members.items() if name.endswith(PICTURES)]


class Reader:
    """The samples of a folder of shards, by number or key.

    Files are opened when they are first needed, and each sample is one read at a known offset. A
    reader may be pickled and shared between threads.

    Args:
        folder: Where ``NNNNNN.tar`` and ``NNNNNN.json`` are.
        verify: Also compare every shard with its SHA-256, which reads everything once.

    Raises:
        InputError: There is no shard (class ``missing``), one is not committed (``uncommitted``),
            not one of ours (``foreign``), or shorter, longer or other than its commit file says
            (``damaged``). Later, when a sample is read: it is not where the index says.

    Example:
        >>> from vidsampler.shards import Reader
        >>> for sample in Reader("shards/"):                     # doctest: +SKIP
        ...     print(sample.key, len(sample.frames), sample.facts["times"])
    """

    def __init__(self, folder: str | Path, *, verify: bool = False) -> None:
        self.folder = Path(folder)
        self.manifests = _manifests(self.folder)
        self._where: list[tuple[int, Entry]] = []
        self._number: dict[str, int] = {}
        for shard, manifest in enumerate(self.manifests):
            for entry in manifest.entries:
                if entry.key in self._number:
                    raise InputError(
                        f"{self._tar(shard)}: the key {entry.key!r} is in two samples",
                        code="damaged",
                    )
                self._number[entry.key] = len(self._where)
                self._where.append((shard, entry))
            check_tar(self.folder, manifest)
            if verify:
                self.verify(shard)
        self._open: dict[int, int] = {}

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._where)

    def __iter__(self) -> Iterator[Sample]:
        for number in range(len(self)):
            yield self[number]

    def __contains__(self, key: object) -> bool:
        return key in self._number

    def __getitem__(self, which: int | str) -> Sample:
        """A sample by its number or key.

        Raises:
            IndexError, KeyError: There is none.
            InputError: The shard is damaged there.
        """
        shard, entry = self._find(which)
        return Sample(entry.key, entry.source, self._read(shard, entry, entry.members, 0))

    def facts(self, which: int | str) -> dict[str, Any]:
        """What ``KEY.json`` of a sample says, without a look at its frames.

        Raises:
            IndexError, KeyError: There is none.
            InputError: The shard is damaged there.
        """
        shard, entry = self._find(which)
        before = 0
        for name, size in entry.members:
            if name == "json":
                data = self._read(shard, entry, [(name, size)], before)
                return Sample(entry.key, entry.source, data).facts
            before += BLOCK + padded(size)
        raise InputError(f"{self._tar(shard)}: {entry.key} has no .json", code="damaged")

    def tar(self, which: int | str) -> Path:
        """The shard that a sample is in.

        Raises:
            IndexError, KeyError: There is no such sample.
        """
        return self._tar(self._find(which)[0])

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def close(self) -> None:
        """Closes the files; they are opened again when needed."""
        opened = self.__dict__.get("_open", {})
        while opened:
            os.close(opened.popitem()[1])

    @property
    def keys(self) -> list[str]:
        """The keys, in order."""
        return list(self._number)

    @property
    def sources(self) -> dict[str, str]:
        """Key -> the path of its video below the folder of videos."""
        return {entry.key: entry.source for _, entry in self._where}

    @property
    def failed(self) -> list[Failure]:
        """The videos that should be in these shards and are not; a later shard has the last word.

        A run that was interrupted has not come to all of them: see `folder.check_finished`.
        """
        failed: dict[str, Failure] = {}
        for manifest in self.manifests:
            failed |= {each.source: each for each in manifest.failed}
            for entry in manifest.entries:
                failed.pop(entry.source, None)
        return list(failed.values())

    @property
    def frames(self) -> int:
        """How many frames all samples have."""
        return sum(manifest.frames for manifest in self.manifests)

    def verify(self, shard: int) -> None:
        """Compares a shard, by its place in ``manifests``, with its SHA-256.

        Raises:
            InputError: It is another (class ``damaged``).
        """
        manifest = self.manifests[shard]
        if not manifest.entries:
            return
        with self._tar(shard).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest.sha256:
                raise InputError(
                    f"{self._tar(shard)}: its content has changed since it was committed",
                    hint=MEND,
                    code="damaged",
                )

    def _find(self, which: int | str) -> tuple[int, Entry]:
        return self._where[self._number[which] if isinstance(which, str) else which]

    def _read(
        self, shard: int, entry: Entry, members: Sequence[tuple[str, int]], before: int
    ) -> dict[str, memoryview]:
        """Members that follow each other, ``before`` bytes after the sample's first header."""
        sizes = [padded(size) for _, size in members]
        length = sum(sizes) + BLOCK * len(sizes)
        if length > MOST_AT_ONCE:
            raise InputError(
                f"{self._tar(shard)}: {entry.key} has {length:,} bytes, too many to read at once",
                code="too-large",
            )
        start = entry.offset + before
        if length > LARGE:
            # Not for nothing: nobody has to take a gigabyte to learn that it is not there.
            at = 0
            for (name, size), room in zip(members, sizes, strict=True):
                first = os.pread(self._descriptor(shard), BLOCK, start + at)
                self._check_header(shard, entry, name, size, first)
                at += BLOCK + room
        data = memoryview(os.pread(self._descriptor(shard), length, start))
        found = {}
        at = 0
        for (name, size), room in zip(members, sizes, strict=True):
            block = data[at : at + BLOCK] if len(data) == length else b""
            self._check_header(shard, entry, name, size, block)
            found[name] = data[at + BLOCK : at + BLOCK + size]
            at += BLOCK + room
        return found

    def _check_header(
        self, shard: int, entry: Entry, name: str, size: int, block: bytes | memoryview
    ) -> None:
        if block != header(f"{entry.key}.{name}", size):
            raise InputError(
                f"{self._tar(shard)}: {entry.key}.{name} is not where the index says",
                hint=MEND,
                code="damaged",
            )

    def _tar(self, shard: int) -> Path:
        return self.folder / f"{self.manifests[shard].name}.tar"

    def _descriptor(self, shard: int) -> int:
        if shard not in self._open:
            try:
                opened = os.open(self._tar(shard), os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                why = error.strerror or str(error)
                raise InputError(
                    f"{self._tar(shard)}: cannot be read: {why}", code="unreadable"
                ) from error
            if self._open.setdefault(shard, opened) != opened:
                os.close(opened)  # another thread was first
        return self._open[shard]


def _manifests(folder: Path) -> list[Manifest]:
    if not folder.is_dir():
        raise no_folder(folder)
    manifests = [read_manifest(path) for path in committed(folder)]
    names = {manifest.name for manifest in manifests}
    for path in sorted(folder.glob("*.tar")):
        if path.stem not in names:
            ours = NAME.fullmatch(path.stem) and (folder / "plan.jsonl").exists()
            raise InputError(
                f"{path}: "
                + ("not committed yet" if ours else "a tar without a commit file: not a shard"),
                hint="run the command that was interrupted again"
                if ours
                else "webdataset reads foreign tars; vidsampler reads what it wrote",
                code="uncommitted" if ours else "foreign",
            )
    if not manifests:
        raise InputError(
            f"{folder}: there is no shard in it",
            hint="make some: vidsampler extract VIDEOS " + str(folder),
            code="missing",
        )
    return manifests
