"""Renders a dataset to files: what is there already is left alone, nothing is half there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from vidsampler.config import cache_dir
from vidsampler.datasets.shapes import pictures
from vidsampler.datasets.shapes.encode import codec_name, encode_mp4
from vidsampler.datasets.shapes.facts import fact_pool
from vidsampler.datasets.shapes.plan import VideoPlan, plan_videos, video_rng
from vidsampler.datasets.shapes.records import RECORDS, split_folder, to_lines
from vidsampler.datasets.shapes.settings import VERSION, ShapesSettings
from vidsampler.errors import VidsamplerError
from vidsampler.video.container import usable_cpus
from vidsampler.workers import WorkerPool

Progress = Callable[[int, int], None]
"""Called with the number of videos that are there, and of all videos."""

SETTINGS = "settings.json"
_BATCH = 8
_STALE_SECONDS = 600.0


def cached_folder(settings: ShapesSettings) -> Path:
    """Where videos of these settings are kept: another folder for each version and codec."""
    return cache_dir() / "shapes" / settings.key(codec_name())


def render(
    settings: ShapesSettings,
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Path:
    """Makes sure that all videos and the ground truth are there.

    `FOLDER/settings.json` comes first, then `FOLDER/SPLIT/VIDEO.mp4`, then
    `FOLDER/SPLIT/shapes.jsonl`: where it is, all videos of its split have been written. Each file
    appears whole under its name or not at all, so that a run that was killed is taken up by the
    next one; where all is there, nothing is done. Two runs may share a folder.

    Args:
        settings: what to render.
        folder: where to; None: `cached_folder(settings)`.
        progress: called now and then.
        workers: processes; None: as many as there are processors.

    Returns:
        The folder.

    Raises:
        VidsamplerError: the folder holds videos of other settings, a file cannot be written, or a
            worker has died.
    """
    folder = folder or cached_folder(settings)
    marker = json.dumps({"version": VERSION, "codec": codec_name()} | asdict(settings), indent=1)
    plans = plan_videos(settings)
    try:
        _prepare(folder, marker, list(plans))
        there = {split: set(os.listdir(split_folder(folder, split))) for split in plans}
        missing = [
            plan
            for split, of_split in plans.items()
            for plan in of_split
            if f"{plan.video}.mp4" not in there[split]
        ]
        _render_all(settings, missing, folder, progress, workers or usable_cpus())
        for split, of_split in plans.items():
            lines = to_lines(of_split, settings.slot_seconds).encode()
            records = split_folder(folder, split) / RECORDS
            if not records.exists() or records.read_bytes() != lines:
                _write(records, lines)
    except OSError as error:
        raise _unwritable(error, folder) from error
    return folder


def slot_pictures(settings: ShapesSettings, plan: VideoPlan) -> list[pictures.RGB]:
    """The pictures of a video's slots, before they are encoded; each (height, width, 3)."""
    pool = fact_pool(settings.facts, settings.seed)
    drawn: list[pictures.RGB] = []
    for number, slot in enumerate(plan.slots):
        size = settings.height, settings.width
        rng = video_rng(settings, plan.split, plan.number, number)
        # What an unrelated picture takes its colours and places from.
        model = pool[int(rng.integers(len(pool)))]
        if slot.repeats is not None:
            drawn.append(drawn[slot.repeats])
        elif slot.kind == "informative" and slot.fact is not None:
            drawn.append(pictures.informative(plan.facts[slot.fact], *size, rng))
        elif slot.kind == "black":
            drawn.append(pictures.black(*size, rng))
        elif slot.kind == "noisy":
            drawn.append(pictures.noisy(model, *size, rng))
        elif slot.kind == "blurred":
            drawn.append(pictures.blurred(model, *size, rng))
        else:
            drawn.append(pictures.unrelated(model, *size, rng))
    return drawn


def _render_all(
    settings: ShapesSettings,
    plans: Sequence[VideoPlan],
    folder: Path,
    progress: Progress | None,
    workers: int,
) -> None:
    done = settings.videos - len(plans)
    batches = [plans[i : i + _BATCH] for i in range(0, len(plans), _BATCH)]

    def report(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, settings.videos)

    report(0)
    if workers == 1 or len(batches) <= 1:
        for batch in batches:
            report(_render_batch(settings, batch, folder))
        return
    waiting = list(reversed(batches))
    with WorkerPool(f"{__name__}:render_task", min(workers, len(batches))) as pool:
        while waiting or pool.running:
            while waiting and pool.idle:
                batch = waiting.pop()
                pool.submit(len(batch), (settings, batch, folder), f"{folder}: {batch[0].video}")
            for answer in pool.wait_some():
                if answer.error is not None and answer.error.code == "crashed":
                    raise VidsamplerError(
                        f"a process that rendered videos into {folder} has died",
                        hint="run it again: it goes on where it stopped",
                    ) from answer.error
                if answer.error is not None:
                    raise answer.error
                report(answer.tag)


def render_task(task: tuple[ShapesSettings, Sequence[VideoPlan], Path]) -> None:
    """What a worker does: renders some videos.

    Raises:
        VidsamplerError: A file cannot be written.
    """
    settings, plans, folder = task
    try:
        _render_batch(settings, plans, folder)
    except OSError as error:
        raise _unwritable(error, folder) from error


def _unwritable(error: OSError, folder: Path) -> VidsamplerError:
    return VidsamplerError(
        f"{error.filename or folder}: cannot be written: {error.strerror or error}",
        code="unwritable",
    )


def _render_batch(settings: ShapesSettings, plans: Sequence[VideoPlan], folder: Path) -> int:
    """Renders some videos; how many."""
    for plan in plans:
        data = encode_mp4(slot_pictures(settings, plan), settings.fps, settings.slot_frames)
        _write(split_folder(folder, plan.split) / f"{plan.video}.mp4", data)
    return len(plans)


def _prepare(folder: Path, marker: str, splits: Sequence[str]) -> None:
    """Makes the folders, and clears what killed runs have left in them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS
    if not path.exists():
        _write(path, marker.encode())
    elif path.read_bytes() != marker.encode():
        raise VidsamplerError(
            f"{folder} holds videos of other settings", hint="render into another folder"
        )
    for split in splits:
        inside = split_folder(folder, split)
        inside.mkdir(exist_ok=True)
        for left in inside.glob(".*.part"):
            # A file that is being written just now belongs to another run.
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                left.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """Writes a file that is whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
