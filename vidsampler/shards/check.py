"""One shard, or one folder of frames, read back to the last byte: what `verify` does with it."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidsampler.errors import InputError
from vidsampler.shards.manifest import Entry, Manifest, check_tar, read_manifest
from vidsampler.shards.writer import BLOCK, header, padded

_CHUNK = 1 << 20

MOST_JSON = 256 << 20
MOST_PICTURE = 256 << 20
"""Bytes; nothing that is larger was stored by this package."""

PICTURES = (".jpg", ".png", ".webp")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        shard: The name of the shard, or of the folder of frames.
        key: The sample, where it is in one.
        kind: ``damaged``, ``foreign``, ``uncommitted``, ``unreadable`` or ``crashed``.
        message: One sentence.
        mendable: Made again, it would be right.
    """

    shard: str
    key: str | None
    kind: str
    message: str
    mendable: bool = True

    def to_json(self) -> dict[str, str | None]:
        """As ``vidsampler verify --json`` prints it."""
        return {
            "shard": self.shard,
            "key": self.key,
            "class": self.kind,
            "message": self.message,
        }


@dataclass(frozen=True)
class ShardTask:
    """What is to be looked at.

    Attributes:
        path: The commit file.
        layout: ``shards`` or ``folders``.
        items: (key, source) of each video that the plan has in it; None: there is no plan.
    """

    path: Path
    layout: str = "shards"
    items: tuple[tuple[str, str], ...] | None = None


@dataclass
class Checked:
    """What was found.

    Attributes:
        samples, frames, bytes: That were read.
        keys: Of the samples.
        findings: What is wrong.
    """

    samples: int = 0
    frames: int = 0
    bytes: int = 0
    keys: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def check(task: ShardTask) -> Checked:
    """Reads everything back."""
    look = _Shard(task) if task.layout == "shards" else _Folder(task)
    look.run()
    return look.checked


class _Look:
    """What both layouts have in common."""

    def __init__(self, task: ShardTask) -> None:
        self.task = task
        self.name = task.path.stem
        self.checked = Checked()

    def found(self, kind: str, message: str, key: str | None = None) -> None:
        self.checked.findings.append(Finding(self.name, key, kind, message))

    def pictures(self, what: str, facts: dict[str, Any], pictures: int, key: str) -> None:
        """Compares how many frames there are with what ``KEY.json`` says."""
        numbers = facts.get("numbers")
        if isinstance(numbers, list) and len(numbers) != pictures:
            self.found("damaged", f"{what}: {pictures} frames, {len(numbers)} were stored", key)


class _Shard(_Look):
    def run(self) -> None:
        try:
            manifest = read_manifest(self.task.path)
            self._compare_with_plan(manifest)
            check_tar(self.task.path.parent, manifest)
        except InputError as error:
            self.found(error.code, error.message)
            return
        if manifest.entries:
            self._read(manifest, self.task.path.with_suffix(".tar"))
        counted = sum(entry.frames for entry in manifest.entries) or self.checked.frames
        if manifest.frames != counted and not self.checked.findings:
            self.found(
                "damaged",
                f"{self.task.path}: {manifest.frames} frames were committed, there are {counted}",
            )

    def _compare_with_plan(self, manifest: Manifest) -> None:
        if self.task.items is None:
            return
        planned = {source for _, source in self.task.items}
        held = {entry.source for entry in manifest.entries}
        held |= {failure.source for failure in manifest.failed}
        if planned != held:
            one = sorted(planned ^ held)[0]
            where = "is not in it" if one in planned else "does not belong there"
            self.found("foreign", f"{self.task.path}: not as it was planned: {one} {where}")

    def _read(self, manifest: Manifest, path: Path) -> None:
        try:
            with path.open("rb", buffering=0) as file:
                self.checked.bytes = manifest.bytes
                if _sha256(file) != manifest.sha256:
                    self.found("damaged", f"{path}: its content has changed since it was committed")
                at = 0
                for entry in manifest.entries:
                    at = self._sample(file, path, entry, at)
                file.seek(at)
                if file.read(4 * BLOCK) != bytes(2 * BLOCK):
                    self.found("damaged", f"{path}: the tar does not end after its last sample")
        except OSError as error:
            self.found("unreadable", f"{path}: cannot be read: {error.strerror or error}")

    def _sample(self, file: io.FileIO, path: Path, entry: Entry, at: int) -> int:
        """Looks at one sample; gives where the next one should begin."""
        self.checked.samples += 1
        self.checked.keys.append(entry.key)
        what = f"{path}: {entry.key}"
        if entry.offset != at:
            self.found("damaged", f"{what} is not where the one before it ends", entry.key)
            at = entry.offset
        facts: dict[str, Any] = {}
        frames = 0
        for name, size in entry.members:
            file.seek(at)
            if file.read(BLOCK) != header(f"{entry.key}.{name}", size):
                self.found("damaged", f"{what}.{name} is not where the index says", entry.key)
            else:
                try:
                    member = _Window(file.fileno(), at + BLOCK, size)
                    if name == "json":
                        facts = read_facts(member)
                    else:
                        frames += count_frames(member, name)
                except InputError as error:
                    self.found("damaged", f"{what}.{name}: {error.message}", entry.key)
            at += BLOCK + padded(size)
        if not any(finding.key == entry.key for finding in self.checked.findings):
            if facts.get("source", entry.source) != entry.source:
                self.found("damaged", f"{what}.json is of another video", entry.key)
            self.pictures(what, facts, frames, entry.key)
        self.checked.frames += frames
        return at


class _Folder(_Look):
    """``STEM.json`` beside ``STEM/`` or ``STEM.mp4``."""

    def run(self) -> None:
        path = self.task.path
        self.checked.samples = 1
        try:
            with path.open("rb") as file:
                facts = read_facts(file)
        except OSError as error:
            self.found("unreadable", f"{path}: cannot be read: {error.strerror or error}")
            return
        except InputError as error:
            self.found("damaged", f"{path}: {error.message}")
            return
        if self.task.items is not None and facts.get("source") != self.task.items[0][1]:
            self.found("foreign", f"{path}: of another video than was planned")
        frames = 0
        for each in self._files():
            try:
                with each.open("rb", buffering=0) as file:
                    size = os.fstat(file.fileno()).st_size
                    self.checked.bytes += size
                    frames += count_frames(_Window(file.fileno(), 0, size), each.name)
            except OSError as error:
                self.found("unreadable", f"{each}: cannot be read: {error.strerror or error}")
            except InputError as error:
                self.found("damaged", f"{each}: {error.message}")
        if not self.checked.findings:
            self.pictures(str(path.with_suffix("")), facts, frames, self.name)
        self.checked.frames = frames

    def _files(self) -> Iterator[Path]:
        folder = self.task.path.with_name(self.name)
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.suffix in PICTURES)
        else:
            yield self.task.path.with_name(f"{self.name}.mp4")


def _sha256(file: io.FileIO) -> str:
    digest = hashlib.sha256()
    while data := file.read(_CHUNK):
        digest.update(data)
    return digest.hexdigest()


def read_facts(file: Any) -> dict[str, Any]:
    """What a ``KEY.json`` says.

    Raises:
        InputError: It is not such a file.
    """
    data = file.read(MOST_JSON + 1)
    if len(data) > MOST_JSON:
        raise InputError("too long for a description of a video", code="damaged")
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", code="damaged") from error
    if not isinstance(facts, dict):
        raise InputError("not a description of a video", code="damaged")
    return facts


def count_frames(file: _Window, name: str) -> int:
    """Decodes a picture or a small video; 0 for a file of another kind, which nobody looks into.

    Raises:
        InputError: It cannot be decoded.
    """
    if name.endswith(".mp4") or name == "mp4":
        return _decode_video(file)
    if not name.endswith(PICTURES):
        return 0
    if file.size > MOST_PICTURE:
        raise InputError("too long for a picture", code="damaged")
    _decode_picture(file.read(), name)
    return 1


def _decode_picture(data: bytes, name: str) -> None:
    from vidsampler.video.container import MAX_PIXELS

    if name.endswith(".jpg"):
        import simplejpeg

        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            if height * width <= MAX_PIXELS:
                simplejpeg.decode_jpeg(data, colorspace="GRAY", strict=True)
        except ValueError as error:
            raise InputError(f"the picture cannot be decoded: {error}", code="damaged") from error
    else:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as picture:
                width, height = picture.size
                if height * width <= MAX_PIXELS:
                    picture.load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"the picture cannot be decoded: {error}", code="damaged") from error
    if height * width > MAX_PIXELS:
        raise InputError(f"a picture of {width} x {height} pixels", code="damaged")


def _decode_video(file: _Window) -> int:
    import av
    import av.error

    try:
        with av.open(file, "r", format="mp4", metadata_errors="ignore") as container:
            if not container.streams.video:
                raise InputError("there is no video in it", code="damaged")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            return len([1 for _ in container.decode(stream)])
    except (av.error.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"the video cannot be decoded: {why}", code="damaged") from error


class _Window(io.RawIOBase):
    """A part of an open file, to read and to seek in."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._at = 0
        self.size = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        data = os.pread(self._descriptor, wanted, self._start + self._at)
        self._at += len(data)
        return data
