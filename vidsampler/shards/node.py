"""One unit, made on a node of a cluster. What decodes is a process of its own, which may crash."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from vidsampler.errors import VidsamplerError
from vidsampler.shards.build import Lot, make_all
from vidsampler.shards.job import Outcome, Packed, Packer
from vidsampler.workers import WorkerPool


@dataclass(frozen=True)
class Order:
    """What a node is asked to make.

    Attributes:
        lot: The unit and its work.
        function: What is called for each task.
        timeout: Seconds for each.
        folder: Where everything goes; the node makes it.
        packer: Makes one file of it.
        versions: Of what decides over the bytes.
    """

    lot: Lot
    function: str
    timeout: float | None
    folder: Path
    packer: Packer
    versions: dict[str, str]


def make_unit(order: Order) -> Iterator[Outcome | Packed | VidsamplerError | None]:
    """Makes one unit; what a Ray worker runs.

    Yields None when it begins, each item's outcome as it comes, then the packed unit, or in its
    place the error that ended it.
    """
    yield None
    try:
        _check_node(order)
        outcomes: dict[str, Outcome] = {}
        with _pool(order.function) as pool:
            for outcome in make_all(pool, order.lot, order.timeout):
                outcomes[outcome.item.key] = outcome
                yield replace(outcome, members=())
        unit = order.lot.unit
        yield order.packer(unit, [outcomes[item.key] for item in unit.items])
    except VidsamplerError as error:
        yield error


def _check_node(order: Order) -> None:
    """Raises VidsamplerError where this node would make something else than the others."""
    host = socket.gethostname()
    if (here := versions()) != order.versions:
        others = ", ".join(
            f"{name} {here.get(name)} (elsewhere {version})"
            for name, version in order.versions.items()
            if here.get(name) != version
        )
        raise VidsamplerError(
            f"the node {host} has {others}: its shards would have other bytes",
            hint="install the same versions on all nodes",
            code="versions",
        )
    there = [work.reads for _, work in order.lot.works if work.reads is not None]
    shared = "the videos and the output folder must be under the same paths on all nodes"
    if there and not any(path.exists() for path in there):
        raise VidsamplerError(f"{there[0]}: not on the node {host}", hint=shared, code="missing")
    try:
        order.folder.mkdir()
    except OSError as error:
        raise VidsamplerError(
            f"{order.folder}: cannot be made on the node {host}: {error.strerror or error}",
            hint=shared,
            code="unwritable",
        ) from error


@contextmanager
def _pool(function: str) -> Iterator[WorkerPool]:
    """A process for the decoder, which may crash; it is kept for the next unit."""
    pool = _kept_pool(function)
    try:
        yield pool
    except BaseException:
        # It may be at work on something that nobody waits for.
        pool.__exit__(None, None, None)
        raise


@cache
def _kept_pool(function: str) -> WorkerPool:
    return WorkerPool(function, 1)


@cache
def versions() -> dict[str, str]:
    """Of what decides over the bytes of a shard."""
    names = ("vidsampler", "av", "numpy", "pillow", "simplejpeg")
    found = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
