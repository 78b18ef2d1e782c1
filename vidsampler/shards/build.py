"""The loop of every job that makes shards: tasks to workers, whole units to their places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from vidsampler.shards.job import Item, Job, Outcome, Unit
from vidsampler.shards.manifest import Failure
from vidsampler.shards.writer import Member
from vidsampler.stop import Stop
from vidsampler.workers import Answer, WorkerPool


class Stored(Protocol):
    """What a worker's function returns."""

    members: tuple[Member, ...]
    frames: int
    failure: Failure | None


@dataclass(frozen=True)
class Work:
    """How an item is made.

    Attributes:
        task: What the worker's function is given; None: there is nothing to work on.
        spool: Where it puts what it makes.
        cost: Relative; long ones are begun first.
        problem: Why there is nothing to work on: (class, message).
    """

    task: Any
    spool: Path | None = None
    cost: float = 0.0
    problem: tuple[str, str] = ("missing", "the file is gone")


@dataclass
class _Open:
    """A unit that is being worked on."""

    unit: Unit
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return len(self.outcomes) == len(self.unit.items)


def build(
    job: Job,
    units: Sequence[Unit],
    function: str,
    work_of: Callable[[Item, Path], Work],
    *,
    workers: int,
    timeout: float | None,
    stop: Stop,
    committed: Callable[[Unit, list[Outcome]], None],
    finished: Callable[[Outcome], None],
) -> None:
    """Works on units until all are committed.

    Args:
        job: Where they go.
        units: In the order in which they are committed, more or less.
        function: "module:function" that a worker calls with a `Work.task`; gives a `Stored`.
        work_of: The work of an item; the path is a free name for its spool.
        workers: Processes.
        timeout: Seconds for one item.
        stop: When it is requested, the unit at hand is committed and nothing more is begun.
        committed: Called when a unit is in its place.
        finished: Called when an item is done or failed.

    Raises:
        VidsamplerError: Results cannot be written; what is committed stays.
        KeyboardInterrupt: Asked for twice.
    """
    opened: dict[str, _Open] = {}
    queue = _tasks(units, opened, work_of, job.temporary)
    upcoming = next(queue, None)
    commits: list[Future[None]] = []
    with WorkerPool(function, workers) as pool, ThreadPoolExecutor(1, "commit") as writer:

        def settle(unit: Unit, outcome: Outcome) -> None:
            finished(outcome)
            state = opened[unit.name]
            state.outcomes[outcome.item.key] = outcome
            if state.whole:
                del opened[unit.name]
                ordered = [state.outcomes[item.key] for item in unit.items]
                commits.append(writer.submit(_commit, job, unit, ordered, committed))

        last: str | None = None  # the unit at hand when the user wanted to stop
        while upcoming is not None or opened:
            if stop.requested:
                last = last or next(iter(opened), None)
                if last not in opened:
                    break
            while upcoming is not None and pool.idle:
                unit, item, work = upcoming
                if last is not None and unit.name != last:
                    upcoming = None
                    break
                if work.task is None:
                    failure = Failure(item.key, item.source, "find", *work.problem)
                    settle(unit, Outcome(item, failure=failure))
                else:
                    pool.submit((unit, item, work.spool), work.task, item.source, timeout)
                upcoming = next(queue, None)
            for answer in pool.wait_some():
                settle(answer.tag[0], _outcome(answer))
            while commits and commits[0].done():
                commits.pop(0).result()
        for commit in commits:
            commit.result()


def _tasks(
    units: Sequence[Unit],
    opened: dict[str, _Open],
    work_of: Callable[[Item, Path], Work],
    temporary: Path,
) -> Iterator[tuple[Unit, Item, Work]]:
    """All work, unit after unit, the most costly of a unit first; opens units on the way."""
    for number, unit in enumerate(units):
        opened[unit.name] = _Open(unit)
        works = [
            (item, work_of(item, temporary / f"{number}-{position}"))
            for position, item in enumerate(unit.items)
        ]
        for item, work in sorted(works, key=lambda each: -each[1].cost):
            yield unit, item, work


def _outcome(answer: Answer) -> Outcome:
    _, item, spool = answer.tag
    if answer.error is not None:
        if answer.error.code == "unwritable":
            raise answer.error  # no fault of the video's: nothing more can be stored
        failure = Failure(item.key, item.source, "decode", answer.error.code, answer.error.message)
        return Outcome(item, failure=failure)
    stored: Stored = answer.result
    if stored.failure is not None:
        # The worker may know the item by the name of its file.
        failure = replace(stored.failure, key=item.key, source=item.source)
        return Outcome(item, failure=failure)
    return Outcome(item, stored.members, stored.frames, spool)


def _commit(
    job: Job,
    unit: Unit,
    outcomes: list[Outcome],
    committed: Callable[[Unit, list[Outcome]], None],
) -> None:
    job.commit(unit, outcomes)
    committed(unit, outcomes)
