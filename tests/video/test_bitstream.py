"""NAL unit headers written by hand."""

import pytest

from vidsampler.video.bitstream import NEEDED, Facts, PacketReader, droppable_mask

AVCC = bytes([1, 100, 0, 31, 0xFF, 0xE1, 0, 0])
HVCC = bytes([1] + [0] * 20 + [0xFF, 0, 0])


def read(reader: PacketReader, data: bytes, *, keyframe: bool = False) -> Facts:
    return reader.facts(memoryview(data), keyframe)


def framed(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def annex_b(*units: bytes) -> bytes:
    return b"".join(b"\x00\x00\x00\x01" + unit for unit in units)


def h264(kind: int, ref_idc: int) -> bytes:
    return bytes([ref_idc << 5 | kind, 0x88, 0x84])


def hevc(kind: int, layer: int = 0) -> bytes:
    return bytes([kind << 1, layer + 1, 0x80])


RECOVERY_AT_ONCE = bytes([6, 6, 1, 0b1100_0000, 0x80])
RECOVERY_ABOUT = bytes([6, 6, 1, 0b1000_0000, 0x80])
RECOVERY_BROKEN = bytes([6, 6, 1, 0b1110_0000, 0x80])
RECOVERY_LATER = bytes([6, 6, 1, 0b0100_0000, 0x80])


@pytest.mark.parametrize(("frame", "extradata"), [(framed, AVCC), (annex_b, b"\x00\x00\x00\x01g")])
def test_h264_references(frame: object, extradata: bytes) -> None:
    assert callable(frame)
    reader = PacketReader("h264", extradata)
    assert read(reader, frame(h264(1, 0))).layer == 0
    assert read(reader, frame(h264(1, 2))).layer == NEEDED
    # A delimiter says nothing of references, a parameter set may be needed later.
    assert read(reader, frame(h264(9, 0), h264(1, 0))).layer == 0
    assert read(reader, frame(h264(8, 3), h264(1, 0))).layer == NEEDED
    # Two fields in a packet: needed if one is.
    assert read(reader, frame(h264(1, 0), h264(1, 1))).layer == NEEDED
    # No picture in it: no certain answer.
    assert read(reader, frame(h264(9, 0))).layer == NEEDED


def test_h264_entry_points() -> None:
    reader = PacketReader("h264", AVCC)
    idr = read(reader, framed(h264(5, 3)), keyframe=True)
    assert (idr.closed, idr.entry) == (True, True)
    open_ = read(reader, framed(RECOVERY_AT_ONCE, h264(1, 3)), keyframe=True)
    assert (open_.closed, open_.entry) == (False, True)
    for other in (RECOVERY_ABOUT, RECOVERY_BROKEN):
        assert not read(reader, framed(other, h264(1, 3)), keyframe=True).entry
    refresh = read(reader, framed(RECOVERY_LATER, h264(1, 3)), keyframe=True)
    assert (refresh.closed, refresh.entry) == (False, False)


def test_hevc_references_and_layers() -> None:
    reader = PacketReader("hevc", HVCC)
    assert read(reader, framed(hevc(0))).layer == 0  # TRAIL_N
    assert read(reader, framed(hevc(1))).layer == NEEDED  # TRAIL_R
    assert read(reader, framed(hevc(8, 1))) == Facts(layer=1, top_layer=1, entry=False)
    assert read(reader, framed(hevc(32), hevc(19)), keyframe=True).closed  # VPS, IDR
    cra = read(reader, framed(hevc(21)), keyframe=True)
    assert (cra.closed, cra.entry) == (False, True)


def test_only_the_highest_layer_may_be_dropped() -> None:
    low, high, needed = Facts(layer=0), Facts(layer=1, top_layer=1), Facts()
    assert droppable_mask([needed, low, low]).tolist() == [False, True, True]
    assert droppable_mask([needed, low, high]).tolist() == [False, False, True]
    assert droppable_mask([]).tolist() == []


def test_vp8_hidden_frames() -> None:
    reader = PacketReader("vp8", b"")
    assert read(reader, bytes([0b0001_0000, 1, 2])).shown
    assert not read(reader, bytes([0b0000_0001, 1, 2])).shown


def test_other_codecs_give_no_answer() -> None:
    assert read(PacketReader("av1", b""), b"\x12\x00") == Facts()


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8"])
@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x00\x00\x01", b"\xff" * 40, framed(b""), framed(b"\x06\xff\xff\xff")]
)
def test_damaged_packets_never_raise(codec: str, data: bytes) -> None:
    for extradata in (AVCC, HVCC, b"", None):
        read(PacketReader(codec, extradata), data, keyframe=True)
