"""An index folder that is being written to.

What an index holds depends on its videos alone, not on the order in which they came. They are
sorted by their paths and cut into segments before those paths whose hash says so. A path that
comes or goes therefore changes one segment, seldom two, and an index that was made at once, grew,
or was killed and begun again, ends in the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidsampler.files import TEMPORARY, write_file, writing
from vidsampler.search.entry import Entry, Stamp
from vidsampler.search.journal import NAME as JOURNAL
from vidsampler.search.manifest import NAME, Manifest, Part
from vidsampler.search.segment import SUFFIX, check_content, open_part, to_bytes
from vidsampler.shards.folder import CONFIG, ERRORS, LOCK, lock_folder, unlock_folder

Change = Entry | Stamp | None
"""What becomes of a video: a new entry, a new stamp of the one that is there, or it goes."""

OWN = (NAME, JOURNAL, ERRORS, CONFIG, LOCK)
"""What an index folder holds beside segments."""

_SEGMENT = re.compile(r"[0-9a-f]{16}" + re.escape(SUFFIX))


def foreign(folder: Path) -> list[str]:
    """Names of what a folder holds that no run of `embed` has put there, sorted.

    Segments come before the list that names them: where there is none yet, the journal tells that
    a run was at work, and may have been killed between the two.

    Raises:
        OSError: The folder cannot be read.
    """
    names = sorted(os.listdir(folder))
    begun = NAME in names or JOURNAL in names
    return [
        name
        for name in names
        if name not in OWN
        and not name.startswith(TEMPORARY)
        and not (begun and _SEGMENT.fullmatch(name))
    ]


@dataclass
class Store:
    """An index folder, opened by the one run that may write to it.

    Args:
        folder: Made if need be.
        per_segment: Videos in a segment, on the average.

    Use it in a ``with`` block.
    """

    folder: Path
    per_segment: int = 2048
    parts: tuple[Part, ...] = field(init=False, default=())
    _width: int = field(init=False, default=0)
    _lock: int = field(init=False, default=-1)
    _made: bool = field(init=False, default=False)

    def __enter__(self) -> Store:
        self._made = not self.folder.exists()
        self._lock = lock_folder(self.folder)
        for left in self.folder.glob(f"{TEMPORARY}*"):
            left.unlink(missing_ok=True)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        unlock_folder(self.folder, self._lock)
        if self._made:
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # a run that came to nothing leaves nothing

    def open(self, manifest: Manifest) -> None:
        """Takes over what is there."""
        self.parts, self._width = manifest.parts, manifest.width

    def commit(self, manifest: Manifest, changes: Mapping[str, Change]) -> Manifest:
        """Puts videos into the index and takes others out; then the new list counts.

        Args:
            manifest: The new list, but for the segments.
            changes: Source -> what it is now.

        Returns:
            The list as it was written.

        Raises:
            VidsamplerError: There is no room; what was there stays.
            InputError: A segment is damaged.
        """
        self._width = manifest.width
        if changes:
            self.parts = tuple(self._rewritten(changes))
        manifest = replace(manifest, parts=self.parts)
        write_file(self.folder / NAME, manifest.to_bytes(), durable=True)
        self._sweep()
        return manifest

    def clear(self) -> None:
        """Deletes what makes an index, and nothing else.

        An empty journal stays, by which the next run knows the folder if this one is killed.
        """
        with writing(self.folder):
            (self.folder / JOURNAL).write_bytes(b"")
            for name in OWN:
                if name not in (LOCK, JOURNAL):
                    (self.folder / name).unlink(missing_ok=True)
        self.parts = ()
        self._sweep()

    def _rewritten(self, changes: Mapping[str, Change]) -> Iterable[Part]:
        """The segments after some changes; those that nothing touches stay as they are."""
        firsts = [part.first for part in self.parts]
        by_part: dict[int, dict[str, Change]] = {}
        for source, entry in changes.items():
            place = max(0, bisect_right(firsts, source) - 1)
            by_part.setdefault(place, {})[source] = entry
        for place, first in enumerate(firsts):
            # A segment that loses its first video goes on where the one before it ends.
            if place and by_part.get(place, {}).get(first, True) is None:
                by_part.setdefault(place - 1, {})
        waiting: list[Entry] = []
        for place in range(max(1, len(self.parts))):
            part = self.parts[place] if self.parts else None
            if part is not None and place not in by_part:
                if waiting:
                    yield self._written(waiting)
                    waiting = []
                yield part
                continue
            for entry in self._merged(part, by_part[place]):
                if waiting and self._begins(entry.source):
                    yield self._written(waiting)
                    waiting = []
                waiting.append(entry)
        if waiting:
            yield self._written(waiting)

    def _merged(self, part: Part | None, changes: Mapping[str, Change]) -> list[Entry]:
        entries: dict[str, Entry] = {}
        if part is not None:
            segment = open_part(self.folder, part, self._width)
            check_content(segment, part)
            entries = {each.source: each for each in map(segment.entry, range(len(segment)))}
        for source, change in changes.items():
            if change is None:
                entries.pop(source, None)
            elif isinstance(change, Stamp):
                entries[source] = replace(entries[source], stamp=change)
            else:
                entries[source] = change
        return [entries[source] for source in sorted(entries)]

    def _begins(self, source: str) -> bool:
        digest = hashlib.sha256(os.fsencode(source)).digest()
        return int.from_bytes(digest[:8], "big") % self.per_segment == 0

    def _written(self, entries: list[Entry]) -> Part:
        data = to_bytes(entries)
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / f"{digest[:16]}{SUFFIX}"
        if not path.exists() or path.stat().st_size != len(data):
            write_file(path, data, durable=True)
        frames = sum(len(entry.times_K) for entry in entries)
        return Part(digest[:16], len(entries), frames, len(data), digest, entries[0].source)

    def _sweep(self) -> None:
        """Deletes segments that the list does not name."""
        names = {part.name for part in self.parts}
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path.stem not in names:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
