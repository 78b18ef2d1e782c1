"""A folder of videos becomes an index to search in, and stays one as the folder changes."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler import plainyaml
from vidsampler.config import Layer
from vidsampler.search.settings import blind_sampler, named_layers

if TYPE_CHECKING:
    from vidsampler.search.encoding import Encoder
    from vidsampler.search.entry import Entry
    from vidsampler.search.journal import Journal
    from vidsampler.search.manifest import Failed
    from vidsampler.search.plan import EmbedPlan
    from vidsampler.search.reading import ReadTask
    from vidsampler.search.store import Change, Store
    from vidsampler.stop import Stop

Progress = Callable[[int, int], None]


@dataclass
class EmbedReport:
    """What `embed` did.

    Attributes:
        videos: How many there are: done, skipped and failed ones.
        done: Embedded in this run, or in one that was killed before.
        skipped: In the index already, as they are.
        failed: Not in the index; they are in ``errors.jsonl``.
        dropped: Taken out of it, because they are gone.
        frames: Kept in this run.
        seconds: How long it took.
        errors: Class of fault -> videos that have it now.
        interrupted: The user ended it before everything was done.
        texts: The index can be asked by texts; where the model reads none, by videos only.
    """

    videos: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    dropped: int = 0
    frames: int = 0
    seconds: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    texts: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``vidsampler embed --json`` prints it."""
        others = ("interrupted", "texts")
        plain = {name: value for name, value in vars(self).items() if name not in others}
        return {**plain, "seconds": round(self.seconds, 3)}


def embed(
    videos: str | Path,
    index: str | Path,
    *,
    layers: list[Layer] | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    asked_to_stop: Callable[[], None] | None = None,
    **settings: Any,
) -> EmbedReport:
    """Makes an index of the videos below a folder, or brings it up to date.

    New files are added, changed ones embedded again, vanished ones dropped, and the rest costs
    nothing. A video that cannot be used is left out and listed in ``errors.jsonl``. A run that is
    killed goes on where it was, and ends in the same bytes as if it had not been.

    Args:
        videos: A folder of videos, walked through, or of shards.
        index: The folder of the index.
        layers: Settings as layers of the config tree.
        retry_failed: Try the videos again that failed in an earlier run.
        overwrite: Delete the index that is there and start again.
        progress: Called with how many videos are finished and how many there are to do.
        asked_to_stop: Called at the first Ctrl-C.
        settings: By name: ``checkpoint`` and ``which``; or ``backbone``, ``pretrained``,
            ``sampler``, ``k`` and ``frames``; and the fields of `IndexSettings`, such as
            ``workers``.

    Returns:
        What was done.

    Raises:
        UsageError: The settings are not those of the index that is there, or its folder is not
            free.
        InputError: There is no video, or the checkpoint or the index is damaged.
        VidsamplerError: The index cannot be written; what was there stays.
        KeyboardInterrupt: A second Ctrl-C.

    Example:
        >>> import vidsampler
        >>> vidsampler.embed("videos/", "index/", checkpoint="runs/mine")     # doctest: +SKIP
        >>> vidsampler.Index.open("index/").search("a dog on a beach")        # doctest: +SKIP
    """
    from vidsampler.search.plan import check_free, check_videos, plan_embed
    from vidsampler.search.store import Store
    from vidsampler.stop import Stop

    clock = time.perf_counter()
    said = [*(layers or ()), *named_layers(settings)]
    videos, index = Path(videos), Path(index)
    check_free(index)
    check_videos(videos)
    with Stop(asked_to_stop) as stop, Store(index) as store, stop.until_closing():
        plan = plan_embed(videos, index, said, retry_failed=retry_failed, overwrite=overwrite)
        store.per_segment = plan.config.index.per_segment
        if plan.overwrite:
            store.clear()
        elif plan.manifest is not None:
            store.open(plan.manifest)
        report = _Run(plan, store, stop, progress).go()
    report.interrupted = stop.requested
    report.seconds = time.perf_counter() - clock
    return report


class _Run:
    """One run of `embed` over an index that is open for writing."""

    def __init__(
        self, plan: EmbedPlan, store: Store, stop: Stop, progress: Progress | None
    ) -> None:
        self._plan = plan
        self._store = store
        self._stop = stop
        self._progress = progress
        self._changes: dict[str, Change] = {**dict.fromkeys(plan.gone), **plan.touched}
        self._failed = dict(plan.failed)
        self._manifest = plan.manifest
        self._written = plan.manifest
        self._report = EmbedReport(dropped=len(plan.gone))
        self._finished = 0

    def go(self) -> EmbedReport:
        """Embeds what is to be embedded, and brings the index up to date."""
        from vidsampler.search.journal import NAME as JOURNAL

        plan, report = self._plan, self._report
        if plan.todo or plan.manifest is None:
            self._embed()
        else:
            self._commit()
            (plan.index / JOURNAL).unlink(missing_ok=True)  # of a run whose videos are gone
        self._write_side_files()
        report.failed = len(self._failed) + len(plan.unreadable)
        kinds = [each.failure.kind for each in self._failed.values()]
        kinds += [each.kind for each in plan.unreadable.values()]
        report.errors = dict(sorted(Counter(kinds).items()))
        waiting = len(plan.todo) - self._finished
        report.skipped = len(plan.sources) - len(self._failed) - report.done - waiting
        report.videos = report.done + report.skipped + report.failed
        return report

    # ---------------------------------------------------------------- the model's part

    def _embed(self) -> None:
        from vidsampler.search.encoding import Encoder, device_of, fingerprint, load_retriever
        from vidsampler.search.journal import Journal
        from vidsampler.search.manifest import Manifest
        from vidsampler.search.plan import made_with_other_weights
        from vidsampler.search.text import store_text_tower

        plan, config = self._plan, self._plan.config
        device = device_of(config.index.device)
        retriever = load_retriever(config, config.weights)
        self._report.texts = retriever.backbone.has_texts
        print_ = fingerprint(retriever, config.weights)
        if plan.manifest is not None and plan.manifest.fingerprint != print_:
            raise made_with_other_weights(plan.index, plan.manifest.fingerprint, print_)
        self._manifest = Manifest(
            kind=plan.kind,
            folder=str(plan.folder),
            config=config.to_plain(),
            checkpoint=None if config.weights is None else os.path.abspath(config.weights),
            fingerprint=print_,
            width=retriever.backbone.width,
            size=retriever.frame_size,
        )
        store_text_tower(retriever.backbone, print_)
        identity = json.dumps([config.identity(), print_, plan.kind])
        journal = Journal(plan.index, identity)
        try:
            self._take_over(journal)
            done = self._changes.keys() | self._failed.keys()
            left = [source for source in plan.todo if source not in done]
            self._read_all(left, Encoder(retriever, device), journal)
            self._commit()
        except BaseException:
            journal.close(delete=False)
            raise
        journal.close(delete=True)

    def _take_over(self, journal: Journal) -> None:
        """What a run that was killed has done, as far as it still holds."""
        from vidsampler.search.plan import same_as

        wanted = set(self._plan.todo)
        for source, outcome in journal.found.items():
            if source not in wanted:
                continue
            stamp = outcome.entry.stamp if outcome.entry else None
            if outcome.failed is not None:
                if self._plan.retry_failed:
                    continue
                stamp = outcome.failed.stamp
            if stamp is not None and same_as(self._plan.sources[source], stamp) == stamp:
                self._settle(source, outcome.entry, outcome.failed)

    def _read_all(self, sources: list[str], encoder: Encoder, journal: Journal) -> None:
        """Decodes in worker processes, encodes here, and writes down what is done."""
        from vidsampler.search.journal import Outcome
        from vidsampler.search.manifest import Failed
        from vidsampler.search.plan import stamp_now
        from vidsampler.search.reading import Frames
        from vidsampler.shards.manifest import Failure
        from vidsampler.video.container import usable_cpus
        from vidsampler.workers import WorkerPool

        index = self._plan.config.index
        queue = iter(sources)
        workers = min(index.workers or usable_cpus(), max(1, len(sources)))
        with WorkerPool("vidsampler.search.reading:read_frames", workers) as pool:
            while True:
                while pool.idle and not self._stop.requested:
                    if (source := next(queue, None)) is None:
                        break
                    task = self._task(source)
                    pool.submit(task, task, source, index.timeout)
                if not pool.running:
                    break
                for answer in pool.wait_some():
                    task, result = answer.tag, answer.result
                    entry, failed = None, None
                    if answer.error is not None:
                        failed = Failed(
                            stamp_now(self._plan.sources[task.source]),
                            Failure(
                                task.key,
                                task.source,
                                "decode",
                                answer.error.code,
                                answer.error.message,
                            ),
                        )
                    elif isinstance(result, Frames):
                        entry = encoder(task.source, task.key, result)
                    else:
                        failed = result
                    journal.add(task.source, Outcome(entry, failed))
                    self._settle(task.source, entry, failed)
                if len(self._changes) >= index.per_segment:
                    self._commit()
                    journal.clear()

    def _task(self, source: str) -> ReadTask:
        from vidsampler.samplers.candidates import seed_of
        from vidsampler.search.reading import ReadTask
        from vidsampler.shards.key import make_key

        plan, config = self._plan, self._plan.config
        assert self._manifest is not None
        found = plan.sources[source]
        key = found.key or make_key(source)
        return ReadTask(
            key=key,
            source=source,
            kind=plan.kind,
            path=found.path,
            frames=config.frames,
            size=self._manifest.size,
            blind=blind_sampler(config),
            k=config.sampler.k,
            seed=seed_of(config.sampler.seed, key),
            timeout=config.index.timeout,
            salvage=config.index.salvage,
            stamp=found.stamp,
        )

    def _settle(self, source: str, entry: Entry | None, failed: Failed | None) -> None:
        self._finished += 1
        if entry is not None:
            self._changes[source] = entry
            self._failed.pop(source, None)
            self._report.done += 1
            self._report.frames += len(entry.times_K)
        elif failed is not None:
            self._failed[source] = failed
            if source in self._plan.there:
                self._changes[source] = None  # what was there is of another content
        if self._progress is not None:
            self._progress(self._finished, len(self._plan.todo))

    # ---------------------------------------------------------------- the index's part

    def _commit(self) -> None:
        assert self._manifest is not None
        manifest = replace(
            self._manifest,
            folder=str(self._plan.folder),
            parts=self._store.parts,
            failed=dict(self._failed),
        )
        if self._changes or manifest != self._written:
            self._manifest = self._written = self._store.commit(manifest, self._changes)
        self._changes = {}

    def _write_side_files(self) -> None:
        from vidsampler.files import write_file
        from vidsampler.shards.errors import write_errors
        from vidsampler.shards.folder import CONFIG

        assert self._manifest is not None
        failures = [each.failure for each in self._failed.values()]
        failures += self._plan.unreadable.values()
        write_errors(self._plan.index, failures)
        text = plainyaml.dump(self._manifest.config)
        write_file(self._plan.index / CONFIG, text.encode("utf-8"))
