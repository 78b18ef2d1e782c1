"""A small run, shards, and videos with captions, to evaluate."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.rendering import render
from tests.training.tiny_run import tiny, write_shards
from vidsampler import plainyaml
from vidsampler.retriever import Retriever
from vidsampler.training.settings import TrainConfig

VIDEOS = 9


def write_run(folder: Path, method: str = "adaclip", **more: Any) -> Path:
    """A run folder as train leaves it, with shards of 9 test and 4 training videos beside it."""
    if not (folder / "shards").exists():
        write_shards(folder / "shards", test=VIDEOS, train=4)
    config: TrainConfig = tiny(folder, method, **more)
    run = folder / method
    retriever = Retriever.from_config(config)
    retriever.save(run / "best")
    retriever.save(run / "last")
    (run / "best" / "result.json").write_text(json.dumps({"selected_on": "val"}))
    (run / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    return run


def write_videos(folder: Path, captions: Sequence[tuple[str, str]], *, split: str = "test") -> Path:
    """Small videos, one for each name in ``captions`` that ends in .mp4, and captions.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(dict.fromkeys(name for name, _ in captions)):
        if name.endswith(".mp4"):
            render(folder / name, range(100 * number, 100 * number + 12), size=(96, 80))
    with (folder / "captions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "caption", "split"])
        rows.writerows([name, caption, split] for name, caption in captions)
    return folder
