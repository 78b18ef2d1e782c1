"""What a run writes down as it goes: `log.jsonl`, and TensorBoard's files where it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vidsampler.files import write_file, writing

LOG, BOARD = "log.jsonl", "tensorboard"


class Journal:
    """The log of a run, one JSON object a line; each has the number of its step, from 1.

    Args:
        run: The run folder.
        step: How many steps have been done: lines of later ones are of a run that was killed after
            its last checkpoint, and go.
        owed: What lines of validations have, where that of these weights will be made up: one that
            is there already goes.
    """

    def __init__(self, run: Path, step: int, owed: str | None = None) -> None:
        self.path = run / LOG
        kept = [
            line
            for line in read_log(run)
            if line["step"] < step or (line["step"] == step and (owed is None or owed not in line))
        ]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_file(self.path, text.encode())
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run / BOARD), purge_step=step + 1)

    def write(self, step: int, entry: Mapping[str, Any]) -> None:
        """Adds a line.

        Raises:
            VidsamplerError: It cannot be written.
        """
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            # JSON has no word for what is not finite.
            file.write(json.dumps({"step": step, **_finite(entry)}, allow_nan=False) + "\n")
        if self._board is not None:
            with writing(self.path.parent / BOARD):
                for name, value in _flat(entry):
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Hands over what TensorBoard has not written yet.

        Raises:
            VidsamplerError: It cannot be written.
        """
        if self._board is not None:
            with writing(self.path.parent / BOARD):
                self._board.close()


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; one that was half written is left out."""
    path = run / LOG
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value


def _flat(entry: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{above}{key}", float(value)
