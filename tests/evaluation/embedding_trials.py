"""Sources of frames for tests of embedding, and ranks that run one after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tests.retrieving import Trial
from vidsampler.loading.batch import Batch


@dataclass
class Frames:
    """The videos of a trial, some in a batch; it counts the batches that were asked for."""

    trial: Trial
    batch_size: int = 3
    picked: int = 0

    def __len__(self) -> int:
        return -(-len(self.trial.keys) // self.batch_size)

    def pick(self, steps: Iterable[int]) -> Generator[Batch, None, None]:
        """See `embedding.Source`."""
        for step in steps:
            self.picked += 1
            first = step * self.batch_size
            items = list(range(first, min(first + self.batch_size, len(self.trial.keys))))
            some = self.trial.pick(items)
            yield Batch(
                some.frames_BNCHW,
                some.valid_BN,
                some.times_BN,
                None,
                some.keys,
                torch.tensor(items),
                None,
                None,
                0,
                step,
            )


@dataclass
class OneOfTwo:
    """A rank of two: the second one runs first, and leaves its parts to the other."""

    rank: int
    parts: list[Tensor | None] = field(default_factory=list)
    size: int = 2

    def gather_rows(self, part: Tensor | None) -> Tensor:
        """On rank 0 the rows of both."""
        if self.rank:
            self.parts.append(part)
            return torch.zeros(0, dtype=torch.long)
        both = [part, self.parts.pop(0)]
        return torch.cat([each for each in both if each is not None])
