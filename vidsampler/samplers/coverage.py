"""`coverage`: every part of the video once, each by a good frame of it."""

from __future__ import annotations

import numpy as np

from vidsampler.samplers.base import (
    Choice,
    Features,
    FloatArray,
    FrameSampler,
    IntArray,
    ascending,
    check_arguments,
    need,
)
from vidsampler.samplers.features import visual_distances
from vidsampler.samplers.quality import BoolArray, first_alike, is_empty, is_unclear

# Visual differences up to this are taken as none: people and cameras move within a scene. There,
# time alone spreads the choice. Different scenes differ by about 1.
_WITHIN_SCENE = 0.4
# How much the jump from one group to the next counts beside the mean difference of the two groups.
# A camera that moves changes the picture without a jump.
_JUMP_WEIGHT = 0.8
# What two groups lose that are the whole video apart: if one follows the other, and if not. The
# first keeps a long scene from being one group, the second keeps a scene that comes back late from
# being the same group too easily.
_TIME_WEIGHT = 0.3
_RETURN_WEIGHT = 1.0
# What the first or last frame of a group loses against the middle one: scenes often start and end
# in a transition, or stand still.
_MARGIN_WEIGHT = 0.1
# What a frame with half the sharpness (or brightness) of the best of its group loses.
_QUALITY_WEIGHT = 0.05


def coverage(times: FloatArray, features: Features | None, k: int, *, seed: int = 0) -> Choice:
    """Groups the good candidates into K parts of the video, and keeps one frame of each.

    Candidates that are black, blurred beside the rest of the video, or show a picture that was
    there before are set aside. The others are joined step by step, always the two groups that are
    least different (average linkage), until K groups are left: a scene counts once, no matter how
    long it is. Kept is the frame most like the others of its group, of similar ones the sharper.
    What was set aside is taken only if less than K candidates are good.

    Args:
        times: (N,) seconds, ascending.
        features: of the N candidates.
        k: how many frames to keep.
        seed: not used.

    Returns:
        min(k, N) candidates; the score of each is the part of the candidates that it stands for,
        between 0 and 1.
    """
    k = check_arguments(times, k)
    features = need(features, times, "coverage")
    empty, unclear = is_empty(features), is_unclear(features)
    first = first_alike(features)
    repeated = first != np.arange(len(times))
    pool = np.flatnonzero(~(empty | unclear | repeated))
    if len(pool) > k:
        square = np.ix_(pool, pool)
        visual = visual_distances(features)[square].astype(np.float64)
        labels = _group(visual, _time_distances(times)[square], k)
        kept = [_best(labels == label, pool, visual, features) for label in np.unique(labels)]
        groups = dict(zip(pool.tolist(), labels.tolist(), strict=True))
    else:
        order = [repeated & ~empty & ~unclear, unclear, empty]
        kept = _fill(list(pool), order, times, k)
        groups = {i: i for i in kept}
    indices = ascending(kept)
    # A repetition stands in the group of what it repeats.
    owners = np.array([groups.get(i, groups.get(first[i], -1)) for i in range(len(times))])
    scores = np.array([(owners == groups[i]).mean() for i in indices.tolist()])
    return Choice(indices, scores)


def _time_distances(times: FloatArray) -> FloatArray:
    """(N, N) parts of the whole time between each two candidates."""
    span = float(times[-1] - times[0])
    apart: FloatArray = np.abs(times[:, None] - times[None, :]) / (span if span > 0 else 1.0)
    return apart


def _group(visual: FloatArray, time: FloatArray, k: int) -> IntArray:
    """Joins M frames into k groups, always the two that differ least.

    Args:
        visual: (M, M) visual differences of frames in time order.
        time: (M, M) their distances in time, 1 for the whole video.
        k: how many groups are left, at most M.

    Returns:
        (M,) a number for each frame, the same within a group.
    """
    count = len(visual)
    labels = np.arange(count)
    # Means over all pairs of two groups (average linkage).
    visual_mean = np.maximum(visual - _WITHIN_SCENE, 0) / (1 - _WITHIN_SCENE)
    time_mean = time.copy()
    # The smallest step between a frame of one group and the next frame, if that is of the other.
    jump = np.full((count, count), np.inf)
    place = np.arange(count - 1)
    jump[place, place + 1] = jump[place + 1, place] = visual_mean[place, place + 1]
    size = np.ones(count)
    gone = np.zeros(count, bool)
    for _ in range(count - k):
        follows = np.isfinite(jump)
        step = np.where(follows, jump, 0)
        cost = np.where(
            follows,
            _JUMP_WEIGHT * step + (1 - _JUMP_WEIGHT) * visual_mean + _TIME_WEIGHT * time_mean,
            visual_mean + _RETURN_WEIGHT * time_mean,
        )
        cost[gone] = np.inf
        cost[:, gone] = np.inf
        np.fill_diagonal(cost, np.inf)
        one, other = sorted(divmod(int(cost.argmin()), count))
        share = size[one] / (size[one] + size[other])
        for mean in (visual_mean, time_mean):
            mean[one] = mean[:, one] = share * mean[one] + (1 - share) * mean[other]
        jump[one] = jump[:, one] = np.minimum(jump[one], jump[other])
        size[one] += size[other]
        gone[other] = True
        labels[labels == other] = one
    return labels


def _best(inside: BoolArray, pool: IntArray, visual: FloatArray, features: Features) -> int:
    """The member of a group that shows it best."""
    members = pool[inside]
    typical = visual[np.ix_(inside, inside)].mean(axis=1)
    sharpness = np.maximum(features.sharpness[members], 1e-3).astype(np.float64)
    brightest = np.maximum(features.brightest[members], 1.0).astype(np.float64)
    loss = np.log2(sharpness.max() / sharpness) + np.log2(brightest.max() / brightest)
    # Of two frames the earlier one: a picture that stands still does so at the end of a scene.
    off_middle = np.abs(np.arange(len(members)) - (len(members) - 1) // 2)
    margin = off_middle / max(1.0, len(members) / 2)
    cost = typical + _QUALITY_WEIGHT * loss + _MARGIN_WEIGHT * margin
    return int(members[cost.argmin()])


def _fill(kept: list[int], order: list[BoolArray], times: FloatArray, k: int) -> list[int]:
    """Adds candidates until there are k: the first kind first, far in time from the others."""
    for kind in order:
        left = np.flatnonzero(kind)
        while len(left) and len(kept) < k:
            if kept:
                gaps = np.abs(times[left, None] - times[kept][None, :]).min(axis=1)
                place = int(gaps.argmax())
            else:
                place = len(left) // 2
            kept.append(int(left[place]))
            left = np.delete(left, place)
    return kept


SAMPLER = FrameSampler("coverage", coverage, "uniform", needs_features=True)
