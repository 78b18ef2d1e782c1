"""The loop of a job on a Ray cluster: a unit is made on some node, and put in its place here.

Nodes see the videos and the output folder under the same paths. A node writes below the temporary
folder of the run alone, into a folder of its own for each attempt; only this process renames. So a
node that was given up, and goes on all the same, cannot touch what is committed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

from vidsampler.errors import UsageError, VidsamplerError
from vidsampler.shards.build import Lot, Work, lots
from vidsampler.shards.job import Item, Job, Outcome, Packed, Unit
from vidsampler.shards.node import Order, make_unit, versions
from vidsampler.shards.writer import remove_spool
from vidsampler.stop import Stop

MOST_ATTEMPTS = 5
"""A unit whose workers have died so often is given up; all others are made."""

_LOOK = 5.0
"""Seconds between two looks at how large the cluster is."""

_STORE = 128 << 20
"""Bytes of shared memory of a Ray that starts here; only numbers and names pass through it."""

_NO_RAY = "pip install 'vidsampler[ray]'"


@dataclass
class _Attempt:
    """A unit that some node works on.

    Attributes:
        lot: The unit and its work, with spools of the first attempt.
        number: Which attempt it is, from 1.
        folder: Where the node writes.
        begun: The node has said so.
    """

    lot: Lot
    number: int
    folder: Path
    begun: bool = False


@dataclass
class _Cluster:
    """How many units may be under way: as many as there are processors, and some to come."""

    ray: Any
    workers: int | None
    _most: int = 0
    _looked: float = field(default=float("-inf"))

    @property
    def most(self) -> int:
        if self.workers is not None:
            return self.workers
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            self._most = max(2, 2 * int(self.ray.cluster_resources().get("CPU", 1)))
        return self._most


def check_ray() -> None:
    """Whether Ray is installed.

    Raises:
        UsageError: It is not.
    """
    with suppress(metadata.PackageNotFoundError):
        metadata.version("ray")
        return
    raise UsageError("--engine ray needs Ray, which is not installed", hint=_NO_RAY)


def build_on_ray(
    job: Job,
    units: Sequence[Unit],
    function: str,
    work_of: Callable[[Item, Path], Work],
    *,
    address: str | None,
    workers: int | None,
    timeout: float | None,
    stop: Stop,
    committed: Callable[[Unit, list[Outcome]], None],
    finished: Callable[[Outcome], None],
) -> None:
    """Works on units until all are committed.

    Args:
        job, units, function, work_of, timeout, stop, committed, finished: As `build` has them. When
            ``stop`` is requested, all units that are under way are committed.
        address: Of a cluster; None: ``RAY_ADDRESS``, or else a Ray of this machine's processors is
            started.
        workers: So many units at once; None: as many as the cluster has processors.

    Raises:
        UsageError: Ray is not installed.
        VidsamplerError: The cluster cannot be reached, results cannot be written, or the workers of
            a unit died again and again; what is committed stays.
        KeyboardInterrupt: Asked for twice.
    """
    check_ray()
    if not units:
        return
    with _connected(address, workers) as ray:
        loop = _Loop(ray, job, function, timeout, committed, finished)
        cluster = _Cluster(ray, workers)
        waiting = lots(units, work_of, job.temporary)
        upcoming = next(waiting, None)
        while upcoming is not None or loop.running:
            if stop.requested:
                upcoming = None
                loop.drop_those_not_begun()
            while upcoming is not None and len(loop.running) < cluster.most:
                loop.begin(upcoming, 1)
                upcoming = next(waiting, None)
            loop.look()
        loop.complain()


class _Loop:
    """What is under way on the cluster."""

    def __init__(
        self,
        ray: Any,
        job: Job,
        function: str,
        timeout: float | None,
        committed: Callable[[Unit, list[Outcome]], None],
        finished: Callable[[Outcome], None],
    ) -> None:
        self._ray = ray
        self._job = job
        self._function = function
        self._timeout = timeout
        self._committed = committed
        self._finished = finished
        self._make = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")(make_unit)
        self.running: dict[Any, _Attempt] = {}
        self._attempts = count(1)
        self._counted: set[str] = set()
        self._given_up: list[str] = []

    def begin(self, lot: Lot, number: int) -> None:
        """Asks the cluster for a unit."""
        # Of its own for each attempt, so that one that was given up is in nobody's way. Not by the
        # names of units, which may be long and begin alike.
        folder = self._job.temporary / f"attempt-{next(self._attempts)}"
        works = tuple(
            (item, _into(work, folder / str(position)))
            for position, (item, work) in enumerate(lot.works)
        )
        order = Order(
            replace(lot, works=works),
            self._function,
            self._timeout,
            folder,
            self._job.packer(folder),
            versions(),
        )
        self.running[self._make.remote(order)] = _Attempt(lot, number, folder)

    def look(self) -> None:
        """Waits a moment for news, and acts on them."""
        if not self.running:
            return
        ready, _ = self._ray.wait(list(self.running), num_returns=1, timeout=0.5, fetch_local=False)
        for stream in ready:
            try:
                news = self._ray.get(next(stream))
            except StopIteration:
                del self.running[stream]
            except self._ray.exceptions.TaskCancelledError:
                self.running.pop(stream, None)
            except self._ray.exceptions.RayTaskError as error:
                raise VidsamplerError(
                    f"internal error on a Ray worker: {error.cause!r}", code="internal"
                ) from error
            except self._ray.exceptions.RayError as error:
                self._died(stream, error)
            else:
                self._heard(stream, news)

    def drop_those_not_begun(self) -> None:
        """Takes back what no node has started on."""
        for stream, attempt in list(self.running.items()):
            if not attempt.begun:
                self._ray.cancel(stream)
                del self.running[stream]

    def complain(self) -> None:
        """Raises VidsamplerError where units were given up."""
        if self._given_up:
            raise VidsamplerError(
                f"{len(self._given_up)} units were given up, such as {self._given_up[0]}: the Ray "
                f"workers that made them died {MOST_ATTEMPTS} times",
                hint="Ray's log tells why (short of memory?); run the same command again to go on",
                code="worker",
            )

    def _heard(self, stream: Any, news: Outcome | Packed | VidsamplerError | None) -> None:
        attempt = self.running[stream]
        attempt.begun = True
        if isinstance(news, VidsamplerError):
            raise news
        if isinstance(news, Outcome) and news.item.key not in self._counted:
            self._counted.add(news.item.key)
            self._finished(news)
        elif isinstance(news, Packed):
            # By place: a second attempt may have failed where the first one did not.
            self._job.place(attempt.lot.unit, news)
            self._committed(attempt.lot.unit, list(news.outcomes))
            self._counted -= {item.key for item in attempt.lot.unit.items}
            remove_spool(attempt.folder)

    def _died(self, stream: Any, error: Exception) -> None:
        attempt = self.running.pop(stream)
        remove_spool(attempt.folder)
        if attempt.number < MOST_ATTEMPTS:
            self.begin(attempt.lot, attempt.number + 1)
        else:
            self._given_up.append(attempt.lot.unit.name)


def _into(work: Work, spool: Path) -> Work:
    """The same work with another spool."""
    if work.task is None:
        return work
    return replace(work, task=replace(work.task, spool=spool), spool=spool)


@contextmanager
def _connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """Ray, connected; what was started for it is stopped at the end."""
    # Ray reports its use to its makers, unless told otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.job_config import JobConfig

    if ray.is_initialized() and address is None:
        yield ray  # the caller's own, as in a notebook
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    options: dict[str, Any] = {"address": address}
    if address is None:
        from vidsampler.video.container import usable_cpus

        options = {
            "address": "local",
            "num_cpus": min(workers or usable_cpus(), usable_cpus()),
            "num_gpus": 0,
            "include_dashboard": False,
            "object_store_memory": _STORE,
            # Whoever started this Python from somewhere else finds the same modules there.
            "job_config": JobConfig(
                _py_driver_sys_path=[os.path.abspath(path) for path in sys.path if path]
            ),
        }
    with _own_signals():
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            where = f"the Ray cluster at {address}" if address else "a local Ray"
            raise VidsamplerError(
                f"cannot connect to {where}: {' '.join(str(error).split())[:300]}",
                hint="see: ray status --address ADDRESS",
                code="ray",
            ) from error
    # Ray tells of dead workers on stdout, which belongs to our data.
    with redirect_stdout(sys.stderr):
        try:
            yield ray
        finally:
            with _own_signals():
                ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes signals for itself; they stay ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
