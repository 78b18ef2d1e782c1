"""The published systems' layout: a folder of pictures for each video, or one mp4."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

from vidsampler.errors import UsageError
from vidsampler.files import sync_folder, write_file, writing
from vidsampler.shards.job import (
    Item,
    Outcome,
    OutputFolder,
    Unit,
    add_error,
    read_errors,
)
from vidsampler.shards.manifest import Failure
from vidsampler.shards.writer import remove_spool


class FolderJob:
    """A folder of frame folders, opened for one run.

    ``STEM.json`` beside ``STEM/`` (or ``STEM.mp4``) is the commit file of a video.

    Args:
        output: The folder.

    Use it in a ``with`` block.
    """

    makes_shards = False

    def __init__(self, output: OutputFolder) -> None:
        self._output = output
        self.done: dict[str, int] = {}
        self.failed: dict[str, Failure] = {}

    def __enter__(self) -> FolderJob:
        self._output.open()
        try:
            self.failed = {each.source: each for each in read_errors(self._output.folder)}
            for line in self._output.lines:
                for _, source in line["items"]:
                    if (self._output.folder / f"{line['unit']}.json").exists():
                        self.done[source] = 0
                        self.failed.pop(source, None)
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
        """One unit for each source, named by its stem.

        Raises:
            UsageError: Two videos have one stem.
        """
        planned = {line["items"][0][1]: str(line["unit"]) for line in self._output.lines}
        stems: dict[str, list[str]] = defaultdict(list)
        for source in {**planned, **dict.fromkeys(sources)}:
            # Compared without case: some file systems take Clip and clip for one name.
            stems[stem_of(source).casefold()].append(source)
        for both in stems.values():
            if len(both) > 1:
                raise UsageError(
                    f"{both[0]} and {both[1]} would both go to the folder {stem_of(both[0])}/",
                    hint="rename one of them, or use --layout shards",
                )
        new = [source for source in sources if source not in planned]
        if new or not self._output.lines:
            self._output.write_plan(
                {"unit": stem_of(source), "items": [[stem_of(source), source]]} for source in new
            )
        return [Unit(stem_of(source), (Item(stem_of(source), source),)) for source in sources]

    def commit(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        """Puts a folder (or mp4) in its place, then its commit file.

        Raises:
            VidsamplerError: There is no room.
        """
        (outcome,) = outcomes
        source = outcome.item.source
        if outcome.failure is not None:
            self.failed[source] = outcome.failure
            # Failures of the folders layout have no other place than this file.
            add_error(self._output.folder, outcome.failure)
            return
        assert outcome.spool is not None
        final = self._output.folder / unit.name
        if outcome.spool.is_file():
            final = final.with_name(f"{unit.name}.mp4")
        with writing(final):
            remove_spool(final)  # of a run that was stopped before its commit file
            os.replace(outcome.spool, final)
            sync_folder(self._output.folder)
        facts = next(each.data for each in outcome.members if each.name == "json")
        assert facts is not None
        write_file(self._output.folder / f"{unit.name}.json", facts, durable=True)
        self.done[source] = outcome.frames
        self.failed.pop(source, None)


def stem_of(source: str) -> str:
    """The folder of a video: its name without the ending."""
    return PurePath(source).stem.strip(". ") or "video"
