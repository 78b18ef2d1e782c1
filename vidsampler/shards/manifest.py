"""The commit file of a shard: what is in the tar and where, and what could not be put there.

``NNNNNN.tar`` counts only once ``NNNNNN.json`` stands beside it.
"""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidsampler.errors import InputError
from vidsampler.shards.key import KEY

FORMAT = 1
MOST_MEMBER = (8 << 30) - 1
"""Bytes that the header of a tar can say."""
NAME = re.compile(r"[0-9]{6,}")
MEND = "copy it again, or: vidsampler verify FOLDER --repair, then extract again"
MEMBER = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""What the name of a sample's file looks like without its key: nothing that leads elsewhere."""

MOST_BYTES = 1 << 30
"""A commit file is no longer than this; one of 100,000 videos of 300 frames has about as much."""


@dataclass(frozen=True)
class Failure:
    """A video that is in no shard, and why.

    Attributes:
        key: Its key.
        source: Its path below the folder of videos.
        stage: What was being done: find, open, decode, encode or write.
        kind: The class of the fault, such as ``truncated``.
        message: One sentence.
    """

    key: str
    source: str
    stage: str
    kind: str
    message: str

    def to_json(self) -> dict[str, str]:
        """As it stands in ``errors.jsonl``."""
        return {
            "key": self.key,
            "source": self.source,
            "stage": self.stage,
            "class": self.kind,
            "message": self.message,
        }

    @classmethod
    def from_json(cls, data: Any) -> Failure:
        """The opposite of `to_json`."""
        return cls(data["key"], data["source"], data["stage"], data["class"], data["message"])


@dataclass(frozen=True)
class Entry:
    """Where one sample lies in its tar.

    Attributes:
        key: Its key.
        source: The path of its video below the folder of videos.
        offset: Bytes before its first header.
        members: (name without the key, bytes) of each file, in order.
    """

    key: str
    source: str
    offset: int
    members: tuple[tuple[str, int], ...]

    @property
    def frames(self) -> int:
        """How many pictures it has; 0 where they are in one video file."""
        return sum(name.endswith((".jpg", ".png", ".webp")) for name, _ in self.members)


@dataclass(frozen=True)
class Manifest:
    """A commit file.

    Attributes:
        name: Of the shard: ``000000``.
        bytes, sha256: Of the tar; 0 and "" where there is none, because every video failed.
        recipe: How the samples were made.
        entries: The samples, in the tar's order.
        failed: The videos that should have been in it.
        frames: Frames in all samples.
    """

    name: str
    bytes: int
    sha256: str
    recipe: dict[str, Any]
    entries: tuple[Entry, ...]
    failed: tuple[Failure, ...] = field(default=())
    frames: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "format": FORMAT,
            "shard": self.name,
            "samples": len(self.entries),
            "frames": self.frames,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "recipe": self.recipe,
            "errors": dict(sorted(Counter(each.kind for each in self.failed).items())),
            "failed": [each.to_json() for each in self.failed],
            "index": [
                [each.key, each.source, each.offset, [list(member) for member in each.members]]
                for each in self.entries
            ],
        }


def read_manifest(path: Path) -> Manifest:
    """Reads a commit file.

    Raises:
        InputError: It is damaged (class ``damaged``), or of another kind (``foreign``).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            raise InputError(f"{path}: not the commit file of a shard", code="foreign")
        data = json.loads(path.read_bytes())
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {why}", code="unreadable") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: this commit file of a shard is damaged: {error}",
            hint="copy it again, or delete it and extract again",
            code="damaged",
        ) from error
    try:
        if data["format"] != FORMAT:
            raise InputError(
                f"{path}: a shard of format {data['format']}; this version reads {FORMAT}",
                code="foreign",
            )
        if data["shard"] != path.stem:
            raise InputError(
                f"{path}: the commit file of another shard, {data['shard']}",
                hint="shards cannot be renamed; make another cut with: vidsampler shard",
                code="foreign",
            )
        size = int(data["bytes"])
        found = Manifest(
            name=path.stem,
            bytes=size,
            sha256=str(data["sha256"]),
            recipe=dict(data["recipe"]),
            entries=tuple(
                _entry(str(key), str(source), int(offset), members, size)
                for key, source, offset, members in data["index"]
            ),
            failed=tuple(Failure.from_json(each) for each in data["failed"]),
            frames=int(data["frames"]),
        )
        if int(data["samples"]) != len(found.entries):
            raise ValueError(f"{data['samples']} samples, {len(found.entries)} in the index")
        return found
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: not the commit file of a shard ({type(error).__name__}: {error})",
            code="foreign",
        ) from error


def _entry(key: str, source: str, offset: int, members: Any, bytes_: int) -> Entry:
    sizes = tuple((str(name), int(size)) for name, size in members)
    least = min((size for _, size in sizes), default=0)
    if not KEY.fullmatch(key) or min(offset, least) < 0:
        raise ValueError(f"sample {key!r}")
    for name, member_size in sizes:
        if len(name) > 16 or not MEMBER.fullmatch(name) or member_size > MOST_MEMBER:
            raise ValueError(f"sample {key!r}: the file {name[:80]!r} of {member_size} bytes")
    if len(dict(sizes)) != len(sizes):
        raise ValueError(f"sample {key!r}: two files of one name")
    if offset + sum(size for _, size in sizes) > bytes_:
        raise ValueError(f"sample {key!r} lies outside the tar")
    return Entry(key, source, offset, sizes)


def check_tar(folder: Path, manifest: Manifest) -> None:
    """Compares the length of a shard with its commit file.

    Raises:
        InputError: It is not there or another (class ``damaged``), or ``unreadable``.
    """
    if not manifest.entries:
        return
    path = folder / f"{manifest.name}.tar"
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(
            f"{path}: the shard is missing, its commit file is there", hint=MEND, code="damaged"
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {why}", code="unreadable") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: not a regular file", code="foreign")
    if status.st_size != manifest.bytes:
        raise InputError(
            f"{path}: {status.st_size:,} bytes long, {manifest.bytes:,} were committed",
            hint=MEND,
            code="damaged",
        )


def committed(folder: Path) -> list[Path]:
    """The commit files of a folder, in order."""
    found = [path for path in folder.glob("*.json") if NAME.fullmatch(path.stem)]
    return sorted(found, key=lambda path: int(path.stem))
