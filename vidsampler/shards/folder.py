"""A folder that results go to: who may write there, under which recipe, by which plan."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from vidsampler.errors import InputError, UsageError
from vidsampler.files import TEMPORARY, to_json_bytes, write_file, writing
from vidsampler.shards.key import KEY
from vidsampler.shards.manifest import FORMAT, NAME, committed
from vidsampler.shards.writer import drop_aside, remove_spool

PLAN = "plan.jsonl"
ERRORS = "errors.jsonl"
CONFIG = "config.yaml"
LOCK = ".lock"


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
        self._lock = lock_folder(self.folder)
        try:
            for left in self.folder.glob(f"{TEMPORARY}*"):
                remove_spool(left)
            self._read_plan()
            with writing(self.folder):
                self.temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder))
        except BaseException:
            unlock_folder(self.folder, self._lock)
            raise

    def close(self) -> None:
        """Gives it back."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        unlock_folder(self.folder, self._lock)

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

    def _read_plan(self) -> None:
        found = read_plan(self.folder)
        if found is None:
            return
        header, lines = found
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
            planned = {file for name in names for file in files_of(header, name)}
            for name in dict.fromkeys(names):
                frames, commit = (self.folder / file for file in files_of(header, name))
                commit.unlink(missing_ok=True)
                if frames.is_dir():
                    remove_spool(frames)
                else:
                    frames.unlink(missing_ok=True)
                for path in (frames, commit):
                    drop_aside(path, planned)
            for name in (ERRORS, CONFIG):
                (self.folder / name).unlink(missing_ok=True)
            (self.folder / PLAN).unlink()


def lock_folder(folder: Path) -> int:
    """Takes a folder, made if need be, for the one run that may write there.

    Returns:
        What `unlock_folder` gives back.

    Raises:
        UsageError: Another run is writing there, or nobody can.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _locked(folder)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot write there ({error.strerror or error})", code="unwritable"
        ) from error


def unlock_folder(folder: Path, lock: int) -> None:
    """Gives a folder back."""
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()
    os.close(lock)


def _locked(folder: Path) -> int:
    """The lock file, open and locked."""
    path = folder / LOCK
    while True:
        # No link is followed: nothing outside the folder is made.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(path, flags, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UsageError(
                f"{folder}: another run is writing there",
                hint="wait for it, or name another folder",
            ) from None
        except OSError:
            return handle  # a file system without locks
        # Where a run ended just now, this may be the file that it deleted: nobody's lock.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)


def read_plan(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The header and the lines of a folder's plan; None where there is none.

    Raises:
        InputError: It cannot be read.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    try:
        header, *lines = (json.loads(line) for line in path.read_bytes().splitlines())
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}, this version writes {FORMAT}")
        for line in lines:
            _check_line(line, header["layout"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path}: the plan of this folder cannot be read: {error}",
            hint="name another folder",
            code="damaged",
        ) from error
    return header, lines


def files_of(header: dict[str, Any], unit: str) -> tuple[str, str]:
    """The names of what a unit becomes, under a plan of this header: the frames, the commit file.

    The frames are a tar, or in ``folders`` layout a folder or an mp4.
    """
    if header["layout"] == "shards":
        return f"{unit}.tar", f"{unit}.json"
    mp4 = header.get("recipe", {}).get("store") == "mp4"
    return f"{unit}.mp4" if mp4 else unit, f"{unit}.json"


def check_finished(folder: Path) -> None:
    """Whether a folder of shards holds all that its plan has.

    Raises:
        InputError: The run that makes it was interrupted, or goes on.
    """
    waiting = 0
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        header, *lines = (json.loads(line) for line in (folder / PLAN).read_bytes().splitlines())
        if header["layout"] == "shards":
            made = {path.stem for path in committed(folder)}
            waiting = len({str(line["unit"]) for line in lines} - made)
    if waiting:
        raise InputError(
            f"{folder}: {waiting} of its shards are planned and not made yet",
            hint="run the command that was interrupted again",
            code="uncommitted",
        )


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
