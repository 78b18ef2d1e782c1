"""The decode plan: which groups to read, in which order, and which packets to feed. Pure numbers.

Decoding is the whole cost of looking at a video, so nothing is decoded that no wanted frame needs:
in each group from its keyframe to the last wanted frame only, and there without the pictures that
nothing refers to. Groups are independent, so they are decoded in parallel, longest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidsampler.video.index import BoolArray, FrameIndex, Group, IntArray

FRAME_THREAD_GAIN = 0.3
"""What each further thread of one decoder adds; measured: separate decoders nearly always win."""


@dataclass(frozen=True)
class Job:
    """Consecutive groups that one decoder works through.

    Attributes:
        first_group, last_group: inclusive.
        wanted: frame numbers, ascending.
        cost: packets to feed at most; the unit of the plan.
    """

    first_group: int
    last_group: int
    wanted: tuple[int, ...]
    cost: int


@dataclass(frozen=True)
class Plan:
    """What to decode and by how many decoders of how many threads each; jobs costliest first."""

    jobs: tuple[Job, ...]
    decoders: int
    threads_each: int

    @property
    def cost(self) -> int:
        """Packets to feed at most."""
        return sum(job.cost for job in self.jobs)


def plan_decode(index: FrameIndex, numbers: npt.ArrayLike, threads: int) -> Plan:
    """Plans the decoding of some frames.

    Args:
        index: the frames of the video.
        numbers: (k,) wanted frame numbers, each in [0, index.frames).
        threads: how many threads there are to use (>= 1).

    Raises:
        IndexError: a number is out of range.
    """
    wanted = np.unique(np.asarray(numbers, np.int64))
    if not len(wanted):
        return Plan((), 1, 1)
    if wanted[0] < 0 or wanted[-1] >= index.frames:
        raise IndexError(f"frames {wanted[0]} to {wanted[-1]} of a video of {index.frames}")
    group = index.group_of(wanted)
    counts = index.packet_counts
    # A frame's place in its group is known in showing order only; reordering is a few packets.
    costs: dict[int, int] = {}
    for g in np.unique(group):
        last = int(wanted[group == g][-1] - index.first_frame[g])
        costs[int(g)] = int(min(counts[g], last + 3))
    runs = _runs(np.unique(group), costs, sum(costs.values()) // (4 * threads) + 1)
    jobs = [
        Job(
            first,
            last,
            tuple(int(n) for n in wanted[(group >= first) & (group <= last)]),
            sum(costs[g] for g in range(first, last + 1)),
        )
        for first, last in runs
    ]
    longest_first = sorted(jobs, key=lambda job: (-job.cost, job.first_group))
    alone = makespan([job.cost for job in longest_first], threads)
    together = sum(job.cost for job in jobs) / (1 + FRAME_THREAD_GAIN * (threads - 1))
    if threads > 1 and together < alone:
        return Plan(tuple(jobs), 1, threads)
    decoders = min(threads, len(jobs))
    # One decoder alone goes through the file in order: whoever takes the frames need not wait.
    return Plan(tuple(jobs if decoders == 1 else longest_first), decoders, 1)


def _runs(groups: IntArray, costs: dict[int, int], limit: int) -> list[tuple[int, int]]:
    """Neighbouring groups joined, up to a cost of ``limit``: no seek, and open groups meet."""
    runs: list[tuple[int, int]] = []
    cost = 0
    for g in map(int, groups):
        if runs and runs[-1][1] == g - 1 and cost + costs[g] <= limit:
            runs[-1] = (runs[-1][0], g)
            cost += costs[g]
        else:
            runs.append((g, g))
            cost = costs[g]
    return runs


def makespan(costs: list[int], workers: int) -> int:
    """Time until the last of ``workers`` is done when each takes the next job in turn."""
    loads = [0] * max(1, workers)
    for cost in costs:
        least = min(range(len(loads)), key=loads.__getitem__)
        loads[least] += cost
    return max(loads)


@dataclass(frozen=True)
class Feed:
    """What to give the decoder of one group; n packets.

    Attributes:
        packets: (n,) feed this packet.
        wanted: presentation time -> frame number.
        leading: a wanted frame is shown before the keyframe and may need the group before.
    """

    packets: BoolArray
    wanted: dict[int, int]
    leading: bool


def plan_feed(group: Group, first_frame: int, wanted: tuple[int, ...], *, whole: bool) -> Feed:
    """Chooses the packets of one group that the wanted frames need.

    Args:
        group: its packets.
        first_frame: number of the first frame that it shows.
        wanted: frame numbers of this group (may be empty when only the references are needed).
        whole: feed the references to the end of the group, because the next one refers to them.
    """
    times = group.shown_pts
    targets = {int(times[number - first_frame]): number for number in wanted}
    is_wanted = np.isin(group.pts, list(targets)) & group.shown
    packets = ~group.droppable | is_wanted
    packets[0] = True
    if whole and group.layered:
        packets[:] = True  # a higher layer of the next group may refer to a lower one of this
    if not whole:
        last = int(np.flatnonzero(is_wanted)[-1]) if is_wanted.any() else -1
        packets[last + 1 :] = False
    leading = not group.closed and any(time < int(group.pts[0]) for time in targets)
    return Feed(packets, targets, leading)
