"""What a run has embedded since the index was written last, so that a run that is killed loses
nothing: one record a video, each with its own checksum. A record that is cut does not count.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vidsampler.files import to_json_bytes, writing
from vidsampler.search.entry import Entry, Stamp
from vidsampler.search.manifest import Failed
from vidsampler.shards.manifest import Failure

NAME = "journal"
_DIGEST = 16
_LENGTH = 8


@dataclass(frozen=True)
class Outcome:
    """What became of a video.

    Attributes:
        entry: Its vectors.
        failed: Why there are none.
    """

    entry: Entry | None = None
    failed: Failed | None = None


class Journal:
    """The journal of an index.

    Args:
        folder: Of the index.
        identity: What made the records; those of another are thrown away.

    Attributes:
        found: Source -> what an earlier run left.

    Raises:
        VidsamplerError: It cannot be written.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._path = folder / NAME
        self._identity = identity.encode()
        self.found: dict[str, Outcome] = {}
        good = self._read()
        with writing(self._path):
            self._file: BinaryIO = self._path.open("r+b" if good else "wb")
            self._file.truncate(good)
            self._file.seek(good)
        if not good:
            self._append(self._identity)

    def add(self, source: str, outcome: Outcome) -> None:
        """Adds a record; once this returns, a killed run does not lose it.

        Raises:
            VidsamplerError: There is no room.
        """
        self._append(_packed(source, outcome))

    def clear(self) -> None:
        """Forgets all records, which are in the index now."""
        with writing(self._path):
            self._file.seek(0)
            self._file.truncate(0)
        self._append(self._identity)

    def close(self, *, delete: bool) -> None:
        """Closes it.

        Args:
            delete: Nothing in it is needed any more.
        """
        self._file.close()
        if delete:
            self._path.unlink(missing_ok=True)

    def _append(self, payload: bytes) -> None:
        head = len(payload).to_bytes(_LENGTH, "little") + _digest(payload)
        with writing(self._path):
            self._file.write(head + payload)
            self._file.flush()

    def _read(self) -> int:
        """Reads the whole records; gives the length of the file up to the last of them."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return 0
        at = 0
        while at + _LENGTH + _DIGEST <= len(data):
            size = int.from_bytes(data[at : at + _LENGTH], "little")
            begin = at + _LENGTH + _DIGEST
            payload = data[begin : begin + size]
            if len(payload) < size or _digest(payload) != data[at + _LENGTH : begin]:
                break
            if at == 0:
                if payload != self._identity:
                    return 0
            else:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    source, outcome = _unpacked(payload)
                    self.found[source] = outcome
            at = begin + size
        return at


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST).digest()


_ARRAYS = ("video_D", "frames_KD", "norms_K", "times_K", "numbers_K", "slots_K")


def _packed(source: str, outcome: Outcome) -> bytes:
    stored = io.BytesIO()
    facts: dict[str, Any] = {"source": source}
    if outcome.failed is not None:
        stamp = outcome.failed.stamp
        facts["stamp"] = stamp and stamp.to_json()
        facts["failure"] = outcome.failed.failure.to_json()
    if outcome.entry is not None:
        facts["stamp"] = outcome.entry.stamp.to_json()
        facts["duration"] = outcome.entry.duration
        for name in _ARRAYS:
            np.save(stored, getattr(outcome.entry, name), allow_pickle=False)
    return to_json_bytes(facts) + stored.getvalue()


def _unpacked(payload: bytes) -> tuple[str, Outcome]:
    line, _, rest = payload.partition(b"\n")
    facts = json.loads(line)
    source = str(facts["source"])
    stamp = None if facts["stamp"] is None else Stamp.from_json(facts["stamp"])
    if "failure" in facts:
        return source, Outcome(failed=Failed(stamp, Failure.from_json(facts["failure"])))
    assert stamp is not None
    stored = io.BytesIO(rest)
    arrays = [np.load(stored, allow_pickle=False) for _ in _ARRAYS]
    return source, Outcome(entry=Entry(source, stamp, float(facts["duration"]), *arrays))
