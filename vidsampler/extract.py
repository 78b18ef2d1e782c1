"""Folders of videos become shards (or frame folders), and nothing is lost on the way."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler.errors import InputError, UsageError, unknown
from vidsampler.extraction.settings import ExtractConfig, Recipe
from vidsampler.files import Found, walk_videos

if TYPE_CHECKING:
    from vidsampler.shards.build import Stop
    from vidsampler.shards.job import Job
    from vidsampler.shards.manifest import Failure


@dataclass
class Report:
    """What an extraction did.

    Attributes:
        videos: How many there are: done, skipped and failed ones.
        done: Stored in this run.
        skipped: Committed by an earlier run.
        failed: Not stored, in this run or an earlier one; they are in ``errors.jsonl``.
        frames: Stored in this run.
        shards: Committed in this run; in ``folders`` layout 0.
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


@dataclass(frozen=True)
class Videos:
    """The videos below a folder, or one video.

    Attributes:
        paths: Path below the folder -> file.
        unreadable: Path below the folder -> why a folder there could not be looked into.
    """

    paths: dict[str, Path]
    unreadable: dict[str, InputError]


def find_videos(videos: str | Path, out: Path | None = None) -> Videos:
    """The videos to work on, in the order of their paths.

    Args:
        videos: A folder, walked through, or one file.
        out: A folder to leave out.

    Raises:
        InputError: There is none.
    """
    if not os.path.isdir(videos):
        from vidsampler.video.container import check_file

        check_file(Path(videos))
        return Videos({Path(videos).name: Path(videos)}, {})
    found: list[Found] = list(walk_videos(videos, leave_out=out))
    named = {os.path.relpath(each.path, videos): each for each in found}
    if not found:
        raise InputError(f"{videos}: the folder has no videos in it", code="missing")
    return Videos(
        {name: Path(each.path) for name, each in named.items() if each.error is None},
        {name: each.error for name, each in named.items() if each.error is not None},
    )


def extract(
    videos: str | Path,
    out: str | Path,
    config: ExtractConfig | None = None,
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    asked_to_stop: Callable[[], None] | None = None,
    **settings: Any,
) -> Report:
    """Stores frames of every video below a folder in shards.

    Running it again does only what is missing. A video that cannot be used is left out and listed
    in ``errors.jsonl``; all others are stored. The first Ctrl-C commits the shard at hand.

    Args:
        videos: A folder, walked through, or one file.
        out: The folder for ``NNNNNN.tar`` and ``NNNNNN.json``, or for the frame folders.
        config: All settings.
        retry_failed: Try the videos again that failed in an earlier run.
        overwrite: Delete what earlier runs made in ``out`` and start again.
        progress: Called with how many videos are finished and how many there are to do.
        asked_to_stop: Called at the first Ctrl-C.
        settings: In place of ``config``: fields of `Recipe` and of `ExtractConfig` by name, such as
            ``fps=3, size=224, store="mp4"``.

    Returns:
        What was done.

    Raises:
        UsageError: The settings do not fit each other, or ``out`` is not free for them.
        InputError: There is no video.
        VidsamplerError: ``out`` cannot be written; what is committed stays.
        KeyboardInterrupt: A second Ctrl-C.

    Example:
        >>> import vidsampler
        >>> vidsampler.extract("videos/", "shards/", frames=16)      # doctest: +SKIP
    """
    from vidsampler.shards.build import Stop, build
    from vidsampler.shards.job import Outcome, Unit
    from vidsampler.video.container import usable_cpus

    config = config_of(config, settings)
    clock = time.perf_counter()
    out = Path(out)
    found = find_videos(videos, out)
    with _open_job(out, config, overwrite=overwrite) as job, Stop(asked_to_stop) as stop:
        report = Report(skipped=len(found.paths.keys() & job.done.keys()))
        again = job.failed.keys() if retry_failed else frozenset()
        to_do = [
            source
            for source in found.paths
            if source not in job.done and (source not in job.failed or source in again)
        ]
        units = job.assign(to_do)
        total = sum(len(unit.items) for unit in units)
        finished = count(1)
        _store_config(out, config)

        def committed(unit: Unit, outcomes: list[Outcome]) -> None:
            good = [each for each in outcomes if each.failure is None]
            report.done += len(good)
            report.frames += sum(each.frames for each in good)
            report.shards += bool(good) and config.layout == "shards"

        def advance(outcome: Outcome) -> None:
            if progress is not None:
                progress(next(finished), total)

        build(
            job,
            units,
            "vidsampler.extraction.video:store_video",
            _Worker(found.paths, config),
            workers=config.workers or usable_cpus(),
            timeout=config.timeout,
            stop=stop,
            committed=committed,
            finished=advance,
        )
        _account(report, job, found, out, stop)
    report.seconds = time.perf_counter() - clock
    return report


def config_of(config: ExtractConfig | None, settings: dict[str, Any]) -> ExtractConfig:
    """The settings of a call from Python.

    Raises:
        UsageError: An unknown name, or both ways at once.
    """
    if config is not None:
        if settings:
            raise UsageError("give either a config or settings by name, not both")
        return config
    of_recipe = {each.name for each in fields(Recipe)}
    of_job = {each.name for each in fields(ExtractConfig)} - {"recipe"}
    for name in settings:
        if name not in of_recipe | of_job:
            raise UsageError(unknown("setting", name, sorted(of_recipe | of_job)))
    recipe = Recipe(**{name: value for name, value in settings.items() if name in of_recipe})
    rest = {name: value for name, value in settings.items() if name in of_job}
    return ExtractConfig(recipe=recipe, **rest)


class _Worker:
    """Makes the work of an item."""

    def __init__(self, paths: dict[str, Path], config: ExtractConfig) -> None:
        self._paths = paths
        self._config = config

    def __call__(self, item: Any, spool: Path) -> Any:
        from vidsampler.extraction.video import VideoTask
        from vidsampler.shards.build import Work

        path = self._paths.get(item.source)
        if path is None:
            return Work(None, problem=("missing", f"{item.source}: the file is gone"))
        task = VideoTask(
            item.key,
            item.source,
            path,
            self._config.recipe,
            spool,
            folders=self._config.layout == "folders",
            timeout=self._config.timeout,
        )
        try:
            cost = float(path.stat().st_size)
        except OSError:
            cost = 0.0
        return Work(task, spool, cost)


def _open_job(out: Path, config: ExtractConfig, *, overwrite: bool) -> AbstractContextManager[Job]:
    from vidsampler.extraction.folders import FolderJob
    from vidsampler.shards.job import OutputFolder, ShardJob
    from vidsampler.shards.manifest import FORMAT

    recipe = config.recipe.to_json()
    header = {"format": FORMAT, "layout": config.layout, "recipe": recipe}
    if config.layout == "folders":
        return FolderJob(OutputFolder(out, header, overwrite))
    header["per_shard"] = config.per_shard
    return ShardJob(OutputFolder(out, header, overwrite), recipe, config.per_shard)


def _store_config(out: Path, config: ExtractConfig) -> None:
    from vidsampler import plainyaml
    from vidsampler.config import to_plain
    from vidsampler.files import write_file

    write_file(out / "config.yaml", plainyaml.dump(to_plain(config)).encode())


def _account(report: Report, job: Job, found: Videos, out: Path, stop: Stop) -> None:
    """Counts what is failed now, and writes it down."""
    from vidsampler.shards.job import write_errors
    from vidsampler.shards.manifest import Failure

    failures: list[Failure] = [
        Failure("", source, "find", error.code, error.message)
        for source, error in found.unreadable.items()
    ]
    failures += [failure for source, failure in job.failed.items() if source in found.paths]
    # Planned by an earlier run, and gone since.
    failures += [
        failure
        for source, failure in job.failed.items()
        if failure.kind == "missing" and source not in found.paths
    ]
    write_errors(out, failures)
    report.failed = len(failures)
    report.errors = dict(sorted(Counter(failure.kind for failure in failures).items()))
    report.videos = report.done + report.skipped + report.failed
    report.interrupted = stop.requested
