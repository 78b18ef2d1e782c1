"""Keys: the stable names of samples, made from the relative paths of their videos."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Container
from pathlib import PurePath

from vidsampler.files import is_video_name

KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""What a key looks like: no slash, no dot, and short enough for every kind of tar."""

_LENGTH = 80
_HASH = 8


def make_key(relative: str, taken: Container[str] = frozenset()) -> str:
    """The key of a video.

    The path without its ending, if that is a valid key: ``video7010.mp4`` is ``video7010``. Else
    what is left of it after cleaning, with a part of the path's SHA-256, so that it depends on
    nothing but the path: ``a/ü b.mp4`` is ``a_u_b-`` and eight hexadecimal digits.

    Args:
        relative: The path below the folder of videos; may hold bytes that are no UTF-8.
        taken: Keys that are given away; one of them gets the digits too.
    """
    path = PurePath(relative)
    # The ending of a folder's name, or of an unknown one, belongs to the name.
    stem = str(path.with_suffix("")) if is_video_name(path.name) else relative
    if KEY.fullmatch(stem) and stem not in taken:
        return stem
    digits = hashlib.sha256(os.fsencode(relative)).hexdigest()
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode("ascii")
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-") or "video"
    for length in range(_HASH, len(digits) + 1):
        key = f"{cleaned[: _LENGTH - length - 1]}-{digits[:length]}"
        if key not in taken:
            return key
    raise ValueError(f"two samples of one name: {relative!r}")
