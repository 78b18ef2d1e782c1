"""Reading shards back: what is damaged, and making room for `extract` to do it again."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler.errors import InputError, UsageError
from vidsampler.files import no_folder

if TYPE_CHECKING:
    from vidsampler.shards.check import Checked, Finding, ShardTask


@dataclass
class Verified:
    """What was read back.

    Attributes:
        folder: Where.
        shards: How many were looked at; of frame folders the folders.
        samples, frames, bytes: In them, as far as they could be read.
        findings: What is wrong.
        repaired: Names of what was put aside, for `extract` to do again.
        seconds: How long it took.
    """

    folder: str
    shards: int = 0
    samples: int = 0
    frames: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def errors(self) -> dict[str, int]:
        """Class of fault -> findings."""
        return dict(sorted(Counter(finding.kind for finding in self.findings).items()))

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``vidsampler verify --json`` prints it."""
        return {
            "folder": self.folder,
            "shards": self.shards,
            "samples": self.samples,
            "frames": self.frames,
            "bytes": self.bytes,
            "errors": self.errors,
            "findings": [finding.to_json() for finding in self.findings],
            "repaired": self.repaired,
            "seconds": round(self.seconds, 3),
        }


def verify(
    folder: str | Path,
    *,
    repair: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Reads everything back that `extract` or `shard` made.

    Commit files, SHA-256, the tars block by block, every picture and video decoded, and all counts:
    in the commit files, in each ``KEY.json``, in the plan.

    Args:
        folder: Shards or frame folders, or a folder of such folders (the splits of a dataset).
        repair: Put aside what is damaged, as ``NNNNNN.tar.damaged`` or ``STEM.damaged``; the
            command that made it, run again, makes it again, and then deletes that.
        workers: Processes; None: as many as there are processors to use.
        progress: Called with how many shards are read and how many there are.

    Returns:
        What was found.

    Raises:
        InputError: There is nothing to read.
        UsageError: With ``repair``: another run is writing there.
        VidsamplerError: With ``repair``: the folder cannot be written.

    Example:
        >>> import vidsampler
        >>> vidsampler.verify("shards/").findings                # doctest: +SKIP
        []
    """
    from vidsampler.shards.check import Finding
    from vidsampler.video.container import usable_cpus
    from vidsampler.workers import WorkerPool

    clock = time.perf_counter()
    if workers is not None and not 1 <= workers <= 1024:
        raise UsageError(f"workers must be from 1 to 1024, not {workers}")
    roots = _roots(Path(folder))
    result = Verified(str(folder))
    tasks: list[tuple[_Root, ShardTask]] = []
    for root in roots:
        mine, findings = root.tasks()
        tasks += [(root, task) for task in mine]
        result.findings += findings
    answers: dict[int, Checked] = {}
    crashed: dict[int, Finding] = {}
    with WorkerPool("vidsampler.shards.check:check", workers or usable_cpus()) as pool:
        waiting = iter(enumerate(tasks))
        upcoming = next(waiting, None)
        while upcoming is not None or pool.running:
            while upcoming is not None and pool.idle:
                number, (_, task) = upcoming
                pool.submit(number, task, str(task.path), _patience(task))
                upcoming = next(waiting, None)
            for answer in pool.wait_some():
                if answer.error is not None:
                    name = tasks[answer.tag][1].path.stem
                    crashed[answer.tag] = Finding(name, None, answer.error.code, str(answer.error))
                else:
                    answers[answer.tag] = answer.result
                if progress is not None:
                    progress(len(answers) + len(crashed), len(tasks))
    seen: dict[tuple[Path, str], str] = {}
    for number, (root, task) in enumerate(tasks):
        result.shards += 1
        if number in crashed:
            result.findings.append(root.named(crashed[number]))
            continue
        checked = answers[number]
        result.samples += checked.samples
        result.frames += checked.frames
        result.bytes += checked.bytes
        result.findings += [root.named(finding) for finding in checked.findings]
        for key in checked.keys:
            first = seen.setdefault((root.folder, key), task.path.stem)
            if first != task.path.stem:
                message = f"{task.path}: the key {key!r} is in {first} too"
                found = Finding(task.path.stem, key, "damaged", message)
                result.findings.append(root.named(found))
    if repair and result.findings:
        for root in roots:
            result.repaired += root.repair(result.findings)
    result.seconds = time.perf_counter() - clock
    return result


@dataclass
class _Root:
    """One folder of shards, or of frame folders.

    Attributes:
        folder: The folder.
        prefix: Before the names of its shards: the split.
    """

    folder: Path
    prefix: str = ""

    def named(self, finding: Finding) -> Finding:
        """A finding with the shard's name as the user knows it."""
        return replace(finding, shard=self.prefix + finding.shard)

    def tasks(self) -> tuple[list[ShardTask], list[Finding]]:
        """What is to be read, and what is wrong already."""
        from vidsampler.shards.check import Finding, ShardTask
        from vidsampler.shards.errors import read_errors
        from vidsampler.shards.folder import read_plan
        from vidsampler.shards.manifest import NAME, committed

        findings: list[Finding] = []
        header: dict[str, Any] = {}
        units: dict[str, tuple[tuple[str, str], ...]] = {}
        try:
            if (plan := read_plan(self.folder)) is not None:
                header = plan[0]
                units = {
                    line["unit"]: tuple((key, source) for key, source in line["items"])
                    for line in plan[1]
                }
        except InputError as error:
            findings.append(
                Finding(f"{self.prefix}plan.jsonl", None, error.code, error.message, mendable=False)
            )
        layout = header.get("layout", "shards")
        failed: set[str] = set()
        if layout == "shards":
            paths = committed(self.folder)
            held = {path.stem for path in paths}
            for path in sorted(self.folder.glob("*.tar")):
                # One that is planned is in the making, or was when a run was stopped.
                if path.stem not in held and path.stem not in units:
                    kind = "uncommitted" if NAME.fullmatch(path.stem) else "foreign"
                    message = f"{path}: a tar without a commit file"
                    finding = Finding(path.stem, None, kind, message, mendable=False)
                    findings.append(self.named(finding))
        else:
            paths = [self.folder / f"{name}.json" for name in units]
            paths = [path for path in paths if path.exists()]
            held = {path.stem for path in paths}
            failed = {each.source for each in read_errors(self.folder)}
        for name, items in units.items():
            if name not in held and not any(source in failed for _, source in items):
                message = f"{self.folder / name}: planned, and not made yet"
                finding = Finding(name, None, "uncommitted", message, mendable=False)
                findings.append(self.named(finding))
        return [ShardTask(path, layout, units.get(path.stem)) for path in paths], findings

    def repair(self, findings: list[Finding]) -> list[str]:
        """Puts damaged shards aside; gives their names."""
        from vidsampler.files import writing
        from vidsampler.shards.folder import files_of, lock_folder, read_plan, unlock_folder
        from vidsampler.shards.writer import put_aside

        names = {
            finding.shard.removeprefix(self.prefix)
            for finding in findings
            if finding.mendable and finding.shard.startswith(self.prefix)
        }
        plan = None
        with suppress(InputError):  # of a plan that cannot be read nobody makes anything
            plan = read_plan(self.folder) if names else None
        # What no plan has, nobody would make again.
        planned = {line["unit"] for line in plan[1]} if plan is not None else set()
        chosen = sorted(names & planned)
        if not chosen or plan is None:
            return []
        taken = {file for name in planned for file in files_of(plan[0], name)}
        with writing(self.folder):
            lock = lock_folder(self.folder)
            try:
                for name in chosen:
                    # The frames first: a run that finds them without a commit file deletes them.
                    for file in files_of(plan[0], name):
                        put_aside(self.folder / file, taken)
            finally:
                unlock_folder(self.folder, lock)
        return [self.prefix + name for name in chosen]


def _patience(task: ShardTask) -> float:
    """Seconds after which a decoder hangs, however slow the disk and long the shard."""
    tar = task.path.with_suffix(".tar")
    return 600.0 + (tar.stat().st_size / 100_000 if tar.is_file() else 0.0)


def _roots(folder: Path) -> list[_Root]:
    """The folder itself, or those below that hold shards."""
    if not folder.is_dir():
        raise no_folder(folder)
    try:
        if _holds_something(folder):
            return [_Root(folder)]
        below = [
            _Root(path, f"{path.name}/") for path in _folders(folder) if _holds_something(path)
        ]
    except OSError as error:
        raise InputError(
            f"{error.filename}: cannot be read: {error.strerror}", code="unreadable"
        ) from error
    if not below:
        raise InputError(
            f"{folder}: there is no shard in it",
            hint=f"make some: vidsampler extract VIDEOS {folder}",
            code="missing",
        )
    return below


def _folders(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.iterdir() if path.is_dir())


def _holds_something(folder: Path) -> bool:
    from vidsampler.shards.folder import PLAN
    from vidsampler.shards.manifest import committed

    os.listdir(folder)  # an error where nobody may look
    return (folder / PLAN).exists() or bool(committed(folder)) or any(folder.glob("*.tar"))
