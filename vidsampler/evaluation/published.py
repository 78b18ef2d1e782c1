"""The published figures that results stand beside: `configs/published.csv`.

Figures are as their authors give them, in the papers or the releases, and not ours; almost all of
them chose their checkpoint on the test split. Where a figure is known not to hold, its note says
so. Systems whose papers give one row in several tables have it once here, with all its metrics.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from vidsampler.config import configs_dir
from vidsampler.evaluation.ranks import METRICS

Which = Literal["none", "main", "all"]
WHICH: tuple[Which, ...] = ("none", "main", "all")


@dataclass(frozen=True)
class Published:
    """One row: a system on a split, in one direction.

    Attributes:
        system: Its name.
        variant: Which one of its variants.
        dataset: A registered dataset.
        split: Its split, as this package calls it (ActivityNet's val_1 is "test").
        backbone: The CLIP model, if it has one.
        candidates: Frames that the sampler looks at.
        kept: Frames kept, on average.
        gmacs_per_video: What the papers call GFLOPs.
        direction: "t2v" or "v2t".
        metrics: As in results; None: not given.
        kind: "main", or "ablation" for rows of the papers' ablation tables.
        source: Where it stands.
        note: What is known against it.
    """

    system: str
    variant: str
    dataset: str
    split: str
    backbone: str
    candidates: int | None
    kept: float | None
    gmacs_per_video: float | None
    direction: str
    metrics: dict[str, float | None]
    kind: str
    source: str
    note: str


def published() -> list[Published]:
    """All rows, in the order of the file."""
    path = configs_dir() / "published.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Published(
                system=row["system"],
                variant=row["variant"],
                dataset=row["dataset"],
                split=row["split"],
                backbone=row["backbone"],
                candidates=int(row["candidates"]) if row["candidates"] else None,
                kept=_number(row["kept"]),
                gmacs_per_video=_number(row["gmacs_per_video"]),
                direction=row["direction"],
                metrics={name: _number(row[name]) for name in METRICS},
                kind=row["kind"],
                source=row["source"],
                note=row["note"],
            )
            for row in csv.DictReader(file)
        ]


def published_beside(
    measured: Iterable[tuple[str | None, str | None]], which: Which = "main"
) -> list[Published]:
    """The rows of the datasets and splits that were measured.

    Args:
        measured: (dataset, split) of results; a split that is None stands for "test".
        which: "main": without the ablations; "all"; or "none".
    """
    wanted = {(dataset, split or "test") for dataset, split in measured}
    return [
        row
        for row in published()
        if (row.dataset, row.split) in wanted and which in ("all", row.kind)
    ]


def _number(text: str) -> float | None:
    return float(text) if text else None
