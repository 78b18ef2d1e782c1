"""Checkpoints: whole or not there, and nothing in them that runs.

A run folder holds ``last/`` and ``best/``, each with what `Retriever.save` writes. ``last/`` has a
``state.pt`` beside it, from which the run goes on to the bit, and a ``progress.json`` that says how
far that is and what was measured; ``best/`` a ``result.json`` that says why it is the best.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vidsampler.errors import InputError, VidsamplerError
from vidsampler.files import TEMPORARY, sync_folder, write_file
from vidsampler.retriever import Retriever
from vidsampler.run_folder import BEST, LAST, PROGRESS, RESULT, STATE, replaced


def save_last(
    run: Path, retriever: Retriever, state: dict[str, Any], progress: dict[str, Any]
) -> None:
    """Writes ``last/``.

    Args:
        run: The run folder.
        retriever: The weights.
        state: Of the optimiser and the loader: tensors and plain containers alone; and the step.
        progress: As of `save_progress`.

    Raises:
        VidsamplerError: There is no room; what was there stays.
    """

    def fill(folder: Path) -> None:
        retriever.save(folder)
        # By way of memory: torch says of a full disk only that its writer failed.
        data = io.BytesIO()
        torch.save(state, data)
        (folder / STATE).write_bytes(data.getbuffer())
        (folder / PROGRESS).write_bytes(_json(progress))

    save_folder(run / LAST, fill)


def save_progress(run: Path, progress: dict[str, Any]) -> None:
    """Writes what has changed beside the last weights, which are many times its size.

    Args:
        run: The run folder.
        progress: ``step`` and ``of`` how many; whether it ``owes_validation`` of these weights;
            the ``best`` result, or None.

    Raises:
        VidsamplerError: There is no room; what was there stays.
    """
    path = run / LAST / PROGRESS
    with _resumable(path.parent, path.parent):
        write_file(path, _json(progress), durable=True)


def save_best(run: Path, retriever: Retriever, result: dict[str, Any]) -> None:
    """Writes ``best/``.

    Raises:
        VidsamplerError: There is no room; what was there stays.
    """

    def fill(folder: Path) -> None:
        retriever.save(folder)
        (folder / RESULT).write_bytes(_json(result))

    save_folder(run / BEST, fill)


def save_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Puts a folder in its place at once; one that was there is replaced.

    Args:
        folder: Its place.
        fill: Writes what belongs into it into the folder that it is given.

    Raises:
        VidsamplerError: There is no room; what was there stays.
    """
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(8)}")
    with _resumable(folder, temporary):
        temporary.mkdir(parents=True)
        try:
            fill(temporary)
            for path in temporary.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(temporary)
            old = replaced(folder)
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                os.replace(folder, old)
            os.replace(temporary, folder)
            sync_folder(folder.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _resumable(folder: Path, temporary: Path) -> Iterator[None]:
    """Says of what cannot be written that the run goes on from what was written before."""
    hint = "make room or choose another place, then run again with --resume auto"
    try:
        yield
    except (SafetensorError, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise VidsamplerError(
            f"{folder}: cannot be written: {reason}", hint=hint, code="unwritable"
        ) from error
    except VidsamplerError as error:
        # It names the file under its temporary name.
        raise VidsamplerError(
            error.message.replace(str(temporary), str(folder)), hint=hint, code=error.code
        ) from error


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode("utf-8")


def restore(run: Path) -> None:
    """Clears up after a run that was killed while it saved.

    A folder that `save_folder` had moved away comes back, what was half written goes.
    """
    for name in (LAST, BEST):
        folder = run / name
        if replaced(folder).is_dir() and not folder.exists():
            os.replace(replaced(folder), folder)
        for left in run.glob(f".{name}-*"):
            shutil.rmtree(left, ignore_errors=True)
    for left in (*run.glob(f"{TEMPORARY}*"), *(run / LAST).glob(f"{TEMPORARY}*")):
        left.unlink()


def read_state(run: Path) -> dict[str, Any]:
    """What `save_last` wrote beside the last weights, and `save_progress`; nothing is executed.

    Raises:
        InputError: It is missing, damaged or of another kind.
    """
    state = _read(run / LAST / STATE, lambda path: torch.load(path, "cpu", weights_only=True))
    progress = _read(run / LAST / PROGRESS, lambda path: json.loads(path.read_bytes()))
    # Runs of earlier versions have all but the step in the state.
    found = {"owes_validation": False, **state, **progress}
    if "best" not in found:
        raise InputError(f"{run / LAST / PROGRESS}: not a state of training", code="foreign")
    return found


def _read(path: Path, load: Callable[[Path], Any]) -> dict[str, Any]:
    try:
        found = load(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}", code="unreadable"
        ) from error
    except Exception as error:
        why = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: not a state of training, or a damaged one: {why}", code="damaged"
        ) from error
    needed = {STATE: ("step", "optimizer", "loader"), PROGRESS: ("step", "of")}[path.name]
    if not isinstance(found, dict) or any(name not in found for name in needed):
        raise InputError(f"{path}: not a state of training", code="foreign")
    return found
