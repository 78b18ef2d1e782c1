"""Checkpoints: whole or not there, and nothing in them that runs.

A run folder holds ``last/`` and ``best/``, each with what `Retriever.save` writes, and in
``state/`` the newest states of the optimiser, from which a run goes on to the bit.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vidsampler.errors import InputError
from vidsampler.files import sync_folder, write_file, writing

STATE = "state.pt"
_STEP = re.compile(r"step-(\d{9})")


def save_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Puts a folder in its place at once; one that was there is replaced.

    Args:
        folder: Its place.
        fill: Writes what belongs into it into the folder that it is given.

    Raises:
        VidsamplerError: There is no room; what was there stays.
    """
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            temporary.chmod(0o755)
            fill(temporary)
            for path in temporary.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            old = folder.with_name(f".{folder.name}-old")
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                os.replace(folder, old)
            os.replace(temporary, folder)
            sync_folder(folder.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def restore_replaced(folder: Path) -> None:
    """Brings back what `save_folder` had moved away when it was killed between its two steps."""
    old = folder.with_name(f".{folder.name}-old")
    if old.is_dir() and not folder.exists():
        os.replace(old, folder)


def save_state(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Writes a state of training and forgets all but the newest ones.

    Args:
        folder: Of the run.
        step: Of the whole run, from 0.
        state: Tensors and plain containers alone.
        keep: How many to keep.

    Raises:
        VidsamplerError: There is no room; the earlier ones stay.
    """
    import io

    data = io.BytesIO()
    torch.save(state, data)
    path = folder / "state" / f"step-{step:09d}.pt"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data.getvalue(), durable=True)
    for older in states(folder)[keep:]:
        older.unlink(missing_ok=True)
    return path


def states(folder: Path) -> list[Path]:
    """The states of a run, newest first."""
    found = [path for path in (folder / "state").glob("step-*.pt") if _STEP.fullmatch(path.stem)]
    return sorted(found, reverse=True)


def read_state(path: Path) -> dict[str, Any]:
    """Reads a state; nothing in it is executed.

    Raises:
        InputError: It is damaged or of another kind.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}", code="unreadable"
        ) from error
    except Exception as error:
        raise InputError(
            f"{path}: not a state of training, or a damaged one: {error}".splitlines()[0],
            code="damaged",
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise InputError(f"{path}: not a state of training", code="foreign")
    return state


def newest_state(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest state that is whole, passing over damaged ones; None where there is none."""
    for path in states(folder):
        try:
            return path, read_state(path)
        except InputError:
            continue
    return None
