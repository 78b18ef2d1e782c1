"""Several published runs: where each goes, and what is there of it. No torch here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidsampler.errors import InputError, UsageError
from vidsampler.run_folder import BEST, LAST, PROGRESS, RESULT, replaced
from vidsampler.runs import PublishedRun, matching_runs, published_run

State = Literal["nothing yet", "begun", "trained"]


@dataclass(frozen=True)
class PlannedRun:
    """One of several runs.

    Attributes:
        name: Of the published run.
        run: What was published.
        folder: Of the run that is to come or is there.
        shards: Of its dataset; None where nobody named any.
        sampler_from: The folder of the run whose sampler is taken, or None.
    """

    name: str
    run: PublishedRun
    folder: Path
    shards: Path | None
    sampler_from: Path | None

    def words(self) -> list[str]:
        """What makes it this run, for the command line of `train`."""
        words = ["--run", self.name, "--output", str(self.folder), "--resume", "auto"]
        for flag, value in (("--shards", self.shards), ("--sampler-from", self.sampler_from)):
            words += [] if value is None else [flag, str(value)]
        return words

    def state(self) -> State:
        """What is there of it."""
        last = self.folder / LAST
        if not last.is_dir():
            return "begun" if replaced(last).is_dir() else "nothing yet"
        # Not by the log, which is ahead of the weights. The best ones are there before the last.
        try:
            progress = json.loads((last / PROGRESS).read_bytes())
            whole = (
                progress["step"] >= progress["of"]
                and not progress.get("owes_validation")
                and (self.folder / BEST / RESULT).is_file()
            )
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        return "trained" if whole else "begun"

    def best(self) -> dict[str, Any] | None:
        """What was measured when its best weights were found; None where nothing was yet."""
        path = self.folder / BEST / RESULT
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found


def plan_runs(pattern: str, output: Path, shards: Path | None) -> list[PlannedRun]:
    """The published runs that fit a pattern, in an order in which they can be trained.

    Args:
        pattern: Such as `mmsampler/*`.
        output: Each run's folder is `output` / its name.
        shards: A folder with one of shards for each dataset, named as the dataset is; or the
            shards themselves, where all runs are of one dataset.

    Raises:
        UsageError: No run fits, or a sampler is to come from a run that does not fit and is not
            there.
        InputError: The shards of a dataset are not in their folder.
    """
    names = matching_runs(pattern)
    runs = {name: published_run(name) for name in names}
    of_dataset = {
        dataset: _shards_of(dataset, shards, alone=len({run.dataset for run in runs.values()}) == 1)
        for dataset in sorted({run.dataset for run in runs.values()})
    }
    planned = []
    for name, run in runs.items():
        source = run.sampler_from
        if source is not None and source not in runs and not (output / source / LAST).is_dir():
            raise UsageError(
                f"{name} takes the sampler of {source}, which {pattern!r} leaves out and which is "
                f"not in {output / source}",
                hint=f"vidsampler train --run {source} --output {output / source}",
            )
        planned.append(
            PlannedRun(
                name,
                run,
                output / name,
                of_dataset[run.dataset],
                None if source is None else output / source,
            )
        )
    return planned


def _shards_of(dataset: str, shards: Path | None, *, alone: bool) -> Path | None:
    if shards is None:
        return None
    if (shards / dataset).is_dir():
        return shards / dataset
    if alone and shards.is_dir():
        return shards
    raise InputError(
        f"{shards / dataset}: no such folder; runs of several datasets want a folder of shards for "
        "each",
        hint=f"vidsampler shard VIDEOS {shards / dataset} --dataset {dataset} --annotations DIR",
        code="missing",
    )


TABLE = ("run", "what is there", "R@1", "on", "published", "folder")
NUMBERS = "llrlrl"


def table_of(planned: Sequence[PlannedRun]) -> list[list[str]]:
    """The cells of `TABLE`: text to video, ours on the split that chose the weights."""
    rows = []
    for each in planned:
        best = each.best() or {}
        recall = best.get("t2v", {}).get("R@1")
        figures = next(iter(each.run.figures()), None)
        theirs = None if figures is None else figures.t2v.get("R@1")
        rows.append(
            [
                each.name,
                each.state(),
                "" if recall is None else f"{recall:.1f}",
                str(best.get("selected_on") or ""),
                "" if theirs is None else f"{theirs:.1f}",
                str(each.folder),
            ]
        )
    return rows


def table_json(planned: Sequence[PlannedRun]) -> list[dict[str, Any]]:
    """The same as plain data."""
    return [
        {
            "run": each.name,
            "method": each.run.method,
            "dataset": each.run.dataset,
            "folder": str(each.folder),
            "state": each.state(),
            "best": each.best(),
            "published": [{"t2v": line.t2v, "v2t": line.v2t} for line in each.run.figures()],
        }
        for each in planned
    ]
