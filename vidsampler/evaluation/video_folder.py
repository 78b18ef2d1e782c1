"""Videos decoded as they are evaluated, without shards.

Where the sampler does not look at frames, only those that it keeps are decoded; the other places
of a batch stay black, and nobody sees them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from vidsampler import registry
from vidsampler.errors import InputError
from vidsampler.extraction.numbers import frame_numbers
from vidsampler.extraction.settings import Recipe
from vidsampler.files import to_json_bytes
from vidsampler.loading.augment import central_square
from vidsampler.loading.batch import Batch
from vidsampler.loading.pictures import put_region
from vidsampler.loading.threads import begun_ahead, start_threads, submit
from vidsampler.retriever import Retriever
from vidsampler.video.container import usable_cpus
from vidsampler.video.reader import IndexChangedError, Video

AHEAD = 2
"""Batches that are decoded ahead of the one that is wanted."""

Floats = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VideoFile:
    """One video.

    Attributes:
        key: Its id.
        path: The file.
        start: Only frames shown from these seconds on.
        end: Only frames shown before these seconds.
    """

    key: str
    path: Path
    start: float | None = None
    end: float | None = None


class VideoFolder:
    """Batches of videos, decoded by threads; see `embedding.Source`.

    Args:
        files: V videos.
        retriever: Says which frames are candidates, and which of them are needed.
        size: Height and width of the frames, their central squares.
        batch_size: Videos of a batch.
        workers: Decoding threads; 0: the caller's own; None: as many as there are processors.
    """

    def __init__(
        self,
        files: Sequence[VideoFile],
        retriever: Retriever,
        size: int,
        *,
        batch_size: int,
        workers: int | None = None,
    ) -> None:
        self._files = list(files)
        self._retriever = retriever
        self._size = size
        self._batch_size = batch_size
        self._workers = usable_cpus() if workers is None else workers
        self._frames = retriever.config.frames

    def __len__(self) -> int:
        """How many batches all videos are."""
        return -(-len(self._files) // self._batch_size)

    @property
    def keys(self) -> list[str]:
        """The ids."""
        return [file.key for file in self._files]

    @property
    def fingerprint(self) -> str:
        """The same for the same files in the same order, as far as the file system tells.

        Raises:
            InputError: A file is gone.
        """
        facts = []
        for file in self._files:
            try:
                found = file.path.stat()
            except OSError as error:
                raise InputError(
                    f"{file.path}: cannot be read: {error.strerror or error}", code="missing"
                ) from error
            where = os.path.realpath(file.path)
            facts.append([where, found.st_size, found.st_mtime_ns, file.start, file.end])
        return hashlib.sha256(to_json_bytes(facts)).hexdigest()

    def pick(self, steps: Iterable[int]) -> Generator[Batch, None, None]:
        """Some of the batches.

        Raises:
            InputError: A video cannot be read.
        """
        pool = start_threads(self._workers) if self._workers else None

        def begin(step: int) -> Callable[[], Batch]:
            first = step * self._batch_size
            numbers = range(first, min(first + self._batch_size, len(self._files)))
            shape = (len(numbers), self._frames)
            frames_BNHWC = np.zeros((*shape, self._size, self._size, 3), np.uint8)
            valid_BN, times_BN = np.zeros(shape, bool), np.zeros(shape)
            waiting = [
                submit(
                    pool,
                    self._read,
                    self._files[number],
                    frames_BNHWC[row],
                    valid_BN[row],
                    times_BN[row],
                )
                for row, number in enumerate(numbers)
            ]

            def finish() -> Batch:
                for done in waiting:
                    done()
                return Batch(
                    frames_BNCHW=torch.from_numpy(frames_BNHWC).permute(0, 1, 4, 2, 3),
                    valid_BN=torch.from_numpy(valid_BN),
                    times_BN=torch.from_numpy(times_BN),
                    tokens_BL=None,
                    keys=[self._files[number].key for number in numbers],
                    videos_B=torch.tensor(list(numbers)),
                    captions_B=None,
                    wordings_B=None,
                    epoch=0,
                    step=step,
                )

            return finish

        try:
            yield from begun_ahead(begin, steps, 1 + AHEAD if pool else 1)
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def _read(
        self,
        file: VideoFile,
        out_NHWC: npt.NDArray[np.uint8],
        valid_N: npt.NDArray[np.bool_],
        times_N: Floats,
    ) -> None:
        """Decodes a video into its place in a batch."""
        for trust_index in (True, False):
            try:
                with Video(file.path, threads=1, trust_index=trust_index) as video:
                    self._read_open(file, video, out_NHWC, valid_N, times_N)
                return
            except IndexChangedError:
                if not trust_index:
                    raise

    def _read_open(
        self,
        file: VideoFile,
        video: Video,
        out_NHWC: npt.NDArray[np.uint8],
        valid_N: npt.NDArray[np.bool_],
        times_N: Floats,
    ) -> None:
        numbers = frame_numbers(video, Recipe(frames=self._frames), file.start, file.end)
        times = video.times(numbers)
        times_N[: len(times)] = times
        valid_N[: len(times)] = True
        wanted = self._wanted(file.key, times)
        for place, frame in zip(wanted, video.frames(numbers[wanted], self._size), strict=True):
            put_region(frame.rgb, central_square(*frame.rgb.shape[:2]), out_NHWC[place])

    def _wanted(self, key: str, times: Floats) -> IntArray:
        """The candidates whose pictures are needed: all, or those that will be kept."""
        retriever = self._retriever
        if (
            retriever.sampler is not None
            or registry.load("samplers", retriever.config.sampler.name).needs_features
        ):
            return np.arange(len(times))
        unseen = torch.zeros(1, dtype=torch.uint8).expand(1, len(times), 3, 1, 1)
        kept = retriever.choose(unseen, None, torch.from_numpy(times)[None], [key])
        indices: IntArray = kept.indices_BK[0, kept.mask_BK[0]].numpy()
        return indices
