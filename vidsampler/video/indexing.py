"""Fills a `FrameIndex`: from the container's own index, or by a pass over its packets."""

from __future__ import annotations

import numpy as np

from vidsampler.video.bitstream import Facts, PacketReader
from vidsampler.video.container import PacketSource
from vidsampler.video.index import NO_TIME, FrameIndex, index_from_entries, index_from_packets

MAX_GROUP_BYTES = 128 << 20
"""With larger groups the file is scanned, so that no group has to be held whole."""


def read_container_index(source: PacketSource) -> FrameIndex | None:
    """The index that an mp4 or mov holds; None where it does not list every packet.

    Other containers list keyframes at most, or times that do not tell which frame is which.
    """
    stream = source.stream
    if "mp4" not in source.container.format.name or not stream.frames:
        return None
    context = stream.codec_context
    if context.has_b_frames and source.first is not None:
        facts = PacketReader(context.name, context.extradata).facts(
            memoryview(source.first), source.first.is_keyframe
        )
        if not facts.closed:
            return None  # pictures before the first keyframe are listed, but cannot be decoded
    entries = list(stream.index_entries)
    if len(entries) < stream.frames:
        return None  # fragments: the index grows while reading
    table = np.array([(e.timestamp, e.pos, e.size) for e in entries], np.int64).reshape(-1, 3)
    index = index_from_entries(
        table[:, 0],
        np.fromiter((e.is_keyframe for e in entries), bool, len(entries)),
        np.fromiter((e.is_discard for e in entries), bool, len(entries)),
        table[:, 1],
        table[:, 2],
        source.path.stat().st_size,
    )
    if index is not None and (index.group_bytes > MAX_GROUP_BYTES).any():
        return None
    return index


def scan_packets(source: PacketSource) -> FrameIndex | None:
    """The index from a pass over all packets of a file at its start; nothing is decoded.

    Returns:
        None where there is no packet.
    """
    context = source.stream.codec_context
    reader = PacketReader(context.name, context.extradata)
    reorders = bool(context.has_b_frames)
    # Transport and program streams are searched by decoding times.
    by_dts = source.container.format.name in ("mpegts", "mpeg")
    pts: list[int] = []
    seek: list[int] = []
    keyframe: list[bool] = []
    discarded: list[bool] = []
    size: list[int] = []
    facts: list[Facts] = []
    for packet in source.packets():
        time = packet.pts
        if time is None and not reorders:
            time = packet.dts
        pts.append(NO_TIME if time is None else time)
        seek.append(packet.dts if by_dts and packet.dts is not None else pts[-1])
        keyframe.append(packet.is_keyframe)
        discarded.append(packet.is_discard)
        size.append(packet.size)
        facts.append(reader.facts(memoryview(packet), packet.is_keyframe))
    if not pts:
        return None
    return index_from_packets(
        np.array(pts, np.int64),
        np.array(seek, np.int64),
        np.array(keyframe, bool),
        np.array(discarded, bool),
        np.array(size, np.int64),
        facts,
        # AVI stores decoding order only.
        trust_times=not (source.container.format.name == "avi" and reorders),
    )
