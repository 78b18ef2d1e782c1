"""One run over an output folder: what is missing is made, what failed is written down."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from vidsampler import plainyaml
from vidsampler.errors import InputError
from vidsampler.files import write_file
from vidsampler.shards.build import Work, build
from vidsampler.shards.errors import write_errors
from vidsampler.shards.folder import CONFIG
from vidsampler.shards.job import Item, Job, Outcome, Unit
from vidsampler.shards.manifest import Failure
from vidsampler.stop import Stop
from vidsampler.video.container import usable_cpus

SomeJob = TypeVar("SomeJob", bound=Job)


@dataclass
class Report:
    """What an extraction did.

    Attributes:
        videos: How many there are: done, skipped and failed ones.
        done: Stored in this run.
        skipped: Committed by an earlier run.
        failed: Not stored, in this run or an earlier one; they are in ``errors.jsonl``.
        frames: Stored in this run.
        shards: Shards with samples, committed in this run; in ``folders`` layout 0.
        seconds: How long it took.
        errors: Class of fault -> videos that have it now.
        interrupted: The user ended it before everything was done.
    """

    videos: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    frames: int = 0
    shards: int = 0
    seconds: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``vidsampler extract --json`` prints it."""
        plain = {name: value for name, value in vars(self).items() if name != "interrupted"}
        return {**plain, "seconds": round(self.seconds, 3)}


def run(
    opened: AbstractContextManager[SomeJob],
    sources: Sequence[str],
    function: str,
    work_of: Callable[[Item, Path], Work],
    *,
    out: Path,
    config: dict[str, Any],
    not_found: Mapping[str, InputError] | None = None,
    workers: int | None,
    timeout: float | None,
    engine: str = "local",
    address: str | None = None,
    retry_failed: bool = False,
    progress: Callable[[int, int], None] | None = None,
    asked_to_stop: Callable[[], None] | None = None,
) -> Report:
    """Makes what an output folder lacks.

    Args:
        opened: The folder.
        sources: What it should hold, in order.
        function: What a worker calls; see `build`.
        work_of: The work of an item.
        out: The folder's path.
        config: Stored as ``config.yaml``, for the same run again.
        not_found: What could not even be looked at.
        workers: Processes; None: as many as there are processors to use.
        timeout: Seconds for one item.
        engine: ``local``, or ``ray``: `vidsampler.shards.cluster`.
        address: Of the Ray cluster.
        retry_failed: Try the items again that failed in an earlier run.
        progress: Called with how many items are finished and how many there are to do.
        asked_to_stop: Called at the first Ctrl-C.

    Raises:
        UsageError: The folder is not free.
        VidsamplerError: It cannot be written; what is committed stays.
        KeyboardInterrupt: A second Ctrl-C.
    """
    clock = time.perf_counter()
    known = set(sources)
    with Stop(asked_to_stop) as stop, opened as job, stop.until_closing():
        report = Report(skipped=len(known & job.done.keys()))
        again = job.failed.keys() if retry_failed else frozenset()
        units = job.assign(
            [
                source
                for source in sources
                if source not in job.done and (source not in job.failed or source in again)
            ]
        )
        total = sum(len(unit.items) for unit in units)
        numbers = count(1)
        write_file(out / CONFIG, plainyaml.dump(config).encode())

        def committed(unit: Unit, outcomes: list[Outcome]) -> None:
            good = [each for each in outcomes if each.failure is None]
            report.done += len(good)
            report.frames += sum(each.frames for each in good)
            report.shards += bool(good) and job.makes_shards

        def finished(outcome: Outcome) -> None:
            if progress is not None:
                progress(next(numbers), total)

        common: dict[str, Any] = {
            "timeout": timeout,
            "stop": stop,
            "committed": committed,
            "finished": finished,
        }
        if engine == "ray":
            from vidsampler.shards.cluster import build_on_ray

            build_on_ray(job, units, function, work_of, workers=workers, address=address, **common)
        else:
            processes = workers or usable_cpus()
            build(job, units, function, work_of, workers=processes, **common)
        failures = [
            Failure("", source, "find", error.code, error.message)
            for source, error in (not_found or {}).items()
        ]
        # Of those that are gone, only what was missing when its shard was made.
        failures += [
            failure
            for source, failure in job.failed.items()
            if source in known or failure.kind == "missing"
        ]
        write_errors(out, failures)
    report.failed = len(failures)
    report.errors = dict(sorted(Counter(failure.kind for failure in failures).items()))
    report.videos = report.done + report.skipped + report.failed
    report.interrupted = stop.requested
    report.seconds = time.perf_counter() - clock
    return report
