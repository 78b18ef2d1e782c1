"""From features to ranks: every score is computed once, in blocks, and never held as a whole.

The one path of `eval`, of validation while training, and of benchmarks. U are the wordings, the
distinct captions; captions of the same words share the row of their wording, so that their ties
stay exact. Other axes are those of `ranks` and `heads.base`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vidsampler.errors import VidsamplerError
from vidsampler.evaluation.ranks import V2T, Ints, Ranks
from vidsampler.evaluation.rerank import Method, Rerank, rank_reranked
from vidsampler.evaluation.rows import Array, Rows
from vidsampler.heads.base import Head
from vidsampler.video_features import VideoFeatures

if TYPE_CHECKING:
    from vidsampler.world import World

BLOCK = 64
"""Texts, and videos of query-dependent heads, that are compared at once."""


@dataclass(frozen=True, eq=False)
class Texts:
    """T captions as features of their U wordings.

    Attributes:
        features_UD: (U, D), not normalised.
        ids_U: (U,) int64 from `text_ids`; heads that draw noise key it by them.
        wordings_T: (T,) the wording of each caption.
    """

    features_UD: Tensor
    ids_U: Tensor
    wordings_T: Ints

    def __len__(self) -> int:
        """T."""
        return len(self.wordings_T)

    @classmethod
    def of(cls, features_UD: Tensor, texts: Sequence[str], wordings_T: Ints | None = None) -> Texts:
        """Features of some texts.

        Args:
            features_UD: (U, D), a row for each text.
            texts: U, each once.
            wordings_T: None: each is one caption.
        """
        if wordings_T is None:
            wordings_T = np.arange(len(texts), dtype=np.int64)
        return cls(features_UD, text_ids(texts), wordings_T)


def text_ids(texts: Sequence[str]) -> Tensor:
    """(U,) int64, from 0: a number for each text that depends on its words alone."""
    digests = [
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in texts
    ]
    numbers = [int.from_bytes(digest, "big") >> 1 for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64)


class ScoreRows(Rows):
    """(T, V) float32 scores in a temporary file without a name, a row for each wording.

    The file goes with the object; the system keeps in memory what there is room for.

    Args:
        wordings_T: (T,) the row of each caption.
        videos: V.
        name: What errors call it.
    """

    def __init__(self, wordings_T: Ints, videos: int, name: str = "the scores") -> None:
        super().__init__((len(wordings_T), videos), name)
        self._wordings_T = wordings_T
        self._width = 4 * videos
        with _temporary():
            self._file = tempfile.TemporaryFile(prefix="vidsampler-")  # noqa: SIM115

    def __enter__(self) -> ScoreRows:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()

    def append(self, block_RV: Tensor) -> None:
        """The scores of the next wordings.

        Raises:
            VidsamplerError: There is no room for them.
        """
        with _temporary():
            self._file.write(np.ascontiguousarray(block_RV.float().cpu().numpy()).data)
            self._file.flush()

    def blocks(self, size: int | None = None) -> Iterator[Array]:
        """See `Rows.blocks`."""
        for rows in self._slices(size, 4):
            yield self._read(self._wordings_T[rows])

    def _read(self, wordings_R: Ints) -> Array:
        """(R, V); wordings that follow each other, as most do, are one read."""
        block_RV = np.empty((len(wordings_R), self.shape[1]), np.float32)
        breaks = np.flatnonzero(np.diff(wordings_R) != 1) + 1
        starts = [0, *breaks.tolist()]
        for start, end in zip(starts, [*starts[1:], len(wordings_R)], strict=True):
            part = block_RV[start:end]
            got = os.preadv(self._file.fileno(), [part.data], int(wordings_R[start]) * self._width)
            if got < part.nbytes:
                raise ValueError(f"{self.name}: wording {wordings_R[end - 1]} has no scores")
        return block_RV


@contextmanager
def _temporary() -> Iterator[None]:
    """Turns what the system says against temporary files into an error with a way out."""
    try:
        yield
    except OSError as error:
        # Without any place for such files, Python has no name to give either.
        raise VidsamplerError(
            f"the temporary file of the scores cannot be written: {error.strerror or error}",
            hint="make room, or set TMPDIR to a folder with more",
            code="unwritable",
        ) from error


@torch.no_grad()
def score_rows(
    head: Head,
    texts: Texts,
    videos: VideoFeatures,
    *,
    block: int = BLOCK,
    world: World | None = None,
    name: str = "the scores",
    progress: Callable[[int, int], None] | None = None,
) -> ScoreRows:
    """Computes all scores, each once.

    Several processes take turns by whole blocks of texts: every block is the same computation,
    whoever does it, so that the scores are the same for any number of processes.

    Args:
        head: In eval mode.
        texts: On any device; the same in each process.
        videos: The gallery, on the device to compute on; the same in each process.
        block: See `Head.similarity`.
        world: The processes.
        name: What errors call the scores.
        progress: Called with the wordings that are done, and all of them.

    Returns:
        The scores; in processes other than the first one, nothing can be read from them.

    Raises:
        ValueError: Shapes do not fit.
        VidsamplerError: There is no room for the scores.
    """
    rank, ranks = (0, 1) if world is None else (world.rank, world.size)
    features_UD = texts.features_UD.to(videos.features_VFD.device)
    count = len(features_UD)
    # Ranks take turns, block by block; only the very last block may be a smaller one.
    mine = torch.arange(count).split(block)[rank::ranks]
    chosen = torch.cat(mine) if mine else torch.zeros(0, dtype=torch.int64)
    blocks = head.rows(
        features_UD[chosen.to(features_UD.device)],
        videos.features_VFD,
        videos.keep_VF,
        text_ids_T=texts.ids_U[chosen],
        block=block,
    )
    rows = ScoreRows(texts.wordings_T, len(videos), name)
    for first in range(0, count, block * ranks):
        has_part = first + rank * block < count
        part = next(blocks) if has_part else None
        whole = part if world is None or ranks == 1 else world.gather_rows(part)
        assert whole is not None
        if rank == 0:
            rows.append(whole)
        if progress is not None:
            progress(min(first + block * ranks, count), count)
    return rows


def rank_texts_and_videos(
    head: Head,
    texts: Texts,
    videos: VideoFeatures,
    owners: ArrayLike | None = None,
    *,
    rerank: Method = "none",
    bank: Texts | None = None,
    v2t: V2T = "best",
    block: int = BLOCK,
    world: World | None = None,
    name: str = "the scores",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Ranks, Rerank]:
    """Ranks videos for texts and texts for videos; every process gets the same.

    Args:
        head: In eval mode.
        texts: T captions.
        videos: V videos, the gallery.
        owners: (T,) the video of each caption; None: caption i belongs to video i.
        rerank: What is done to the scores; see `rerank`.
        bank: Training captions for `qb-norm`.
        v2t: See `ranks`.
        block: As of `score_rows`, like `world`, `name` and `progress`.
        world: Likewise.
        name: Likewise.
        progress: Likewise.

    Returns:
        The ranks, and what was done to the scores.

    Raises:
        MatrixError: Scores are NaN or infinite (it counts them), owners or bank do not fit.
        VidsamplerError: There is no room for the scores.
    """
    with ExitStack() as files:

        def scores(some: Texts, called: str) -> ScoreRows:
            each = score_rows(
                head, some, videos, block=block, world=world, name=called, progress=progress
            )
            return files.enter_context(each)

        rows = scores(texts, name)
        how = Rerank(rerank, None if bank is None else scores(bank, "the bank"))

        def rank() -> Ranks:
            return rank_reranked(rows, owners, how, v2t=v2t)

        return rank() if world is None else world.from_first(rank), how
