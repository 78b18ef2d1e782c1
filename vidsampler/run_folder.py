"""What lies where in the folder of a run. No torch here."""

from __future__ import annotations

from pathlib import Path

CONFIG, CURVES, LAST, BEST = "config.yaml", "curves.png", "last", "best"
STATE, RESULT, PROGRESS = "state.pt", "result.json", "progress.json"


def replaced(folder: Path) -> Path:
    """Where a folder is for a moment while another takes its place."""
    return folder.with_name(f".{folder.name}-old")


def weights_folder(checkpoint: Path, which: str = BEST) -> Path:
    """The folder with the weights: a checkpoint itself, or one of a run folder."""
    inside = checkpoint / which
    return inside if inside.is_dir() else checkpoint
