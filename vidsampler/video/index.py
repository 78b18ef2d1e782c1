"""The frames of a video and the packets that hold them, as numbers.

A video is a row of *groups* (GOPs): a keyframe packet and all packets up to the next one, in
decoding order. Frames are numbered from 0 in the order in which they are shown. Frames of one group
are shown together: whatever precedes a keyframe in decoding order is shown before that keyframe and
before its leading pictures.

Two sources fill the table:

- the container's own index (mp4, mov), which is read on opening. It has decoding times only, so
  the presentation times of a group are learnt when its packets are read;
- a pass over all packets, without decoding, where a container has no complete index.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vidsampler.video.bitstream import Facts, droppable_mask

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NO_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Group:
    """The packets of one group in decoding order; n packets, f shown frames.

    Attributes:
        pts: (n,) presentation times in stream ticks.
        droppable: (n,) nothing refers to this picture.
        shown: (n,) the packet gives a frame that is shown.
        closed: nothing in the group needs what lies before it.
        entry: decoding may start at its keyframe.
        layered: it has several temporal layers.
    """

    pts: IntArray
    droppable: BoolArray
    shown: BoolArray
    closed: bool
    entry: bool
    layered: bool = False

    @classmethod
    def from_facts(cls, pts: Iterable[int], discarded: Iterable[bool], facts: list[Facts]) -> Group:
        """Builds a group from what its packets say; the first one is the keyframe."""
        shown = np.fromiter((fact.shown for fact in facts), bool, len(facts))
        shown &= ~np.fromiter(discarded, bool, len(facts))
        return cls(
            pts=np.fromiter(pts, np.int64, len(facts)),
            droppable=droppable_mask(facts),
            shown=shown,
            closed=facts[0].closed,
            entry=facts[0].entry,
            layered=any(fact.top_layer for fact in facts),
        )

    @property
    def shown_pts(self) -> IntArray:
        """(f,) presentation times of the shown frames, ascending."""
        return np.sort(self.pts[self.shown])

    @property
    def leading(self) -> int:
        """How many shown frames precede the keyframe's own time."""
        return int((self.pts[self.shown] < self.pts[0]).sum())


@dataclass
class FrameIndex:
    """Groups of a video; G groups.

    Attributes:
        first_packet: (G+1,) number of each group's first packet, in decoding order.
        first_frame: (G+1,) number of each group's first frame, in showing order.
        entry_time: (G,) time that finds the keyframe packet again: its DTS where ``by_dts``, else
            its PTS.
        seek_time: (G,) time from which seeking back finds it, in stream ticks.
        by_dts: the table comes from the container's index.
        group_bytes: (G,) coded size.
        groups: what is known of the packets of each group.
        ordered: False where packet times do not tell which frame is which (AVI with B-frames,
            timestamps that jump back): frames are then counted as the decoder shows them.
        missing_frames: shown frames whose bytes lie beyond the end of the file.
    """

    first_packet: IntArray
    first_frame: IntArray
    entry_time: IntArray
    seek_time: IntArray
    by_dts: bool
    group_bytes: IntArray
    groups: dict[int, Group] = field(default_factory=dict)
    ordered: bool = True
    missing_frames: int = 0

    @property
    def frames(self) -> int:
        """How many frames the video shows."""
        return int(self.first_frame[-1])

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return len(self.entry_time)

    @property
    def packet_counts(self) -> IntArray:
        """(G,) packets of each group."""
        return np.diff(self.first_packet)

    def accepts(self, g: int, group: Group) -> bool:
        """True if what was read of a group fits the table and the groups next to it."""
        shown = group.shown_pts
        expected = int(self.first_frame[g + 1] - self.first_frame[g])
        if not group.entry or len(shown) != expected or (np.diff(shown) <= 0).any():
            return False
        before, after = self.groups.get(g - 1), self.groups.get(g + 1)
        if len(shown) == 0:
            return True
        if before is not None and before.shown.any() and before.shown_pts[-1] >= shown[0]:
            return False
        return after is None or not after.shown.any() or bool(after.shown_pts[0] > shown[-1])

    def group_of(self, numbers: npt.ArrayLike) -> IntArray:
        """(k,) group that holds each frame number."""
        return np.searchsorted(self.first_frame, np.asarray(numbers), side="right") - 1


def index_from_entries(
    timestamps: IntArray,
    keyframe: BoolArray,
    discarded: BoolArray,
    position: IntArray,
    size: IntArray,
    file_size: int,
) -> FrameIndex | None:
    """The table from a container's complete index, or None where that index cannot be used.

    Args:
        timestamps: (n,) decoding times in stream ticks.
        keyframe: (n,) decoding may start here.
        discarded: (n,) cut away by an edit list.
        position: (n,) offset in the file, bytes.
        size: (n,) coded size, bytes.
        file_size: bytes.
    """
    if not len(timestamps) or not keyframe[0] or (np.diff(timestamps) <= 0).any():
        return None
    there = position + size <= file_size
    missing = int((~there & ~discarded).sum())
    if missing:  # what follows the first missing packet is of no use
        end = int(np.argmin(there))
        timestamps, keyframe, size = timestamps[:end], keyframe[:end], size[:end]
        missing += int((~discarded[end:] & there[end:]).sum())
        discarded = discarded[:end]
        if not end:
            return FrameIndex(
                first_packet=np.zeros(1, np.int64),
                first_frame=np.zeros(1, np.int64),
                entry_time=np.zeros(0, np.int64),
                seek_time=np.zeros(0, np.int64),
                by_dts=True,
                group_bytes=np.zeros(0, np.int64),
                missing_frames=missing,
            )
    start = np.flatnonzero(keyframe).astype(np.int64)
    shown_before = np.concatenate([[0], np.cumsum(~discarded)]).astype(np.int64)
    bytes_before = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    first_packet = np.append(start, len(timestamps))
    return FrameIndex(
        first_packet=first_packet,
        first_frame=shown_before[first_packet],
        entry_time=timestamps[start],
        # Demuxers compare with presentation times, which lie a little after decoding times.
        seek_time=np.append(timestamps[start][1:] - 1, timestamps[-1]),
        by_dts=True,
        group_bytes=np.diff(bytes_before[first_packet]),
        missing_frames=missing,
    )


def index_from_packets(
    pts: IntArray,
    seek: IntArray,
    keyframe: BoolArray,
    discarded: BoolArray,
    size: IntArray,
    facts: list[Facts],
    *,
    trust_times: bool,
) -> FrameIndex:
    """The table from a pass over all packets.

    Args:
        pts: (n,) presentation times, `NO_TIME` where the container has none.
        seek: (n,) the times that the container is searched by.
        keyframe: (n,) the container's keyframe flag.
        discarded: (n,) packets that an edit list cuts away.
        size: (n,) coded size, bytes.
        facts: what each packet says of itself.
        trust_times: False where the container's times are known to be wrong (AVI with B-frames).
    """
    n = len(pts)
    first_key = int(np.argmax(keyframe)) if keyframe.any() else 0
    entry = keyframe.copy()
    for i in np.flatnonzero(keyframe):
        entry[i] = facts[i].entry
    entry[first_key] = True  # the only way in, whatever it says
    entry[:first_key] = False
    start = np.flatnonzero(entry).astype(np.int64)
    first_packet = np.append(start, n)
    groups: dict[int, Group] = {}
    counts = np.zeros(len(start), np.int64)
    ordered = trust_times and n > 0 and bool((pts[first_key:] != NO_TIME).all())
    latest = NO_TIME
    for g, (begin, end) in enumerate(zip(start, first_packet[1:], strict=True)):
        group = Group.from_facts(
            (int(value) for value in pts[begin:end]),
            (bool(value) for value in discarded[begin:end]),
            facts[begin:end],
        )
        if g == 0 and not group.closed:
            # Leading pictures of the very first keyframe refer to what is not in the file.
            group.shown[group.pts < group.pts[0]] = False
        groups[g] = group
        times = group.shown_pts
        counts[g] = len(times)
        if len(times):
            ordered &= bool((np.diff(times) > 0).all()) and int(times[0]) > latest
            latest = int(times[-1])
    bytes_before = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    return FrameIndex(
        first_packet=first_packet,
        first_frame=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        entry_time=pts[start],
        seek_time=seek[start],
        by_dts=False,
        group_bytes=np.diff(bytes_before[first_packet]),
        groups=groups if ordered else {},
        ordered=ordered,
    )
