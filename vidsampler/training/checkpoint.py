"""Checkpoints: whole or not there, and nothing in them that runs.

A run folder holds ``last/`` and ``best/``, each with what `Retriever.save` writes. ``last/`` has a
``state.pt`` beside it, from which the run goes on to the bit, and a ``progress.json`` that says how
far that is; ``best/`` a ``result.json`` that says why it is the best.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vidsampler.errors import InputError, VidsamplerError
from vidsampler.files import sync_folder, writing
from vidsampler.retriever import Retriever
from vidsampler.run_folder import BEST, LAST, PROGRESS, RESULT, STATE, replaced


def save_last(run: Path, retriever: Retriever, state: dict[str, Any], of: int) -> None:
    """Writes ``last/``.

    Args:
        run: The run folder.
        retriever: The weights.
        state: Of the optimiser and the loader: tensors and plain containers alone; and the step.
        of: Steps of the whole run.

    Raises:
        VidsamplerError: There is no room; what was there stays.
    """

    def fill(folder: Path) -> None:
        retriever.save(folder)
        # By way of memory: torch says of a full disk only that its writer failed.
        data = io.BytesIO()
        torch.save(state, data)
        (folder / STATE).write_bytes(data.getbuffer())
        owes = bool(state.get("owes_validation"))
        progress = json.dumps({"step": state["step"], "of": of, "owes_validation": owes})
        (folder / PROGRESS).write_text(progress + "\n", encoding="utf-8")

    save_folder(run / LAST, fill)


def save_best(run: Path, retriever: Retriever, result: dict[str, Any]) -> None:
    """Writes ``best/``.

    Raises:
        VidsamplerError: There is no room; what was there stays.
    """

    def fill(folder: Path) -> None:
        retriever.save(folder)
        (folder / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    save_folder(run / BEST, fill)


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
            _fill(folder, temporary, fill)
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


def _fill(folder: Path, temporary: Path, fill: Callable[[Path], None]) -> None:
    try:
        fill(temporary)
    except SafetensorError as error:
        raise VidsamplerError(
            f"{folder}: cannot be written: {error}",
            hint="make room or choose another place, then run again with --resume auto",
            code="unwritable",
        ) from error
    except VidsamplerError as error:
        # It names the file under its temporary name.
        raise VidsamplerError(
            error.message.replace(str(temporary), str(folder)),
            hint="make room or choose another place, then run again with --resume auto",
            code=error.code,
        ) from error


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


def read_state(run: Path) -> dict[str, Any]:
    """The state beside the last weights; nothing in it is executed.

    Raises:
        InputError: It is missing, damaged or of another kind.
    """
    path = run / LAST / STATE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}", code="unreadable"
        ) from error
    except Exception as error:
        why = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: not a state of training, or a damaged one: {why}", code="damaged"
        ) from error
    if not isinstance(state, dict) or "step" not in state or "optimizer" not in state:
        raise InputError(f"{path}: not a state of training", code="foreign")
    return state
