"""The decode plan as pure numbers: no file, no decoder."""

import numpy as np
import pytest

from vidsampler.video.index import FrameIndex, Group, index_from_entries
from vidsampler.video.plan import makespan, plan_decode, plan_feed


def index_of(*groups: int) -> FrameIndex:
    """An index with so many frames in each group."""
    edges = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
    return FrameIndex(
        first_packet=edges,
        first_frame=edges,
        entry_time=edges[:-1] * 10,
        seek_time=edges[:-1] * 10,
        by_dts=True,
        group_bytes=np.full(len(groups), 1000, np.int64),
    )


def group_of(pts: list[int], droppable: str = "", *, closed: bool = True) -> Group:
    """A group with these times; ``droppable`` has a 1 for each packet nothing refers to."""
    flags = np.array([c == "1" for c in droppable or "0" * len(pts)])
    times = np.array(pts, np.int64)
    return Group(times, flags, np.ones(len(pts), bool), closed=closed, entry=True)


def test_only_groups_with_wanted_frames_are_read() -> None:
    plan = plan_decode(index_of(100, 100, 100, 100), [5, 305], threads=1)
    assert [(job.first_group, job.last_group, job.wanted) for job in plan.jobs] == [
        (0, 0, (5,)),
        (3, 3, (305,)),
    ]
    assert plan.cost == 16  # five packets to each frame, and three for reordering


def test_longest_job_first() -> None:
    plan = plan_decode(index_of(100, 100, 100), [80, 190, 250], threads=3)
    assert [job.first_group for job in plan.jobs] == [1, 0, 2]
    assert plan.decoders == 3
    assert plan.threads_each == 1


def test_one_long_group_gets_one_decoder_with_all_threads() -> None:
    plan = plan_decode(index_of(500), [400], threads=2)
    assert (plan.decoders, plan.threads_each) == (1, 2)


def test_equal_groups_are_decoded_side_by_side() -> None:
    plan = plan_decode(index_of(*[50] * 8), range(0, 400, 10), threads=2)
    assert (plan.decoders, plan.threads_each) == (2, 1)
    assert sorted(n for job in plan.jobs for n in job.wanted) == list(range(0, 400, 10))


def test_neighbouring_short_groups_are_one_job() -> None:
    plan = plan_decode(index_of(*[1] * 100), range(100), threads=2)
    assert len(plan.jobs) <= 10
    assert sum(job.last_group - job.first_group + 1 for job in plan.jobs) == 100


def test_every_wanted_frame_is_in_its_job_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        index = index_of(*rng.integers(1, 40, rng.integers(1, 30)))
        wanted = rng.integers(0, index.frames, rng.integers(1, 60))
        plan = plan_decode(index, wanted, threads=int(rng.integers(1, 5)))
        planned = sorted(n for job in plan.jobs for n in job.wanted)
        assert planned == np.unique(wanted).tolist()
        for job in plan.jobs:
            groups = index.group_of(job.wanted)
            assert job.first_group == groups[0]
            assert job.last_group == groups[-1]


def test_out_of_range() -> None:
    with pytest.raises(IndexError, match="frames 3 to 10 of a video of 10"):
        plan_decode(index_of(10), [3, 10], threads=1)
    assert plan_decode(index_of(10), [], threads=2).jobs == ()


def test_makespan() -> None:
    assert makespan([5, 3, 3], 2) == 6
    assert makespan([5, 3, 3], 1) == 11
    assert makespan([], 4) == 0


def test_feed_stops_at_the_last_wanted_packet() -> None:
    # Decoding order I P B B P B B, shown 0 3 1 2 6 4 5.
    group = group_of([0, 3, 1, 2, 6, 4, 5])
    feed = plan_feed(group, 100, (102,), whole=False)
    assert feed.packets.tolist() == [True, True, True, True, False, False, False]
    assert feed.wanted == {2: 102}
    assert not feed.leading


def test_feed_leaves_out_what_nothing_needs() -> None:
    group = group_of([0, 3, 1, 2, 6, 4, 5], "0011011")
    assert plan_feed(group, 0, (5,), whole=False).packets.tolist() == [
        *[True, True, False, False],
        *[True, False, True],
    ]
    # A wanted one that nothing refers to is fed all the same.
    assert plan_feed(group, 0, (1, 3), whole=False).packets.tolist() == [
        *[True, True, True, False],
        *[False, False, False],
    ]


def test_feed_of_references_only() -> None:
    group = group_of([0, 3, 1, 2], "0011")
    assert plan_feed(group, 0, (), whole=True).packets.tolist() == [True, True, False, False]
    assert not plan_feed(group, 0, (), whole=False).packets.any()


def test_frames_before_an_open_keyframe_need_the_group_before() -> None:
    group = group_of([2, 0, 1, 3], closed=False)
    assert plan_feed(group, 10, (10,), whole=False).leading
    assert not plan_feed(group, 10, (12,), whole=False).leading
    assert not plan_feed(group_of([2, 0, 1, 3], closed=True), 10, (10,), whole=False).leading


def entries(n: int, keys: set[int], size: int = 100) -> dict[str, np.ndarray]:
    return {
        "timestamps": np.arange(n, dtype=np.int64) * 512,
        "keyframe": np.array([i in keys for i in range(n)]),
        "discarded": np.zeros(n, bool),
        "position": np.arange(n, dtype=np.int64) * size,
        "size": np.full(n, size, np.int64),
    }


def test_index_from_a_container() -> None:
    index = index_from_entries(**entries(10, {0, 4}), file_size=1000)
    assert index is not None
    assert index.first_packet.tolist() == [0, 4, 10]
    assert index.first_frame.tolist() == [0, 4, 10]
    assert index.entry_time.tolist() == [0, 2048]
    assert index.group_bytes.tolist() == [400, 600]
    assert index.group_of([0, 3, 4, 9]).tolist() == [0, 0, 1, 1]
    assert index.missing_frames == 0


def test_frames_cut_away_by_an_edit_list_have_no_number() -> None:
    table = entries(10, {0, 4})
    table["discarded"][:2] = True
    index = index_from_entries(**table, file_size=1000)
    assert index is not None
    assert index.first_frame.tolist() == [0, 2, 8]


def test_frames_beyond_the_end_of_the_file_are_missing() -> None:
    index = index_from_entries(**entries(10, {0, 4}), file_size=730)
    assert index is not None
    assert index.missing_frames == 3
    assert index.frames == 7
    nothing = index_from_entries(**entries(10, {0, 4}), file_size=50)
    assert nothing is not None
    assert (nothing.frames, nothing.missing_frames) == (0, 10)


def test_an_index_that_cannot_be_used() -> None:
    assert index_from_entries(**entries(10, {3}), file_size=1000) is None
    table = entries(10, {0})
    table["timestamps"][5] = 0
    assert index_from_entries(**table, file_size=1000) is None
