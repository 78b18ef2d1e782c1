"""Features of frames on the disk, so that a second question decodes and encodes nothing.

One small file for each video, model, precision and set of frames, below `features` in the cache
folder. It is safe to delete any of them at any time.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidsampler.config import cache_dir
from vidsampler.files import make_folder, write_file
from vidsampler.video import Video

LAYOUT = 1
"""Raise it whenever frames or features change for the same key."""

_BLOCKS, _BLOCK = 16, 1 << 16


class FeatureCache:
    """Features of frames by what they were computed from.

    Args:
        folder: Where the files are; None: `features` in the cache folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_dir() / "features" if folder is None else folder

    def key(
        self, source: Video, model: str, precision: str, numbers_N: npt.NDArray[np.int64]
    ) -> str:
        """Depends on the file, the model, its precision, and which frames are looked at.

        Args:
            source: The open video; how it is read belongs to it.
            model: The model's own key.
            precision: Of the model.
            numbers_N: Frame numbers.
        """
        digest = hashlib.sha256()
        parts: tuple[Any, ...] = (
            LAYOUT,
            fingerprint(source.path),
            model,
            precision,
            source.salvage,
            source.index.by_dts,
        )
        digest.update(repr(parts).encode())
        digest.update(np.ascontiguousarray(numbers_N, "<i8").tobytes())
        return digest.hexdigest()[:40]

    def load(
        self, key: str, numbers_N: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
        """What is stored under a key: frame numbers out of those asked for, and their features.

        A file that is damaged counts as none.
        """
        try:
            with np.load(io.BytesIO(self._path(key).read_bytes()), allow_pickle=False) as arrays:
                numbers, features = arrays["numbers"], arrays["features"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        sound = (
            numbers.dtype == np.int64
            and features.dtype == np.float32
            and features.ndim == 2
            and 0 < len(numbers) == len(features)
            and bool((np.diff(numbers) > 0).all())
            and bool(np.isin(numbers, numbers_N).all())
            and bool(np.isfinite(features).all())
        )
        return (numbers, features) if sound else None

    def store(
        self,
        key: str,
        numbers_N: npt.NDArray[np.int64],
        features_ND: npt.NDArray[np.float32],
    ) -> None:
        """Keeps features; the file is whole or not there.

        Raises:
            VidsamplerError: It cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(buffer, numbers=numbers_N, features=features_ND)
        path = self._path(key)
        make_folder(path.parent)
        write_file(path, buffer.getvalue())

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"


def fingerprint(path: Path) -> str:
    """Tells files apart without reading all of a long one.

    Size, time of the last change, and 16 blocks of 64 KiB evenly spread from the first to the last
    byte; a file of 1 MiB or less is read whole. The name does not count.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        digest.update(f"{facts.st_size} {facts.st_mtime_ns}".encode())
        last = max(0, facts.st_size - _BLOCK)
        for number in range(_BLOCKS):
            file.seek(last * number // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
