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
from vidsampler.samplers.quality import BoolArray, first_alike, is_empty, is_transition, is_unclear

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
# Differences to a group shorter than this many seconds count less, in proportion: a flash or a hand
# before the camera is no scene.
_SHORTEST_SCENE = 1.0
# What the first or last frame of a group loses against the middle one: scenes often start and end
# in a transition, or stand still.
_MARGIN_WEIGHT = 0.1
# What a frame with half the sharpness (or brightness) of the best of its group loses.
_QUALITY_WEIGHT = 0.1


def coverage(times: FloatArray, features: Features | None, k: int, *, seed: int = 0) -> Choice:
    """Groups the good candidates into K parts of the video, and keeps one frame of each.

    Candidates that are black, blurred beside the rest of the video, or show a picture that was
    there before are set aside. The others are joined step by step, always the two groups that are
    least different (average linkage), until K groups are left: a scene counts once, no matter how
    long it is. Kept is the frame most like the others of its group, of similar ones the sharper,
    and none in the middle of a dissolve. What was set aside is taken only if less than K
    candidates are good.

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
    visual = visual_distances(features).astype(np.float64)
    between = is_transition(features, visual)
    pool = np.flatnonzero(~(empty | unclear | repeated))
    if (~between[pool]).sum() > k:
        square = np.ix_(pool, pool)
        visual = visual[square]
        # A transition is no scene of its own: it lasts no time and so goes to a neighbour.
        lasts = np.where(between, 0, _lasting(times))[pool]
        labels = _group(visual, _time_distances(times)[square], lasts, k)
        loss = np.where(between, np.inf, _losses(features))[pool]
        kept = [int(pool[_best(labels == label, visual, loss)]) for label in np.unique(labels)]
        groups = dict(zip(pool.tolist(), labels.tolist(), strict=True))
    else:
        good = ~(empty | unclear)
        order = [
            good & ~repeated & ~between,
            good & ~repeated & between,
            good & repeated,
            unclear,
            empty,
        ]
        kept = _fill(order, times, k)
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


def _lasting(times: FloatArray) -> FloatArray:
    """(N,) seconds that each candidate stands for: from halfway to the one before to halfway on."""
    if len(times) == 1:
        return np.ones(1)
    steps = np.diff(times)
    lasting: FloatArray = (np.append(steps[:1], steps) + np.append(steps, steps[-1:])) / 2
    return lasting


def _group(visual: FloatArray, time: FloatArray, lasts: FloatArray, k: int) -> IntArray:
    """Joins M frames into k groups, always the two that differ least.

    Args:
        visual: (M, M) visual differences of frames in time order.
        time: (M, M) their distances in time, 1 for the whole video.
        lasts: (M,) seconds that each stands for.
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
    length = lasts.copy()
    gone = np.zeros(count, bool)
    for _ in range(count - k):
        follows = np.isfinite(jump)
        step = _JUMP_WEIGHT * np.where(follows, jump, 0)
        differ = np.where(follows, step + (1 - _JUMP_WEIGHT) * visual_mean, visual_mean)
        scene = np.minimum(length / _SHORTEST_SCENE, 1)
        differ *= np.minimum(scene[:, None], scene[None, :])
        cost = differ + np.where(follows, _TIME_WEIGHT, _RETURN_WEIGHT) * time_mean
        cost[gone] = np.inf
        cost[:, gone] = np.inf
        np.fill_diagonal(cost, np.inf)
        one, other = sorted(divmod(int(cost.argmin()), count))
        share = size[one] / (size[one] + size[other])
        for mean in (visual_mean, time_mean):
            mean[one] = mean[:, one] = share * mean[one] + (1 - share) * mean[other]
        jump[one] = jump[:, one] = np.minimum(jump[one], jump[other])
        size[one] += size[other]
        length[one] += length[other]
        gone[other] = True
        labels[labels == other] = one
    return labels


def _losses(features: Features) -> FloatArray:
    """(N,) how often sharpness and brightness would have to double; only differences count."""
    sharpness = np.maximum(features.sharpness, 1e-3).astype(np.float64)
    brightest = np.maximum(features.brightest, 1.0).astype(np.float64)
    return -np.log2(sharpness) - np.log2(brightest)


def _best(inside: BoolArray, visual: FloatArray, loss: FloatArray) -> int:
    """The member of a group that shows it best.

    Args:
        inside: (M,) true for the members, at least one.
        visual: (M, M) visual differences.
        loss: (M,) how bad each frame is as a picture.
    """
    members = np.flatnonzero(inside)
    typical = visual[np.ix_(members, members)].mean(axis=1)
    # Of two frames the earlier one: a picture that stands still does so at the end of a scene.
    off_middle = np.abs(np.arange(len(members)) - (len(members) - 1) // 2)
    margin = off_middle / max(1.0, len(members) / 2)
    cost = typical + _QUALITY_WEIGHT * loss[members] + _MARGIN_WEIGHT * margin
    return int(members[cost.argmin()])


def _fill(order: list[BoolArray], times: FloatArray, k: int) -> list[int]:
    """Takes k candidates, the first kind first, always the farthest in time from the others."""
    kept: list[int] = []
    for kind in order:
        left = np.flatnonzero(kind)
        while len(left) and len(kept) < k:
            if len(left) <= k - len(kept):
                place = 0
            elif kept:
                gaps = np.abs(times[left, None] - times[kept][None, :]).min(axis=1)
                place = int(gaps.argmax())
            else:
                place = len(left) // 2
            kept.append(int(left[place]))
            left = np.delete(left, place)
    return kept


SAMPLER = FrameSampler("coverage", coverage, "uniform", needs_features=True)
