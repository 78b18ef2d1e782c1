"""The list of an index: which segments count, what made them, and what could not be embedded.

It is small, and takes the place of the one before by a rename: an index is what its list says.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vidsampler.errors import InputError
from vidsampler.files import to_json_bytes
from vidsampler.search.entry import Stamp
from vidsampler.shards.manifest import Failure

FORMAT = 1
NAME = "index.json"
_SEGMENT = re.compile(r"[0-9a-f]{16}")
Kind = Literal["videos", "shards"]


@dataclass(frozen=True)
class Part:
    """A segment, as the list has it.

    Attributes:
        name: The first digits of its SHA-256.
        videos, frames, bytes: What it holds.
        sha256: Of the file.
        first: The source of its first video.
    """

    name: str
    videos: int
    frames: int
    bytes: int
    sha256: str
    first: str


@dataclass(frozen=True)
class Failed:
    """A video that is not in the index, and why.

    Attributes:
        stamp: What its file looked like; None where it could not even be read.
        failure: As in ``errors.jsonl``.
    """

    stamp: Stamp | None
    failure: Failure


@dataclass(frozen=True)
class Manifest:
    """The list.

    Attributes:
        kind: What the index was made from.
        folder: Where that is.
        config: Settings of the retriever and the index.
        checkpoint: The folder of the weights; None: `config` says where they come from.
        fingerprint: Of the weights.
        width: D.
        size: Pixels of the frames that the model was shown.
        parts: The segments, in the order of their videos.
        failed: Source -> why it is not in them.
    """

    kind: Kind
    folder: str
    config: dict[str, Any]
    checkpoint: str | None
    fingerprint: str
    width: int
    size: int
    parts: tuple[Part, ...] = ()
    failed: dict[str, Failed] = field(default_factory=dict)

    @property
    def videos(self) -> int:
        """How many there are."""
        return sum(part.videos for part in self.parts)

    @property
    def frames(self) -> int:
        """How many kept frames there are."""
        return sum(part.frames for part in self.parts)

    def to_bytes(self) -> bytes:
        """The file."""
        plain = {
            "format": FORMAT,
            "kind": self.kind,
            "folder": self.folder,
            "config": self.config,
            "checkpoint": self.checkpoint,
            "fingerprint": self.fingerprint,
            "width": self.width,
            "size": self.size,
            "videos": self.videos,
            "frames": self.frames,
            "segments": [vars(part) for part in self.parts],
            "failed": [
                [each.stamp and each.stamp.to_json(), each.failure.to_json()]
                for _, each in sorted(self.failed.items())
            ],
        }
        return to_json_bytes(plain)


def read_manifest(folder: Path) -> Manifest:
    """The list of an index.

    Raises:
        InputError: There is no index (class ``missing``), it cannot be read (``unreadable``,
            ``damaged``) or is of another version (``foreign``).
    """
    path = folder / NAME
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} is no index: there is no {NAME} in it"
            if folder.is_dir()
            else f"there is no index {folder}",
            hint=f"make one: vidsampler embed VIDEOS {folder}",
            code="missing",
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {why}", code="unreadable") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, str(error)) from error
    try:
        if data["format"] != FORMAT:
            raise InputError(
                f"{folder}: an index of format {data['format']}; this version reads {FORMAT}",
                hint="make it again: vidsampler embed VIDEOS INDEX --overwrite",
                code="foreign",
            )
        failed = [
            Failed(None if stamp is None else Stamp.from_json(stamp), Failure.from_json(failure))
            for stamp, failure in data["failed"]
        ]
        found = Manifest(
            kind=data["kind"],
            folder=str(data["folder"]),
            config=dict(data["config"]),
            checkpoint=data["checkpoint"],
            fingerprint=str(data["fingerprint"]),
            width=int(data["width"]),
            size=int(data["size"]),
            parts=tuple(_part(each) for each in data["segments"]),
            failed={each.failure.source: each for each in failed},
        )
        if (found.videos, found.kind in ("videos", "shards")) != (data["videos"], True):
            raise ValueError("its numbers do not fit each other")
        return found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error


def _part(data: dict[str, Any]) -> Part:
    part = Part(
        str(data["name"]),
        int(data["videos"]),
        int(data["frames"]),
        int(data["bytes"]),
        str(data["sha256"]),
        str(data["first"]),
    )
    if not _SEGMENT.fullmatch(part.name):  # files of these names are opened and deleted
        raise ValueError(f"segment {part.name!r}")
    return part


def _damaged(folder: Path, why: str) -> InputError:
    return InputError(
        f"the index {folder} is damaged: {NAME}: {why}",
        hint="copy it again, or make it again: vidsampler embed VIDEOS INDEX --overwrite",
        code="damaged",
    )
