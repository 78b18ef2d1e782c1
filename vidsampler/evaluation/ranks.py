"""Ranks of a similarity matrix and their metrics: exact, in bounded memory.

rank = 1 + candidates with a strictly greater score + candidates of an equal score that stand
before it. Axes: T texts (rows), V videos (columns), R the rows of one block. A text's video is its
owner; t2v ranks the videos for each text. v2t has two conventions:

- "best": the candidates are all captions; a video's rank is the best rank of any caption of its
  own. The published evaluators of MSRVTT, MSVD and the like use this one.
- "grouped": the candidates are the videos' groups of captions, a group being as good as its best
  caption; equal groups stand in the order of their videos. Ranks are then comparable between
  datasets with many and with few captions a video.

With one caption a video both are the same. A video without captions is a candidate in t2v, and in
v2t it is neither query nor candidate.

The matrix is read twice and never held: the first pass ranks the videos of each text and collects
the scores of the own pairs; the second counts what stands before them in each column. Only
comparisons of the scores as they were given and whole numbers are involved, so the size of blocks,
the device and the number of processes cannot change a rank. Beside a block, memory is a few numbers
a text and a video; "grouped" adds V bits for each video whose captions were read only in part, so
that the captions of a video should stand together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidsampler.evaluation.rows import Array, MatrixError, Rows, rows_of

if TYPE_CHECKING:
    from torch import Tensor

Ints = NDArray[np.int64]
V2T = Literal["best", "grouped"]
V2T_CONVENTIONS: tuple[V2T, ...] = ("best", "grouped")
Direction = Literal["t2v", "v2t"]
DIRECTIONS: tuple[Direction, ...] = ("t2v", "v2t")
CUTOFFS = (1, 5, 10, 50)
METRICS = (*(f"R@{k}" for k in CUTOFFS), "MdR", "MnR")


@dataclass(frozen=True)
class Ranks:
    """The ranks of both directions; a direction that was not asked for is empty.

    Attributes:
        t2v: (T,) rank of each text's own video, from 1.
        v2t: rank of each video that has captions, in the order of the columns.
        owners: (T,) each text's video.
        videos: V, those without captions included.
    """

    t2v: Ints
    v2t: Ints
    owners: Ints
    videos: int


def rank_matrix(
    matrix: Any,
    owners: ArrayLike | None = None,
    *,
    v2t: V2T = "best",
    directions: Sequence[Direction] = DIRECTIONS,
    block: int | None = None,
) -> Ranks:
    """Ranks the own pairs of a similarity matrix.

    Args:
        matrix: (T, V) float scores, higher is better: a NumPy array, a torch tensor, the path of
            a `.npy` file, or `Rows`.
        owners: (T,) the column of each text's own video; None: text i belongs to video i.
        v2t: "best" or "grouped", as the module says.
        directions: Which ones to rank; t2v alone takes one pass.
        block: Rows to look at at a time; it changes no rank.

    Raises:
        MatrixError: Wrong dimensions or dtype, no owners for a matrix that is not square, owners
            that do not fit, or scores that are NaN or infinite (it counts them).
    """
    rows = rows_of(matrix)
    counter = RankCounter(checked_owners(owners, rows), rows.shape[1], v2t=v2t)
    start = 0
    for each in rows.blocks(block):
        counter.first(start, each)
        start += len(each)
    counter.check_finite(rows.name)
    if "v2t" in directions:
        start = 0
        for each in rows.blocks(block):
            counter.second(start, each)
            start += len(each)
    return counter.ranks(directions)


def checked_owners(owners: ArrayLike | None, rows: Rows) -> Ints:
    """(T,) the video of each text.

    Raises:
        MatrixError: There are none and the matrix is not square; or they are not T whole numbers
            from 0 to V - 1.
    """
    texts, videos = rows.shape
    if owners is None:
        if texts != videos:
            raise MatrixError(
                f"{rows.name}: {texts:,} texts x {videos:,} videos is not square, so the video of "
                "each text must be given",
                hint="--owners FILE: a .npy file with the column of each row's video",
            )
        return np.arange(texts)
    given = np.asarray(owners)
    if given.dtype.kind not in "iu":
        raise MatrixError(f"owners must be whole numbers, not {given.dtype}")
    if given.shape != (texts,):
        raise MatrixError(
            f"{rows.name}: {texts:,} texts need as many owners, these have the shape {given.shape}"
        )
    outside = np.flatnonzero((given < 0) | (given >= videos))
    if len(outside):
        raise MatrixError(
            f"{rows.name}: {len(outside):,} of {texts:,} owners are no column of {videos:,} "
            f"(0 to {videos - 1}); the first is {given[outside[0]]} of text {outside[0]}"
        )
    return given.astype(np.int64)


def metrics(ranks: Ints) -> dict[str, float]:
    """R@1, R@5, R@10 and R@50 in percent, the median rank MdR and the mean rank MnR.

    Args:
        ranks: (Q,) ranks from 1. MdR is the mean of the two middle ones where Q is even.

    Raises:
        ValueError: There are none.
    """
    if not len(ranks):
        raise ValueError("there are no ranks to summarise")
    found = {f"R@{k}": 100 * int(np.count_nonzero(ranks <= k)) / len(ranks) for k in CUTOFFS}
    return {**found, "MdR": float(np.median(ranks)), "MnR": int(ranks.sum()) / len(ranks)}


class RankCounter:
    """Counts ranks over blocks of rows, in two passes; blocks may come in any order.

    Several processes, each with its own rows, sum three attributes: `own_T`, `t2v_T` and
    `not_finite` after the first pass, `before_V` after the second. What a process has not seen is
    0 in its share, so that the sums are exact. Under "grouped" the captions of one video must lie
    in one process.

    Args:
        owners: (T,) each text's video.
        videos: V.
        v2t: The convention.

    Attributes:
        own_T: Score of each text with its own video.
        t2v_T: Rank of each text's video.
        not_finite: Scores so far that are NaN or infinite.
        before_V: Candidates that stand before each video's own caption.
    """

    def __init__(self, owners: Ints, videos: int, *, v2t: V2T = "best") -> None:
        self.own_T = np.zeros(len(owners))
        self.t2v_T = np.zeros(len(owners), np.int64)
        self.not_finite = 0
        self.before_V = np.zeros(videos, np.int64)
        self._owners_T = owners
        self._captions_V = np.bincount(owners, minlength=videos)
        self._grouped = v2t == "grouped"
        self._best: tuple[Array, Ints] | None = None
        self._open: dict[int, _OpenGroup] = {}

    def first(self, start: int, block_RV: Array | Tensor) -> None:
        """First pass: some rows.

        Args:
            start: The number of the block's first row.
            block_RV: (R, V) scores, a NumPy array as `Rows.blocks` gives them or a tensor.
        """
        rows = slice(start, start + len(block_RV))
        counted = _kernels(block_RV).rank_rows(block_RV, self._owners_T[rows])
        self.own_T[rows], self.t2v_T[rows], not_finite = counted
        self.not_finite += not_finite

    def check_finite(self, name: str) -> None:
        """To be called between the passes.

        Raises:
            MatrixError: Scores were NaN or infinite.
        """
        if self.not_finite:
            total = len(self.own_T) * len(self.before_V)
            raise MatrixError(
                f"{name}: {self.not_finite:,} of {total:,} scores are NaN or infinite",
                hint="ranks of such scores mean nothing; find out where they come from",
            )

    def second(self, start: int, block_RV: Array | Tensor) -> None:
        """Second pass: some rows; arguments as of `first`."""
        if self._best is None:
            self._best = _best_captions(self.own_T, self._owners_T, len(self.before_V))
        best_V, first_V = self._best
        kernels = _kernels(block_RV)
        if not self._grouped:
            self.before_V += kernels.count_before(block_RV, best_V, first_V, start)
            return
        owners_R = self._owners_T[start : start + len(block_RV)]
        for groups, sizes, before_GV in kernels.groups_before(block_RV, best_V, owners_R):
            self._add_groups(groups, sizes, before_GV)

    def ranks(self, directions: Sequence[Direction] = DIRECTIONS) -> Ranks:
        """The ranks, once all rows were seen.

        Raises:
            ValueError: Under "grouped" some videos' captions were seen only in part.
        """
        if self._open:
            raise ValueError(
                f"the captions of {len(self._open)} videos were seen only in part, the first is "
                f"video {min(self._open)}"
            )
        none = np.zeros(0, np.int64)
        return Ranks(
            t2v=self.t2v_T if "t2v" in directions else none,
            v2t=1 + self.before_V[self._captions_V > 0] if "v2t" in directions else none,
            owners=self._owners_T,
            videos=len(self.before_V),
        )

    def _add_groups(self, groups: Ints, sizes: Ints, before_GV: NDArray[np.bool_]) -> None:
        """Adds groups that are whole; the others wait, one bit a column, for their other rows."""
        whole = sizes == self._captions_V[groups]
        self.before_V += np.count_nonzero(before_GV[whole], axis=0)
        for g in np.flatnonzero(~whole):
            group = int(groups[g])
            waiting = self._open.setdefault(
                group,
                _OpenGroup(
                    int(self._captions_V[group]), np.zeros((before_GV.shape[1] + 7) // 8, np.uint8)
                ),
            )
            waiting.bits |= np.packbits(before_GV[g])
            waiting.left -= int(sizes[g])
            if not waiting.left:
                self.before_V += np.unpackbits(waiting.bits, count=before_GV.shape[1])
                del self._open[group]


@dataclass
class _OpenGroup:
    """A group of captions of which some rows are still to come.

    Attributes:
        left: How many.
        bits: One bit a column: whether a caption so far stands before that video's own.
    """

    left: int
    bits: NDArray[np.uint8]


def _kernels(block: Array | Tensor) -> Any:
    """The module that counts on what holds the block."""
    if isinstance(block, np.ndarray):
        from vidsampler.evaluation import counting

        return counting
    from vidsampler.evaluation import counting_torch

    return counting_torch


def _best_captions(own_T: Array, owners_T: Ints, videos: int) -> tuple[Array, Ints]:
    """(V,) the best score of an own caption, +inf without any; (V,) the first row that has it."""
    best_V = np.full(videos, -np.inf)
    np.maximum.at(best_V, owners_T, own_T)
    is_best = np.flatnonzero(own_T == best_V[owners_T])
    first_V = np.full(videos, len(own_T))
    np.minimum.at(first_V, owners_T[is_best], is_best)
    # Nothing stands before a video that is no query.
    best_V[best_V == -np.inf] = np.inf
    return best_V, first_V
