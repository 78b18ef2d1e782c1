"""What a packet's own bytes say: may it be left out, is it a true entry point, is it shown.

Containers rarely flag packets that nothing refers to, so this reads the NAL unit headers of H.264
(ITU-T H.264, 7.3.1) and HEVC (ITU-T H.265, 7.3.1.2) and the frame header of VP8 (RFC 6386, 9.1).
Where a codec or a packet gives no certain answer, the packet counts as needed and shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NEEDED = -1
"""`Facts.layer` of a packet that other pictures may refer to."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one packet.

    Attributes:
        layer: `NEEDED`, or the temporal layer within which nothing refers to this picture.
        top_layer: the temporal layer of the picture (0 where the codec has none).
        shown: the packet gives a picture that is shown.
        closed: for a keyframe: nothing after it refers to anything before it, and no picture that
            is shown before it needs what lies before it (an IDR picture).
        entry: for a keyframe: decoding may start here.
    """

    layer: int = NEEDED
    top_layer: int = 0
    shown: bool = True
    closed: bool = False
    entry: bool = True


class PacketReader:
    """Reads `Facts` from the packets of one stream.

    Args:
        codec: FFmpeg's codec name (``h264``, ``hevc``, ``vp8``, ...).
        extradata: the stream's codec configuration; it tells how NAL units are framed.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self.codec = codec
        extradata = extradata or b""
        # avcC and hvcC start with version 1; Annex B streams start with a start code.
        self._length_size = 0
        if codec == "h264" and len(extradata) > 6 and extradata[0] == 1:
            self._length_size = (extradata[4] & 3) + 1
        elif codec == "hevc" and len(extradata) > 22 and extradata[0] == 1:
            self._length_size = (extradata[21] & 3) + 1

    def facts(self, data: memoryview, keyframe: bool) -> Facts:
        """Reads one packet; never raises on damaged bytes.

        Args:
            data: the packet's bytes.
            keyframe: the container's keyframe flag.
        """
        if self.codec == "h264":
            return self._h264(data, keyframe)
        if self.codec == "hevc":
            return self._hevc(data)
        if self.codec == "vp8":
            # show_frame is bit 4; alternative reference frames are decoded and never shown.
            return Facts(shown=not len(data) or bool(data[0] >> 4 & 1))
        return Facts()

    def _units(self, data: memoryview) -> Iterator[memoryview]:
        if self._length_size:
            position, size = 0, self._length_size
            while position + size < len(data):
                length = int.from_bytes(data[position : position + size], "big")
                position += size
                if length:
                    yield data[position : position + length]
                position += length
            return
        raw = bytes(data)
        position = raw.find(b"\x00\x00\x01")
        while position >= 0:
            following = raw.find(b"\x00\x00\x01", position + 3)
            yield data[position + 3 : following if following >= 0 else len(data)]
            position = following

    def _h264(self, data: memoryview, keyframe: bool) -> Facts:
        pictures = needed = 0
        closed, recovers = False, False
        for unit in self._units(data):
            if not len(unit):
                continue
            kind = unit[0] & 31
            if 1 <= kind <= 5:
                pictures += 1
                needed += (unit[0] >> 5 & 3) > 0
                closed |= kind == 5
            elif kind in (7, 8, 13, 15):  # parameter sets, which later pictures may use
                needed += 1
            elif kind == 6 and keyframe:
                recovers |= _recovery_at_once(bytes(unit))
            if needed and pictures and not keyframe:
                break
        return Facts(
            layer=0 if pictures and not needed else NEEDED,
            closed=closed,
            entry=keyframe and (closed or recovers),
        )

    def _hevc(self, data: memoryview) -> Facts:
        parameters = False
        for unit in self._units(data):
            if len(unit) < 2:
                continue
            kind = unit[0] >> 1 & 63
            parameters |= 32 <= kind <= 34
            if kind < 32:
                layer = (unit[1] & 7) - 1
                # Even types below 16 are sub-layer non-reference pictures.
                droppable = kind < 16 and kind % 2 == 0 and layer >= 0 and not parameters
                return Facts(
                    layer=layer if droppable else NEEDED,
                    top_layer=max(layer, 0),
                    closed=kind in (19, 20),
                    entry=16 <= kind <= 21,
                )
        return Facts()


def droppable_mask(facts: list[Facts]) -> npt.NDArray[np.bool_]:
    """Which packets of a group nothing refers to: (n,) bool.

    A picture at a lower temporal layer may be referred to by a higher one, so only those at the
    group's highest layer count.
    """
    top = max((fact.top_layer for fact in facts), default=0)
    return np.fromiter((fact.layer == top for fact in facts), bool, len(facts))


def _recovery_at_once(unit: bytes) -> bool:
    """True if a SEI unit holds a recovery point (payload type 6) that is exact and at once."""
    unit = unit.replace(b"\x00\x00\x03", b"\x00\x00")  # emulation prevention
    position = 1
    while position + 2 < len(unit):
        kind = size = 0
        while position < len(unit) and unit[position] == 255:
            kind, position = kind + 255, position + 1
        if position >= len(unit):
            return False
        kind, position = kind + unit[position], position + 1
        while position < len(unit) and unit[position] == 255:
            size, position = size + 255, position + 1
        if position >= len(unit):
            return False
        size, position = size + unit[position], position + 1
        if kind == 6:
            # recovery_frame_cnt ue(v) 0 is the bit 1; exact_match_flag 1; broken_link_flag 0.
            return position < len(unit) and unit[position] >> 5 == 0b110
        position += size
    return False
