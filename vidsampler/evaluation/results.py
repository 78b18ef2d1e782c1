"""Result files: what an evaluation measured, with the rank of every query.

One JSON object with the keys of `Result`, a version, and under "ranks" whole numbers for each
query, so that two results can be compared query by query; MSVD's 27,763 captions take some 200 kB.
Reading is strict: an unknown key, a missing one or metrics that are not those of the ranks are
errors.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np

from vidsampler import __version__
from vidsampler.errors import ConfigError
from vidsampler.evaluation.ranks import DIRECTIONS, METRICS, V2T, Direction, Ints, Ranks, metrics
from vidsampler.files import to_json_bytes, write_file
from vidsampler.schema import build, read_leaves

FORMAT = "vidsampler-eval"
VERSION = 1
FRAMES_KEPT = ("mean", "p50", "p95")


@dataclass(frozen=True)
class StoredRanks:
    """Ranks as a file holds them.

    Attributes:
        t2v: Rank of each text's video.
        v2t: Rank of each video that has captions.
        owners: Each text's video; null: text i belongs to video i.
    """

    t2v: list[int]
    v2t: list[int]
    owners: list[int] | None = None


@dataclass(frozen=True)
class Result:
    """What an evaluation measured.

    Attributes:
        queries: Texts.
        videos: Videos, the candidates of t2v.
        t2v: R@1, R@5, R@10, R@50 in percent, MdR, MnR.
        v2t: The same over the videos that have captions.
        v2t_convention: "best" or "grouped"; see `evaluation.ranks`.
        dataset: A registered dataset.
        split: Its split.
        protocol: How its captions and videos belong together.
        frames_kept: Their "mean", "p50" and "p95" over the videos.
        gmacs_per_video: Multiply-adds for a video, in 10^9.
        seconds: How long it took.
        selected_on: The split on which the checkpoint was chosen.
        rerank: What was done to the scores.
        reranked: The directions in which it was done.
        transductive: A query's result depends on other queries of the test set.
        seed: Of all random draws.
        checkpoint: What was evaluated.
        similarity: The matrix that was ranked, in place of a checkpoint.
        versions: Of vidsampler and what it computes with.
        ranks: Those of every query.
        missing: Ids of the split whose video was not there or unreadable; their captions are no
            queries.
        unreadable: Those of them that could not be read when the shards were made.
        notes: What has to be known of the weights, such as what imported ones cannot equal.
    """

    queries: int
    videos: int
    t2v: dict[str, float]
    v2t: dict[str, float]
    v2t_convention: V2T
    dataset: str | None
    split: str | None
    protocol: str | None
    frames_kept: dict[str, float] | None
    gmacs_per_video: float | None
    seconds: float | None
    selected_on: str | None
    rerank: str
    reranked: list[Direction]
    transductive: bool
    seed: int | None
    checkpoint: str | None
    similarity: str | None
    versions: dict[str, str]
    ranks: StoredRanks = field(repr=False)
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        ranks = self.ranks
        owners = ranks.owners
        if len(ranks.t2v) != self.queries or len(owners or ranks.t2v) != self.queries:
            raise ValueError(
                f"ranks: {len(ranks.t2v):,} t2v ranks and {len(owners or ranks.t2v):,} owners for "
                f"{self.queries:,} queries"
            )
        with_captions = self.queries if owners is None else len(set(owners))
        if len(ranks.v2t) != with_captions or with_captions > self.videos:
            raise ValueError(
                f"ranks: {len(ranks.v2t):,} v2t ranks for {with_captions:,} videos with captions "
                f"out of {self.videos:,}"
            )
        for name, numbers, least, most in (
            ("t2v", ranks.t2v, 1, self.videos),
            ("v2t", ranks.v2t, 1, self.queries),
            ("owners", owners or [0], 0, self.videos - 1),
        ):
            if not numbers or min(numbers) < least or max(numbers) > most:
                raise ValueError(f"ranks.{name}: there are none, or some are not {least} to {most}")
        if self.frames_kept is not None and set(self.frames_kept) != set(FRAMES_KEPT):
            raise ValueError(f"frames_kept: its keys are {', '.join(FRAMES_KEPT)}")
        for direction in DIRECTIONS:
            measured = getattr(self, direction)
            true = metrics(self.direction(direction))
            if set(measured) != set(METRICS) or any(
                abs(measured[name] - true[name]) > 1e-9 * max(1, true[name]) for name in METRICS
            ):
                raise ValueError(f"{direction}: the metrics are not those of the ranks")

    def direction(self, name: str) -> Ints:
        """(Q,) the ranks of "t2v" or "v2t"."""
        return np.array(getattr(self.ranks, name), np.int64)

    def to_json(self) -> dict[str, Any]:
        """What the command line prints: all but the ranks."""
        plain = {name: value for name, value in asdict(self).items() if name != "ranks"}
        return {"format": FORMAT, "version": VERSION, **plain}

    def write(self, path: Path) -> None:
        """Writes the result file.

        Raises:
            VidsamplerError: It cannot be written.
        """
        write_file(path, to_json_bytes({**self.to_json(), "ranks": asdict(self.ranks)}))


def result_of(
    ranks: Ranks,
    *,
    v2t_convention: V2T = "best",
    dataset: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    frames_kept: dict[str, float] | None = None,
    gmacs_per_video: float | None = None,
    seconds: float | None = None,
    selected_on: str | None = None,
    rerank: str = "none",
    reranked: tuple[Direction, ...] = (),
    transductive: bool = False,
    seed: int | None = None,
    checkpoint: str | None = None,
    similarity: str | None = None,
    missing: Sequence[str] = (),
    unreadable: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Result:
    """The result of an evaluation; arguments as in `Result`."""
    paired = len(ranks.owners) == ranks.videos and bool(
        (ranks.owners == np.arange(ranks.videos)).all()
    )
    return Result(
        queries=len(ranks.owners),
        videos=ranks.videos,
        t2v=metrics(ranks.t2v),
        v2t=metrics(ranks.v2t),
        v2t_convention=v2t_convention,
        dataset=dataset,
        split=split,
        protocol=protocol,
        frames_kept=frames_kept,
        gmacs_per_video=gmacs_per_video,
        seconds=seconds,
        selected_on=selected_on,
        rerank=rerank,
        reranked=list(reranked),
        transductive=transductive,
        seed=seed,
        checkpoint=checkpoint,
        similarity=similarity,
        versions={
            "vidsampler": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": package_version("torch"),
        },
        ranks=StoredRanks(
            ranks.t2v.tolist(), ranks.v2t.tolist(), None if paired else ranks.owners.tolist()
        ),
        missing=list(missing),
        unreadable=list(unreadable),
        notes=list(notes),
    )


def read_result(path: Path) -> Result:
    """Reads a result file.

    Raises:
        ConfigError: It is missing, no result file, of another version, or damaged.
    """
    try:
        values = json.loads(
            path.read_bytes(),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a result file: {error}") from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ConfigError(
            f"{path}: not a result file of vidsampler eval", hint="write one with --output FILE"
        )
    found = values.pop("version", None)
    if found != VERSION or isinstance(found, bool):
        raise ConfigError(f"{path}: a result file of version {found}, this reads {VERSION}")
    leaves = read_leaves(Result, values, f"{path}: {{key}}")
    try:
        return build(Result, leaves)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that JSON can hold")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found
