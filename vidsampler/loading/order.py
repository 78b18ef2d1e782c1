"""Which items a step shows: the same for any number of ranks and workers, and after a restart.

Everything random is a function of (seed, epoch, item) alone, by the counter-based generator Philox
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), whose bits NumPy promises
never to change. Nothing is drawn in the order in which things happen to be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vidsampler.errors import UsageError

IntArray = npt.NDArray[np.int64]


class Purpose(IntEnum):
    """What numbers are drawn for: two purposes share none."""

    ORDER = 0
    CAPTION = 1
    AUGMENTATION = 2
    MONTAGE = 3
    MONTAGE_PAIR = 4
    NOISE = 5


def random_bits(seed: int, epoch: int, item: int, purpose: Purpose, count: int) -> IntArray:
    """Random integers that belong to an item of an epoch.

    Returns:
        (count,) int64, each from 0 to 2^53 - 1.
    """
    key = np.array([seed, purpose], np.uint64)
    counter = np.array([0, item, epoch, 0], np.uint64)
    generator = np.random.Philox(key=key, counter=counter)
    return (generator.random_raw(count) >> np.uint64(11)).astype(np.int64)


def uniforms(seed: int, epoch: int, item: int, purpose: Purpose, count: int) -> list[float]:
    """Random numbers that belong to an item of an epoch, each at least 0 and less than 1."""
    numbers: list[float] = (random_bits(seed, epoch, item, purpose, count) * 2.0**-53).tolist()
    return numbers


@lru_cache(maxsize=4)
def shuffled(items: int, seed: int, epoch: int) -> IntArray:
    """The order of an epoch.

    Returns:
        (items,) int64, each number below ``items`` once; not to be written to.
    """
    bits = random_bits(seed, epoch, 0, Purpose.ORDER, items)
    order = np.argsort(bits, kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class Order:
    """The items of each step of each epoch, for one of several ranks.

    An epoch is one row of items, cut into global batches; a rank takes its slice of each. So a
    global batch holds the same items for any number of ranks.

    Attributes:
        items: How many there are, at least 1.
        batch_size: Items in a step of all ranks together.
        seed: Of the shuffle.
        shuffle: A new order each epoch; else always 0, 1, 2, ...
        drop_last: Leave the last, smaller batch out, so that all ranks have equally many items in
            each step; an epoch leaves other items out than the one before. Else the last batch is
            smaller, slices differ by one item at most, and a rank may have none of it.
        rank: 0 to ranks - 1.
        ranks: How many.

    Raises:
        UsageError: There is no item, or no whole batch, or equal slices are impossible.
        ValueError: Another number is out of range.
    """

    items: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = True
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not 0 <= self.rank < self.ranks or not 0 <= self.seed < 1 << 63:
            raise ValueError(
                f"batch size {self.batch_size}, rank {self.rank} of {self.ranks}, "
                f"seed {self.seed}: out of range"
            )
        if self.items < 1:
            raise UsageError("there is nothing to go through: no items")
        if not self.drop_last:
            return
        if self.batch_size % self.ranks:
            below = self.batch_size // self.ranks * self.ranks
            near = " or ".join(str(size) for size in (below, below + self.ranks) if size)
            raise UsageError(
                f"a global batch of {self.batch_size} cannot be split evenly over "
                f"{self.ranks} ranks",
                hint=f"take a batch size of {near}",
            )
        if self.items < self.batch_size:
            raise UsageError(
                f"a global batch of {self.batch_size} is more than all {self.items} items",
                hint=f"take a batch size of at most {self.items}",
            )

    @property
    def steps(self) -> int:
        """Steps of an epoch, on every rank."""
        return (
            self.items // self.batch_size if self.drop_last else -(-self.items // self.batch_size)
        )

    @property
    def dropped(self) -> int:
        """How many items each epoch leaves out."""
        return self.items - self.steps * self.batch_size if self.drop_last else 0

    def epoch(self, epoch: int) -> IntArray:
        """(items,) all items in the order of an epoch, those last that it leaves out."""
        if self.shuffle:
            return shuffled(self.items, self.seed, epoch)
        return np.arange(self.items, dtype=np.int64)

    def left_out(self, epoch: int) -> IntArray:
        """(dropped,) the items that an epoch leaves out."""
        return self.epoch(epoch)[self.items - self.dropped :]

    def whole_batch(self, epoch: int, step: int) -> IntArray:
        """The items of a step, of all ranks.

        Raises:
            IndexError: An epoch has no such step.
        """
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of an epoch of {self.steps}")
        return self.epoch(epoch)[step * self.batch_size : (step + 1) * self.batch_size]

    def batch(self, epoch: int, step: int) -> IntArray:
        """The items of a step, of this rank."""
        whole = self.whole_batch(epoch, step)
        first = self.rank * len(whole) // self.ranks
        return whole[first : (self.rank + 1) * len(whole) // self.ranks]
