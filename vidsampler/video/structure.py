"""Does a container end where it says that it ends? Read from the file's outermost boxes alone.

A file that was cut (a broken download, a full disk) still has its outer box, and that box still
names its full size: ISO-BMFF (mp4, mov), Matroska (mkv, webm) and RIFF (avi) all do. MPEG-TS, GIF
and raw streams promise nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_SEGMENT = 0x18538067


def missing_bytes(path: Path) -> int:
    """How many bytes the outermost structure promises beyond the end of the file (0: none)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _iso_bmff(file, size)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return _matroska(file, size)
        if head[:4] == b"RIFF":
            promised = int.from_bytes(head[4:8], "little") + 8
            # The chunk is padded to an even size, and some writers count the pad byte.
            return promised - size if promised > size + 2 else 0
    return 0


def _iso_bmff(file: BinaryIO, size: int) -> int:
    offset = 0
    while offset + 8 <= size:
        file.seek(offset)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:  # 64-bit size
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # to the end of the file
            return 0
        if length < 8:
            return 0  # not a box: leave the verdict to the demuxer
        offset += length
    return max(0, offset - size)


def _matroska(file: BinaryIO, size: int) -> int:
    file.seek(0, os.SEEK_SET)
    for _ in range(8):
        identifier = _vint(file, keep_marker=True)
        length = _vint(file, keep_marker=False)
        if identifier is None or length is None:
            return 0
        value, width = length
        if value == (1 << 7 * width) - 1:  # unknown size: a live stream
            return 0
        if identifier[0] == _SEGMENT:
            return max(0, file.tell() + value - size)
        file.seek(value, os.SEEK_CUR)
    return 0


def _vint(file: BinaryIO, *, keep_marker: bool) -> tuple[int, int] | None:
    """An EBML variable-length integer and its width in bytes."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = first[0] if keep_marker else first[0] & (1 << 8 - width) - 1
    rest = file.read(width - 1)
    if len(rest) != width - 1:
        return None
    return value << 8 * (width - 1) | int.from_bytes(rest, "big"), width
