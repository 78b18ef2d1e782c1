"""The loop of every job that makes shards: tasks to workers, whole units to their places."""

from __future__ import annotations

from collections import deque
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

AHEAD = 16
"""Of so many units, the one with the longest video is begun first."""

ROUNDS = 4
"""The last units are worked on together: so many tasks for each worker, the shortest last."""


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
        reads: The file that the task reads, where it was there when the work was made.
    """

    task: Any
    spool: Path | None = None
    cost: float = 0.0
    problem: tuple[str, str] = ("missing", "the file is gone")
    reads: Path | None = None


@dataclass(frozen=True)
class Lot:
    """A unit with all its work, the longest first."""

    unit: Unit
    works: tuple[tuple[Item, Work], ...]

    @property
    def longest(self) -> float:
        """The largest cost."""
        return max((work.cost for _, work in self.works), default=0.0)


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
        units: What is to be made.
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
    groups = _groups(lots(units, work_of, job.temporary), ROUNDS * workers)
    waiting: deque[tuple[Unit, Item, Work]] = deque()
    commits: list[Future[None]] = []
    with WorkerPool(function, workers) as pool, ThreadPoolExecutor(1, "commit") as writer:

        def fill() -> None:
            """Makes sure that there is something to do, as long as there is."""
            while not waiting and (group := next(groups, None)) is not None:
                for lot in group:
                    opened[lot.unit.name] = _Open(lot.unit)
                tasks = [(lot.unit, item, work) for lot in group for item, work in lot.works]
                waiting.extend(sorted(tasks, key=lambda task: -task[2].cost))

        def settle(unit: Unit, outcome: Outcome) -> None:
            finished(outcome)
            state = opened[unit.name]
            state.outcomes[outcome.item.key] = outcome
            if state.whole:
                del opened[unit.name]
                ordered = [state.outcomes[item.key] for item in unit.items]
                commits.append(writer.submit(_commit, job, unit, ordered, committed))

        last: str | None = None  # the unit at hand when the user wanted to stop
        fill()
        while waiting or opened:
            if stop.requested and last is None:
                last = next(iter(opened), "")
                waiting = deque(task for task in waiting if task[0].name == last)
            if last is not None and last not in opened:
                break
            while waiting and pool.idle:
                unit, item, work = waiting.popleft()
                if work.task is None:
                    settle(unit, Outcome(item, failure=_not_begun(item, work)))
                else:
                    pool.submit((unit, item, work.spool), work.task, item.source, timeout)
                if last is None:
                    fill()
            for answer in pool.wait_some():
                settle(answer.tag[0], outcome_of(answer))
            while commits and commits[0].done():
                commits.pop(0).result()
        for commit in commits:
            commit.result()


def lots(
    units: Sequence[Unit], work_of: Callable[[Item, Path], Work], temporary: Path
) -> Iterator[Lot]:
    """All work, unit after unit; of the next few the one with the longest video first."""
    ahead: list[Lot] = []
    for number, unit in enumerate(units):
        works = [
            (item, work_of(item, temporary / f"{number}-{position}"))
            for position, item in enumerate(unit.items)
        ]
        ahead.append(Lot(unit, tuple(sorted(works, key=lambda each: -each[1].cost))))
        if len(ahead) == AHEAD:
            yield _take_longest(ahead)
    while ahead:
        yield _take_longest(ahead)


def _take_longest(ahead: list[Lot]) -> Lot:
    # Of equal ones the first.
    return ahead.pop(max(range(len(ahead)), key=lambda i: (ahead[i].longest, -i)))


def _groups(all_lots: Iterator[Lot], least: int) -> Iterator[list[Lot]]:
    """Lots one by one, but the last ones, with ``least`` items or more, together.

    So all processes have something to do until the very end, and only a few units are open.
    """
    tail: deque[Lot] = deque()
    held = 0
    for lot in all_lots:
        tail.append(lot)
        held += len(lot.works)
        while held - len(tail[0].works) >= least:
            first = tail.popleft()
            held -= len(first.works)
            yield [first]
    if tail:
        yield list(tail)


def _not_begun(item: Item, work: Work) -> Failure:
    return Failure(item.key, item.source, "find", *work.problem)


def outcome_of(answer: Answer) -> Outcome:
    """What an answer to a task with the tag (unit, item, spool) means.

    Raises:
        VidsamplerError: Nothing more can be stored.
    """
    _, item, spool = answer.tag
    if answer.error is not None:
        if answer.error.code == "unwritable":
            raise answer.error  # no fault of the video's
        failure = Failure(item.key, item.source, "decode", answer.error.code, answer.error.message)
        return Outcome(item, failure=failure)
    stored: Stored = answer.result
    if stored.failure is not None:
        # The worker may know the item by the name of its file.
        failure = replace(stored.failure, key=item.key, source=item.source)
        return Outcome(item, failure=failure)
    return Outcome(item, stored.members, stored.frames, spool)


def make_all(pool: WorkerPool, lot: Lot, timeout: float | None) -> Iterator[Outcome]:
    """Works on one unit alone, and gives each outcome as it comes.

    Raises:
        VidsamplerError: Nothing more can be stored.
    """
    waiting = deque(lot.works)
    while waiting or pool.running:
        while waiting and pool.idle:
            item, work = waiting.popleft()
            if work.task is None:
                yield Outcome(item, failure=_not_begun(item, work))
            else:
                pool.submit((lot.unit, item, work.spool), work.task, item.source, timeout)
        for answer in pool.wait_some():
            yield outcome_of(answer)


def _commit(
    job: Job,
    unit: Unit,
    outcomes: list[Outcome],
    committed: Callable[[Unit, list[Outcome]], None],
) -> None:
    job.commit(unit, outcomes)
    committed(unit, outcomes)
