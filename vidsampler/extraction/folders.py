"""The published systems' layout: a folder of pictures for each video, or one mp4."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vidsampler.errors import UsageError
from vidsampler.files import sync_folder, write_file, writing
from vidsampler.shards.errors import add_error, read_errors
from vidsampler.shards.folder import (
    CONFIG,
    ERRORS,
    LOCK,
    PLAN,
    OutputFolder,
    files_of,
    stem_of,
)
from vidsampler.shards.job import Item, Outcome, Packed, Packer, Unit
from vidsampler.shards.manifest import Failure
from vidsampler.shards.writer import NAME_BYTES, drop_aside, is_aside, remove_spool


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
        self._owners: dict[str, str] = {}  # folder -> the source that was last planned for it
        self._names: set[str] = set()  # what the videos of the plan become
        self.done: dict[str, int] = {}
        self.failed: dict[str, Failure] = {}

    def __enter__(self) -> FolderJob:
        self._output.open()
        try:
            self.failed = {each.source: each for each in read_errors(self._output.folder)}
            for line in self._output.lines:
                self._owners[line["unit"]] = line["items"][0][1]
                self._names.update(self._files_of(line["unit"]))
            for name, source in self._owners.items():
                if all((self._output.folder / file).exists() for file in self._files_of(name)):
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
            UsageError: Two videos have one stem, or one has a name that is not free.
        """
        own = "the run itself"
        taken = dict.fromkeys((PLAN, ERRORS, CONFIG, LOCK), own)
        for name in os.listdir(self._output.folder):
            if is_aside(name) and name not in self._names:
                taken[name.casefold()] = "what verify --repair has put aside"
        for source in dict.fromkeys([*self.done, *sources]):
            stem = stem_of(source)
            for name in self._files_of(stem):
                # Compared without case: some file systems take Clip and clip for one name.
                other = taken.setdefault(name.casefold(), source)
                if other != source:
                    raise UsageError(
                        f"{other} and {source} would both go to the folder {stem}/"
                        if stem_of(other).casefold() == stem.casefold()
                        else f"{source} would go to {name}, which belongs to {other}",
                        hint="rename one of them, or use --layout shards",
                    )
                if len(os.fsencode(name)) > NAME_BYTES:
                    raise UsageError(
                        f"{source}: its name is too long for {stem[:20]}....json beside its folder",
                        hint="rename it, or use --layout shards",
                    )
        new = [source for source in sources if self._owners.get(stem_of(source)) != source]
        self._owners |= {stem_of(source): source for source in new}
        self._names |= {name for source in new for name in self._files_of(stem_of(source))}
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
        self.place(unit, _as_it_is(unit, outcomes))

    def packer(self, temporary: Path) -> Packer:
        """A folder of frames is as it should be already."""
        return _as_it_is

    def place(self, unit: Unit, packed: Packed) -> None:
        """As `commit`.

        Raises:
            VidsamplerError: There is no room.
        """
        (outcome,) = packed.outcomes
        source = outcome.item.source
        if outcome.failure is not None:
            self.failed[source] = outcome.failure
            # Failures of the folders layout have no other place than this file.
            add_error(self._output.folder, outcome.failure)
            return
        assert outcome.spool is not None
        final = self._output.folder / self._files_of(unit.name)[0]
        with writing(final):
            remove_spool(final)  # of a run that was stopped before its commit file
            os.replace(outcome.spool, final)
            sync_folder(self._output.folder)
        facts = next(each.data for each in outcome.members if each.name == "json")
        assert facts is not None
        commit = self._output.folder / f"{unit.name}.json"
        write_file(commit, facts, durable=True)
        for path in (final, commit):  # it has been done again
            drop_aside(path, self._names)
        self.done[source] = outcome.frames
        self.failed.pop(source, None)

    def _files_of(self, stem: str) -> tuple[str, str]:
        """What a video becomes: its folder or mp4, and its commit file."""
        return files_of(self._output.header, stem)


def _as_it_is(unit: Unit, outcomes: Sequence[Outcome]) -> Packed:
    return Packed(tuple(outcomes))
