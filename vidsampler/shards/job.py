"""What is done, what is left to do, and where it goes.

``plan.jsonl`` says which video belongs to which shard. It only grows, and is on the disk before the
first of its shards is begun: whatever happens, a further run makes the same shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from vidsampler.shards.folder import OutputFolder
from vidsampler.shards.key import make_key
from vidsampler.shards.manifest import (
    Failure,
    Manifest,
    check_tar,
    committed,
    read_manifest,
)
from vidsampler.shards.writer import Member, ShardWriter, place, remove_spool


@dataclass(frozen=True)
class Item:
    """A video that belongs into a shard.

    Attributes:
        key: Its key.
        source: Its path below the folder of videos.
    """

    key: str
    source: str


@dataclass(frozen=True)
class Unit:
    """What is committed at once: a shard, or in ``folders`` layout one video.

    Attributes:
        name: Of the shard or folder.
        items: What belongs into it, in order.
    """

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    Attributes:
        item: The item.
        members: Its files, if it worked.
        frames: How many frames it has.
        spool: Where those members lie that are not in memory.
        failure: Why it did not work.
    """

    item: Item
    members: tuple[Member, ...] = ()
    frames: int = 0
    spool: Path | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Packed:
    """A unit that is on the disk, but not at its place yet.

    Attributes:
        outcomes: Of its items, in order.
        manifest: Of a shard.
        tar: Of a shard with samples.
    """

    outcomes: tuple[Outcome, ...]
    manifest: Manifest | None = None
    tar: Path | None = None


Packer = Callable[[Unit, Sequence[Outcome]], Packed]
"""Makes one file of what the items of a unit gave; picklable, for another machine to call."""


@dataclass(frozen=True)
class ShardPacker:
    """Writes the tar of a shard.

    Attributes:
        recipe: For the commit file.
        temporary: A folder on the file system of the output.
    """

    recipe: dict[str, Any]
    temporary: Path

    def __call__(self, unit: Unit, outcomes: Sequence[Outcome]) -> Packed:
        """Writes it, and deletes the spools.

        Raises:
            VidsamplerError: There is no room.
        """
        failed = [each.failure for each in outcomes if each.failure is not None]
        with ShardWriter(self.temporary, unit.name, self.recipe, self.temporary) as writer:
            for outcome in outcomes:
                if outcome.failure is None:
                    item = outcome.item
                    writer.add(
                        item.key, item.source, outcome.members, outcome.frames, outcome.spool
                    )
            manifest = writer.finish(failed)
        for outcome in outcomes:
            remove_spool(outcome.spool)
        # What is in the tar by now need not be sent around.
        light = tuple(replace(each, members=(), spool=None) for each in outcomes)
        return Packed(light, manifest, self.temporary / f"{unit.name}.tar")


class Job(Protocol):
    """An output folder, opened for one run; `ShardJob` and `FolderJob` are such."""

    done: dict[str, int]
    """Source -> frames of what is committed."""

    failed: dict[str, Failure]
    """Source -> why it is not."""

    makes_shards: bool
    """Whether its units are shards."""

    @property
    def temporary(self) -> Path:
        """Holds what is in the making."""
        ...

    def assign(self, sources: Sequence[str]) -> list[Unit]:
        """The units that hold these sources, and those that an earlier run did not finish."""
        ...

    def packer(self, temporary: Path) -> Packer:
        """What packs a unit; ``temporary`` is a folder below the job's own."""
        ...

    def place(self, unit: Unit, packed: Packed) -> None:
        """Puts a packed unit in its place."""
        ...

    def commit(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        """Packs a unit and puts it in its place."""
        ...


class ShardJob:
    """A folder of shards, opened for one run.

    Args:
        output: The folder.
        recipe: For the commit files.
        per_shard: Samples in a new shard.
        keys: Source -> key, where they are not to be made of the source.
        even: Spread new samples evenly, in place of filling all shards but the last.
        shards: So many in a new folder, where there are enough samples.

    Use it in a ``with`` block.
    """

    makes_shards = True

    def __init__(
        self,
        output: OutputFolder,
        recipe: dict[str, Any],
        per_shard: int,
        *,
        keys: Mapping[str, str] | None = None,
        even: bool = False,
        shards: int | None = None,
    ) -> None:
        self._output = output
        self._recipe = recipe
        self._per_shard = per_shard
        self._keys = keys or {}
        self._even = even
        self._shards = shards
        self.done: dict[str, int] = {}
        self.failed: dict[str, Failure] = {}
        self._planned: list[Unit] = []
        self._committed: set[str] = set()
        self._stored_keys: dict[str, str] = {}

    def __enter__(self) -> ShardJob:
        self._output.open()
        try:
            for path in committed(self._output.folder):
                manifest = read_manifest(path)
                check_tar(self._output.folder, manifest)
                self._committed.add(manifest.name)
                self._stored_keys |= {entry.source: entry.key for entry in manifest.entries}
                self._stored_keys |= {failure.source: failure.key for failure in manifest.failed}
                self._account(
                    {entry.source: entry.frames for entry in manifest.entries}, manifest.failed
                )
            self._planned = [
                Unit(line["unit"], tuple(Item(*item) for item in line["items"]))
                for line in self._output.lines
            ]
        except BaseException:
            self._output.close()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._output.close()

    @property
    def temporary(self) -> Path:
        """Holds what is in the making."""
        return self._output.temporary

    def assign(self, sources: Sequence[str]) -> list[Unit]:
        """The shards that hold these sources, and those that an earlier run did not finish."""
        begun = [unit for unit in self._planned if unit.name not in self._committed]
        waiting = {item.source for unit in begun for item in unit.items}
        # Of the committed shards too: the plan may be an old copy.
        keys = dict(self._stored_keys)
        keys |= {item.source: item.key for unit in self._planned for item in unit.items}
        taken = set(keys.values())
        items = []
        for source in sources:
            if source in waiting:
                continue
            if source not in keys:
                keys[source] = self._keys.get(source) or make_key(source, taken)
                taken.add(keys[source])
            items.append(Item(keys[source], source))
        names = {unit.name for unit in self._planned} | self._committed
        first = max(map(int, names), default=-1) + 1
        shards = -(-len(items) // self._per_shard)
        if self._shards is not None and not names:
            shards = min(self._shards, len(items))
        step = len(items) / shards if self._even and shards else self._per_shard
        new = [
            Unit(
                f"{first + number:06d}",
                tuple(items[round(number * step) : round((number + 1) * step)]),
            )
            for number in range(shards)
        ]
        if new or not self._output.lines:
            self._output.write_plan(
                {"unit": unit.name, "items": [[item.key, item.source] for item in unit.items]}
                for unit in new
            )
        self._planned += new
        return begun + new

    def commit(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        """Writes the tar, then its commit file.

        Raises:
            VidsamplerError: There is no room.
        """
        self.place(unit, self.packer(self.temporary)(unit, outcomes))

    def packer(self, temporary: Path) -> Packer:
        """What writes the tar."""
        return ShardPacker(self._recipe, temporary)

    def place(self, unit: Unit, packed: Packed) -> None:
        """Puts the tar in its place, then its commit file.

        Raises:
            VidsamplerError: There is no room.
        """
        assert packed.manifest is not None
        assert packed.tar is not None
        place(self._output.folder, packed.manifest, packed.tar)
        self._committed.add(unit.name)
        done = {each.item.source: each.frames for each in packed.outcomes if each.failure is None}
        self._account(done, packed.manifest.failed)

    def _account(self, done: dict[str, int], failed: Iterable[Failure]) -> None:
        """A later shard has the last word: there a failed video was tried again."""
        for failure in failed:
            self.failed[failure.source] = failure
        for source, frames in done.items():
            self.done[source] = frames
            self.failed.pop(source, None)
