"""What an output folder holds so far, what is left to do, and who may write there.

``plan.jsonl`` says which video belongs to which shard. It only grows, and is on the disk before the
first of its shards is begun: whatever happens, a further run makes the same shards.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol

from vidsampler.errors import InputError, UsageError
from vidsampler.files import TEMPORARY, to_json_bytes, write_file, writing
from vidsampler.shards.key import KEY, make_key
from vidsampler.shards.manifest import (
    FORMAT,
    NAME,
    Failure,
    check_tar,
    committed,
    read_manifest,
)
from vidsampler.shards.writer import Member, ShardWriter, remove_spool

PLAN = "plan.jsonl"
ERRORS = "errors.jsonl"
CONFIG = "config.yaml"
LOCK = ".lock"


@dataclass(frozen=True)
class Item:
    """A video that belongs into a shard.

    Attributes:
        key: Its key.
        source: Its path below the folder of videos.
    """

    key: str
    source: str


@dataclass(frozen=True)
class Unit:
    """What is committed at once: a shard, or in ``folders`` layout one video.

    Attributes:
        name: Of the shard or folder.
        items: What belongs into it, in order.
    """

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    Attributes:
        item: The item.
        members: Its files, if it worked.
        frames: How many frames it has.
        spool: Where those members lie that are not in memory.
        failure: Why it did not work.
    """

    item: Item
    members: tuple[Member, ...] = ()
    frames: int = 0
    spool: Path | None = None
    failure: Failure | None = None


class Job(Protocol):
    """An output folder, opened for one run; `ShardJob` and `FolderJob` are such."""

    done: dict[str, int]
    """Source -> frames of what is committed."""

    failed: dict[str, Failure]
    """Source -> why it is not."""

    makes_shards: bool
    """Whether its units are shards."""

    @property
    def temporary(self) -> Path:
        """Holds what is in the making."""
        ...

    def assign(self, sources: Sequence[str]) -> list[Unit]:
        """The units that hold these sources, and those that an earlier run did not finish."""
        ...

    def commit(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        """Puts a unit in its place."""
        ...


@dataclass
class OutputFolder:
    """A folder that one run at a time may write to, under one recipe.

    Args:
        folder: The folder; made if need be.
        header: What must be the same in each run: the recipe and the layout.
        overwrite: Delete what earlier runs made.
        command: For hints: what to run.
    """

    folder: Path
    header: dict[str, Any]
    overwrite: bool = False
    command: str = "extract"
    temporary: Path = field(init=False)
    lines: list[dict[str, Any]] = field(init=False, default_factory=list)
    _lock: int = field(init=False, default=-1)

    def open(self) -> None:
        """Takes the folder.

        Raises:
            UsageError: It holds other things, or what another recipe made, or another run is
                writing there.
            VidsamplerError: It cannot be written.
        """
        self._check_free()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
        except OSError as error:
            raise UsageError(
                f"{self.folder}: cannot write there ({error.strerror or error})", code="unwritable"
            ) from error
        try:
            for left in self.folder.glob(f"{TEMPORARY}*"):
                remove_spool(left)
            self._read_plan()
            with writing(self.folder):
                self.temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder))
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Gives it back."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        with contextlib.suppress(OSError):
            (self.folder / LOCK).unlink()
        os.close(self._lock)

    def write_plan(self, lines: Iterable[dict[str, Any]]) -> None:
        """Adds lines to the plan; they are on the disk when this returns."""
        self.lines += lines
        data = b"".join(to_json_bytes(line) for line in (self.header, *self.lines))
        write_file(self.folder / PLAN, data, durable=True)

    def _check_free(self) -> None:
        if self.folder.is_dir():
            try:
                names = os.listdir(self.folder)
            except OSError as error:
                raise UsageError(
                    f"{self.folder}: cannot be read ({error.strerror or error})", code="unwritable"
                ) from error
            if PLAN not in names and any(not name.startswith((TEMPORARY, LOCK)) for name in names):
                raise UsageError(
                    f"{self.folder}: holds other things, such as {sorted(names)[0]}",
                    hint="name a new or an empty folder",
                )
        elif self.folder.exists():
            raise UsageError(f"{self.folder}: is not a folder", code="unwritable")

    def _locked(self) -> int:
        """The lock file, open and locked."""
        path = self.folder / LOCK
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise UsageError(
                    f"{self.folder}: another run is writing there",
                    hint="wait for it, or name another folder",
                ) from None
            except OSError:
                return handle  # a file system without locks
            # Where a run ended just now, this may be the file that it deleted: nobody's lock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return handle
            os.close(handle)

    def _read_plan(self) -> None:
        path = self.folder / PLAN
        if not path.exists():
            return
        try:
            header, *lines = (json.loads(line) for line in path.read_bytes().splitlines())
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']}, this version writes {FORMAT}")
            for line in lines:
                _check_line(line, header["layout"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                f"{path}: the plan of this folder cannot be read: {error}",
                hint="name another folder",
                code="damaged",
            ) from error
        if self.overwrite:
            self._clear(header, lines)
            return
        if header != self.header:
            raise UsageError(
                f"{self.folder}: made with other settings: " + _differences(header, self.header),
                hint="name another folder, or start it again with --overwrite",
            )
        self.lines = lines

    def _clear(self, header: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        """Deletes what a plan says that this folder holds, and nothing else; the plan last."""
        with writing(self.folder):
            names = [str(line["unit"]) for line in lines]
            if header["layout"] == "shards":
                names += [path.stem for path in committed(self.folder)]
            for name in dict.fromkeys(names):
                (self.folder / f"{name}.json").unlink(missing_ok=True)
                (self.folder / f"{name}.tar").unlink(missing_ok=True)
                if header["layout"] == "folders":
                    (self.folder / f"{name}.mp4").unlink(missing_ok=True)
                    remove_spool(self.folder / name)
            for name in (ERRORS, CONFIG):
                (self.folder / name).unlink(missing_ok=True)
            (self.folder / PLAN).unlink()


class ShardJob:
    """A folder of shards, opened for one run.

    Args:
        output: The folder.
        recipe: For the commit files.
        per_shard: Samples in a new shard.
        keys: Source -> key, where they are not to be made of the source.
        even: Spread new samples evenly, in place of filling all shards but the last.
        shards: So many in a new folder, where there are enough samples.

    Use it in a ``with`` block.
    """

    makes_shards = True

    def __init__(
        self,
        output: OutputFolder,
        recipe: dict[str, Any],
        per_shard: int,
        *,
        keys: Mapping[str, str] | None = None,
        even: bool = False,
        shards: int | None = None,
    ) -> None:
        self._output = output
        self._recipe = recipe
        self._per_shard = per_shard
        self._keys = keys or {}
        self._even = even
        self._shards = shards
        self.done: dict[str, int] = {}
        self.failed: dict[str, Failure] = {}
        self._planned: list[Unit] = []
        self._committed: set[str] = set()
        self._stored_keys: dict[str, str] = {}

    def __enter__(self) -> ShardJob:
        self._output.open()
        try:
            for path in committed(self._output.folder):
                manifest = read_manifest(path)
                check_tar(self._output.folder, manifest)
                self._committed.add(manifest.name)
                self._stored_keys |= {entry.source: entry.key for entry in manifest.entries}
                self._stored_keys |= {failure.source: failure.key for failure in manifest.failed}
                self._account(
                    {entry.source: entry.frames for entry in manifest.entries}, manifest.failed
                )
            self._planned = [
                Unit(line["unit"], tuple(Item(*item) for item in line["items"]))
                for line in self._output.lines
            ]
        except BaseException:
            self._output.close()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._output.close()

    @property
    def temporary(self) -> Path:
        """Holds what is in the making."""
        return self._output.temporary

    def assign(self, sources: Sequence[str]) -> list[Unit]:
        """The shards that hold these sources, and those that an earlier run did not finish."""
        begun = [unit for unit in self._planned if unit.name not in self._committed]
        waiting = {item.source for unit in begun for item in unit.items}
        # Of the committed shards too: the plan may be an old copy.
        keys = dict(self._stored_keys)
        keys |= {item.source: item.key for unit in self._planned for item in unit.items}
        taken = set(keys.values())
        items = []
        for source in sources:
            if source in waiting:
                continue
            if source not in keys:
                keys[source] = self._keys.get(source) or make_key(source, taken)
                taken.add(keys[source])
            items.append(Item(keys[source], source))
        names = {unit.name for unit in self._planned} | self._committed
        first = max(map(int, names), default=-1) + 1
        shards = -(-len(items) // self._per_shard)
        if self._shards is not None and not names:
            shards = min(self._shards, len(items))
        step = len(items) / shards if self._even and shards else self._per_shard
        new = [
            Unit(
                f"{first + number:06d}",
                tuple(items[round(number * step) : round((number + 1) * step)]),
            )
            for number in range(shards)
        ]
        if new or not self._output.lines:
            self._output.write_plan(
                {"unit": unit.name, "items": [[item.key, item.source] for item in unit.items]}
                for unit in new
            )
        self._planned += new
        return begun + new

    def commit(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        """Writes the tar, then its commit file.

        Raises:
            VidsamplerError: There is no room.
        """
        failed = [each.failure for each in outcomes if each.failure is not None]
        with ShardWriter(
            self._output.folder, unit.name, self._recipe, self._output.temporary
        ) as writer:
            for outcome in outcomes:
                if outcome.failure is None:
                    item = outcome.item
                    writer.add(
                        item.key, item.source, outcome.members, outcome.frames, outcome.spool
                    )
            writer.commit(failed)
        for outcome in outcomes:
            remove_spool(outcome.spool)
        self._committed.add(unit.name)
        self._account(
            {each.item.source: each.frames for each in outcomes if each.failure is None}, failed
        )

    def _account(self, done: dict[str, int], failed: Iterable[Failure]) -> None:
        """A later shard has the last word: there a failed video was tried again."""
        for failure in failed:
            self.failed[failure.source] = failure
        for source, frames in done.items():
            self.done[source] = frames
            self.failed.pop(source, None)


def stem_of(source: str) -> str:
    """The folder of a video in ``folders`` layout: its name without the ending."""
    return PurePath(source).stem.strip(". ") or "video"


def _check_line(line: Any, layout: str) -> None:
    """Raises ValueError, TypeError or KeyError for what cannot be a line of a plan.

    What it names is written and deleted, so that nothing in it may lead out of the folder.
    """
    name, items = line["unit"], [(key, source) for key, source in line["items"]]
    good = bool(items) and all(isinstance(source, str) for _, source in items)
    if layout == "shards":
        good &= bool(NAME.fullmatch(name)) and all(KEY.fullmatch(key) for key, _ in items)
    else:
        good &= name == stem_of(items[0][1])
    if not good:
        raise ValueError(f"not a line of a plan: {str(line)[:100]}")


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
    with writing(path), path.open("ab") as file:
        file.write(to_json_bytes(failure.to_json()))


def read_errors(folder: Path) -> list[Failure]:
    """What an earlier run wrote there; none where there is no such file or it is cut."""
    failures = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        for line in (folder / ERRORS).read_bytes().splitlines():
            failures.append(Failure.from_json(json.loads(line)))
    return failures


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    flat_old, flat_new = _flat(old), _flat(new)
    names = [name for name in {**flat_old, **flat_new} if flat_old.get(name) != flat_new.get(name)]
    return ", ".join(
        f"{name} {flat_old.get(name, 'unset')} (now {flat_new.get(name, 'unset')})"
        for name in names
    )


def _flat(data: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat
