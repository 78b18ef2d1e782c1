"""The videos of a split and their captions, without their frames."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError
from vidsampler.shards import Reader
from vidsampler.shards.folder import check_finished

IntArray = npt.NDArray[np.int64]


class Split:
    """The videos of a folder of shards, numbered in the shards' order, and their captions.

    Captions are numbered by video, then as ``KEY.json`` has them. Captions of the same words have
    the same wording, numbered by first appearance.

    Args:
        folder: Of the shards of one split.

    Attributes:
        reader: Of the shards.
        keys: (V) of the videos.
        captions: (T) of all videos.
        starts: (V + 1,) int64; video v has the captions from starts[v] to starts[v + 1] - 1.
        owners: (T,) int64, the video of each caption.
        wordings: (T,) int64, the wording of each caption.
        texts: (U) the words of each wording.
        fingerprint: The same for the same keys and captions.

    Raises:
        InputError: There is no video, a shard is damaged, or some are not made yet.
    """

    def __init__(self, folder: str | Path) -> None:
        check_finished(Path(folder))
        self.reader = Reader(folder)
        self.keys = self.reader.keys
        if not self.keys:
            raise InputError(f"{folder}: there is no video in these shards", code="empty")
        self.captions: list[str] = []
        starts = [0]
        for number in range(len(self.reader)):
            self.captions += self._captions_of(number)
            starts.append(len(self.captions))
        self.starts: IntArray = np.array(starts, np.int64)
        self.owners: IntArray = np.repeat(np.arange(len(self.keys)), np.diff(self.starts))
        known: dict[str, int] = {}
        self.wordings: IntArray = np.array(
            [known.setdefault(caption, len(known)) for caption in self.captions], np.int64
        )
        self.texts = list(known)
        content = json.dumps([self.keys, self.captions, starts]).encode()
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]

    def __len__(self) -> int:
        """How many videos there are."""
        return len(self.keys)

    def need_captions(self) -> None:
        """Every video must have a caption.

        Raises:
            InputError: Some have none.
        """
        without = np.flatnonzero(np.diff(self.starts) == 0)
        if len(without):
            raise InputError(
                f"{self.reader.folder}: {len(without)} of {len(self)} videos have no caption, "
                f"such as {self.keys[without[0]]}",
                hint="join the captions with: vidsampler shard",
                code="captions",
            )

    def _captions_of(self, number: int) -> list[str]:
        where = f"{self.reader.tar(number)}: {self.keys[number]}.json"
        try:
            captions = self.reader.facts(number).get("captions", [])
        except (ValueError, AttributeError) as error:
            raise InputError(f"{where} cannot be read: {error}", code="damaged") from error
        if not isinstance(captions, list) or not all(isinstance(each, str) for each in captions):
            raise InputError(f"{where}: its captions are no list of texts", code="damaged")
        return captions
