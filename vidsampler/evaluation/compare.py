"""Results side by side: paired bootstrap intervals and tables, with the published figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidsampler.errors import ConfigError
from vidsampler.evaluation.published import Published
from vidsampler.evaluation.ranks import DIRECTIONS, METRICS, Direction, Ints
from vidsampler.evaluation.results import Result

CONFIDENCE = 0.95
RESAMPLES = 10_000

COLUMNS = (
    "direction",
    "system",
    *METRICS,
    "kept",
    "GMACs",
    "difference in R@1",
    "source",
    "note",
)
NUMBERS = "ll" + "r" * 9 + "ll"


@dataclass(frozen=True)
class Difference:
    """R@1 of a result minus that of another, on the same queries.

    Attributes:
        direction: "t2v" or "v2t".
        result: Name of the one.
        baseline: Name of the other.
        difference: In percentage points.
        low: Lower end of the interval.
        high: Upper end.
        confidence: What share of such intervals hold the true difference.
        resamples: Draws of the bootstrap.
    """

    direction: Direction
    result: str
    baseline: str
    difference: float
    low: float
    high: float
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES


def paired_interval(
    baseline_Q: Ints,
    ranks_Q: Ints,
    clusters_Q: Ints | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the difference in R@1 between two results on the same queries.

    Queries are drawn with replacement, each with both of its ranks; the captions of one video are
    drawn together, because they are not independent (Efron and Tibshirani, 1993, percentile
    interval). Videos with equal numbers of captions and equal changes are interchangeable, so one
    multinomial draw of their kinds is the same as drawing videos one by one.

    Args:
        baseline_Q: Ranks of one result.
        ranks_Q: Ranks of the other, of the same queries in the same order.
        clusters_Q: The video of each query; None: queries are independent.
        confidence: Between 0 and 1.
        resamples: Number of draws.
        seed: Of the draws.

    Returns:
        Lower and upper end of R@1 of ``ranks_Q`` minus that of ``baseline_Q``, in points.

    Raises:
        ValueError: The numbers of queries differ, or there are none.
    """
    if len(baseline_Q) != len(ranks_Q) or not len(ranks_Q):
        raise ValueError(f"{len(baseline_Q)} and {len(ranks_Q)} ranks are not pairs")
    change_Q = (ranks_Q == 1).astype(np.int64) - (baseline_Q == 1)
    if clusters_Q is None:
        clusters_Q = np.arange(len(ranks_Q))
    _, cluster_Q = np.unique(clusters_Q, return_inverse=True)
    sizes = np.bincount(cluster_Q)
    changes = np.bincount(cluster_Q, weights=change_Q).astype(np.int64)
    kinds, counts = np.unique(np.stack([changes, sizes], 1), axis=0, return_counts=True)
    drawn: NDArray[np.int64] = np.random.default_rng(seed).multinomial(
        len(sizes), counts / len(sizes), size=resamples
    )
    differences = 100 * (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(low), float(high)


def why_not_paired(baseline: Result, result: Result) -> str | None:
    """Why two results do not have the same queries; None where they do."""
    for name in ("dataset", "split", "protocol", "queries", "videos"):
        one, other = getattr(baseline, name), getattr(result, name)
        if one != other:
            return f"{name} {one} and {other}"
    if different := set(baseline.missing) ^ set(result.missing):
        return f"other videos are missing, such as {min(different)}"
    if baseline.ranks.owners != result.ranks.owners:
        return "other owners"
    return None


def baseline_of(results: Sequence[Result], number: int) -> int | None:
    """The first of the results that has the queries of one; None where that is itself."""
    same = (i for i in range(number) if why_not_paired(results[i], results[number]) is None)
    return next(same, None)


def differences(names: Sequence[str], results: Sequence[Result]) -> list[Difference]:
    """Every result beside the first one of the same queries.

    v2t is left out where the conventions differ.
    """
    found = []
    for number, (name, result) in enumerate(zip(names, results, strict=True)):
        first = baseline_of(results, number)
        if first is None:
            continue
        baseline = results[first]
        for direction in DIRECTIONS:
            clusters = result.ranks.owners if direction == "t2v" else None
            if direction == "v2t" and baseline.v2t_convention != result.v2t_convention:
                continue
            low, high = paired_interval(
                baseline.direction(direction),
                result.direction(direction),
                None if clusters is None else np.array(clusters),
            )
            change = getattr(result, direction)["R@1"] - getattr(baseline, direction)["R@1"]
            found.append(Difference(direction, name, names[first], change, low, high))
    return found


def columns_of(results: Sequence[Result]) -> tuple[tuple[str, ...], str]:
    """The headings of `table_rows`, and which of them are numbers, as `Output.table` takes it."""
    if len(_sets(results)) > 1:
        return ("dataset", *COLUMNS), "l" + NUMBERS
    return COLUMNS, NUMBERS


def table_rows(
    names: Sequence[str],
    results: Sequence[Result],
    found: Sequence[Difference],
    published: Sequence[Published],
) -> list[list[str]]:
    """The cells of `columns_of`: of each direction, the results and then the published figures.

    Results of several datasets or splits stand apart, each with the figures of its own.
    """
    sets = _sets(results)
    rows = []
    for each in sets:
        mine = [place for place, result in enumerate(results) if _set(result) == each]
        cells = _rows_of_one(
            [names[place] for place in mine],
            [results[place] for place in mine],
            found,
            [line for line in published if (line.dataset, line.split) == each],
        )
        label = "" if each[0] is None else each[0] + ("" if each[1] == "test" else f", {each[1]}")
        rows += [[label, *row] for row in cells] if len(sets) > 1 else cells
    return rows


def _set(result: Result) -> tuple[str | None, str]:
    return result.dataset, result.split or "test"


def _sets(results: Sequence[Result]) -> list[tuple[str | None, str]]:
    return list(dict.fromkeys(_set(result) for result in results))


def _rows_of_one(
    names: Sequence[str],
    results: Sequence[Result],
    found: Sequence[Difference],
    published: Sequence[Published],
) -> list[list[str]]:
    rows = []
    for direction in DIRECTIONS:
        beside = {each.result: each for each in found if each.direction == direction}
        for name, result in zip(names, results, strict=True):
            kept = result.frames_kept
            measured = getattr(result, direction)
            rows.append(
                [
                    direction,
                    name,
                    *(metric_text(metric, measured[metric]) for metric in METRICS),
                    "" if kept is None else f"{kept['mean']:.1f}",
                    "" if result.gmacs_per_video is None else f"{result.gmacs_per_video:.1f}",
                    _interval(beside[name]) if name in beside else "",
                    "measured",
                    _note(result, direction),
                ]
            )
        for line in published:
            if line.direction != direction:
                continue
            system = ", ".join(part for part in (line.system, line.variant, line.backbone) if part)
            numbers = [line.metrics[metric] for metric in METRICS]
            rows.append(
                [
                    direction,
                    system,
                    *(
                        "" if number is None else metric_text(metric, number)
                        for metric, number in zip(METRICS, numbers, strict=True)
                    ),
                    "" if line.kept is None else f"{line.kept:.1f}",
                    "" if line.gmacs_per_video is None else f"{line.gmacs_per_video:.1f}",
                    "",
                    line.source,
                    line.note,
                ]
            )
    return rows


def comparison_json(
    names: Sequence[str],
    results: Sequence[Result],
    found: Sequence[Difference],
    published: Sequence[Published],
) -> dict[str, Any]:
    """The comparison as the command line's JSON."""
    return {
        "results": [
            {"file": name, **result.to_json()} for name, result in zip(names, results, strict=True)
        ],
        "differences": [asdict(each) for each in found],
        "published": [asdict(line) for line in published],
    }


def as_markdown(
    rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS, numbers: str = NUMBERS
) -> str:
    """Rows of `columns_of` as a Markdown table."""
    ruler = ["---:" if letter == "r" else "---" for letter in numbers]
    lines = [columns, ruler, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_csv(rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> str:
    """Rows of `columns_of` as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def check_names(names: Sequence[str]) -> None:
    """A table needs names that tell its rows apart.

    Raises:
        ConfigError: One is there twice.
    """
    for name in names:
        if list(names).count(name) > 1:
            raise ConfigError(f"{name} is given twice: a result cannot be compared with itself")


def metric_text(name: str, value: float) -> str:
    """A metric as tables show it."""
    return f"{value:g}" if name == "MdR" else f"{value:.1f}"


def _interval(each: Difference) -> str:
    return f"{each.difference:+.1f} [{each.low:+.1f}, {each.high:+.1f}]"


def _note(result: Result, direction: Direction) -> str:
    notes = []
    if direction in result.reranked:
        notes.append(result.rerank)
    if result.transductive:
        notes.append("transductive")
    if direction == "v2t" and result.v2t_convention == "grouped":
        notes.append("grouped captions")
    if result.selected_on is not None:
        notes.append(f"chosen on {result.selected_on}")
    return ", ".join(notes)
