"""`mdp3`: frames that fit the question and differ from each other, segment by segment.

Letters in names of arrays: N candidates, M of a segment, P kept in the segment before, C ways to
have spent the budget so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidsampler.samplers.base import Choice, FloatArray, IntArray, ascending
from vidsampler.samplers.scores import QuerySampler, check_scores, chosen, unit_scale

SEGMENT = 32
"""Candidates of a segment."""
RELEVANCE = 8.0
"""What the best frame of the video has before the worst, on the scale of log det: a frame much like
one that is kept already loses about 3, one that is the very same about 14."""
_OCTAVES = range(-3, 3)
"""Widths of the Gaussians are 2^u times the usual squared distance of two candidates."""
_JITTER = 1e-6
_SAMPLED = 256


def mdp3(
    scores: FloatArray,
    features: FloatArray,
    times: FloatArray,
    k: int,
    *,
    segment: int = SEGMENT,
    relevance: float = RELEVANCE,
) -> Choice:
    """A determinantal point process along segments, its budget shared by dynamic programming.

    A set S is worth log det of its kernel r_i L_ij r_j, that is sum_S log r_i^2 + log det L_S: L
    the mean of Gaussian kernels of several widths between unit features (diversity), log r_i^2 =
    `relevance` * score on 0 ... 1. Segments of `segment` candidates are gone through in time order;
    the frames of one are chosen greedily, given what was kept in the segment before, for every
    share of the budget; dynamic programming finds the best shares.

    Source: Sun et al., "MDP3: A Training-free Approach for List-wise Frame Selection in Video-LLMs"
    (arXiv 2501.02885): conditional kernel, DPP and Markov decision process. There r_i is a Gaussian
    kernel between frame and question; here it comes from scores on one scale, because cosines of
    texts and pictures lie in a narrow band that depends on the model.

    Args:
        scores: (N,) fit to the question.
        features: (N, D) of the candidates.
        times: (N,) seconds, ascending; only their number counts.
        k: How many frames to keep.
        segment: See `SEGMENT`.
        relevance: See `RELEVANCE`.

    Returns:
        min(k, N) candidates with their scores.
    """
    k = check_scores(scores, features, times, k)
    count = len(scores)
    if k == count:
        return chosen(scores, np.arange(count))
    worth_N = relevance * unit_scale(scores)
    unit_ND = _unit_rows(features)
    usual = _usual_distance(unit_ND)
    ways = _Ways.start(segment)
    for start in range(0, count, segment):
        inside = np.arange(start, min(start + segment, count))
        ways = ways.through(inside, worth_N, unit_ND, usual, k, count - int(inside[-1]) - 1)
    (place,) = np.flatnonzero(ways.spent_C == k)
    return chosen(scores, ascending(ways.kept_C[place]))


@dataclass(frozen=True)
class _Ways:
    """The best way to have spent each number of frames so far.

    Attributes:
        spent_C: How many frames.
        value_C: What they are worth.
        kept_C: Which.
        before_CM: Those of the last segment, -1 in unused slots.
    """

    spent_C: IntArray
    value_C: FloatArray
    kept_C: list[list[int]]
    before_CM: IntArray

    @classmethod
    def start(cls, segment: int) -> _Ways:
        """Nothing is spent yet."""
        return cls(np.zeros(1, np.int64), np.zeros(1), [[]], np.full((1, segment), -1))

    def through(
        self,
        inside: IntArray,
        worth_N: FloatArray,
        unit_ND: FloatArray,
        usual: float,
        k: int,
        later: int,
    ) -> _Ways:
        """The best ways after one more segment.

        Args:
            inside: (M,) its candidates.
            worth_N: Relevance of all candidates.
            unit_ND: Unit features of all candidates.
            usual: Their usual squared distance.
            k: The whole budget.
            later: How many candidates come after this segment.
        """
        kernels = self._given_before(inside, unit_ND, usual)
        most = min(len(inside), k)
        picks_CM, gains_CM = _greedy(kernels, worth_N[inside], most)
        # value_CS[c, j]: what way c is worth with j frames of this segment.
        value_CS = self.value_C[:, None] + np.pad(np.cumsum(gains_CM, 1), ((0, 0), (1, 0)))
        total_CS = self.spent_C[:, None] + np.arange(most + 1)
        # Ways that overspend, or can no longer spend all, lead nowhere.
        totals = np.arange(max(0, k - later), min(k, int(total_CS.max())) + 1)
        value_T = np.empty(len(totals))
        before_TM = np.full((len(totals), self.before_CM.shape[1]), -1)
        kept_T = []
        for row, total in enumerate(totals.tolist()):
            masked = np.where(total_CS == total, value_CS, -np.inf)
            way, taken = divmod(int(masked.argmax()), most + 1)
            value_T[row] = masked[way, taken]
            mine = inside[picks_CM[way, :taken]]
            before_TM[row, :taken] = mine
            kept_T.append(self.kept_C[way] + mine.tolist())
        return _Ways(totals, value_T, kept_T, before_TM)

    def _given_before(self, inside: IntArray, unit_ND: FloatArray, usual: float) -> FloatArray:
        """(C, M, M) kernel of a segment's candidates, given what was kept in the one before."""
        kernel_MM = _kernel(unit_ND[inside], unit_ND[inside], usual)
        kernel_MM[np.diag_indices(len(inside))] += _JITTER
        used_CP = self.before_CM >= 0
        if not used_CP.any():
            return np.broadcast_to(kernel_MM, (len(used_CP), *kernel_MM.shape)).copy()
        # Unused slots are rows of the identity, and have nothing to do with any candidate.
        earlier = np.unique(self.before_CM[used_CP])
        place_CP = np.searchsorted(earlier, np.where(used_CP, self.before_CM, earlier[0]))
        among = _kernel(unit_ND[earlier], unit_ND[earlier], usual)
        among_CPP = among[place_CP[:, :, None], place_CP[:, None, :]]
        among_CPP *= used_CP[:, :, None] & used_CP[:, None, :]
        diagonal = np.arange(among_CPP.shape[1])
        among_CPP[:, diagonal, diagonal] = 1 + _JITTER
        across_CPM = _kernel(unit_ND[earlier], unit_ND[inside], usual)[place_CP]
        across_CPM *= used_CP[:, :, None]
        explained = np.swapaxes(across_CPM, 1, 2) @ np.linalg.solve(among_CPP, across_CPM)
        given: FloatArray = kernel_MM - explained
        return given


def _greedy(kernel_CMM: FloatArray, worth_M: FloatArray, steps: int) -> tuple[IntArray, FloatArray]:
    """Always the frame that adds most, for C kernels at once (by rows of Cholesky factors).

    Returns:
        (C, steps) places in the segment and what each added: its worth and log of the variance
        that those before it leave.
    """
    ways, members = kernel_CMM.shape[:2]
    every = np.arange(ways)
    left_CM = np.einsum("cmm->cm", kernel_CMM).copy()
    rows_CSM = np.zeros((ways, steps, members))
    picks_CS = np.empty((ways, steps), np.int64)
    gains_CS = np.empty((ways, steps))
    free_CM = np.ones((ways, members), bool)
    for step in range(steps):
        gain_CM = worth_M + np.log(np.maximum(left_CM, _JITTER))
        pick_C = np.where(free_CM, gain_CM, -np.inf).argmax(1)
        picks_CS[:, step], gains_CS[:, step] = pick_C, gain_CM[every, pick_C]
        free_CM[every, pick_C] = False
        done_CSM = rows_CSM[:, :step]
        mixed_CM = np.einsum("cs,csm->cm", done_CSM[every, :, pick_C], done_CSM)
        scale_C = np.sqrt(np.maximum(left_CM[every, pick_C], _JITTER))
        rows_CSM[:, step] = (kernel_CMM[every, pick_C] - mixed_CM) / scale_C[:, None]
        left_CM -= rows_CSM[:, step] ** 2
    return picks_CS, gains_CS


def _kernel(one_AD: FloatArray, other_BD: FloatArray, usual: float) -> FloatArray:
    """(A, B) mean of Gaussians, 1 for the same picture."""
    squared = np.maximum(2 - 2 * (one_AD @ other_BD.T), 0)
    kernel: FloatArray = np.mean(
        [np.exp(-squared / (2 * usual * 2.0**octave)) for octave in _OCTAVES], axis=0
    )
    return kernel


def _usual_distance(unit_ND: FloatArray) -> float:
    """The median squared distance of two candidates; of many candidates, of some of them."""
    step = -(-len(unit_ND) // _SAMPLED)
    some = unit_ND[::step]
    if len(some) < 2:
        return 1.0
    squared = 2 - 2 * (some @ some.T)
    median = float(np.median(squared[np.triu_indices(len(some), 1)]))
    # Where the video stands still there is no scale, and none is needed.
    return median if median > _JITTER else 1.0


def _unit_rows(features: FloatArray) -> FloatArray:
    """Rows of length 1, in float64; a row of zeros stays."""
    most = np.maximum(np.abs(features).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    scaled = features.astype(np.float64) / most
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit: FloatArray = scaled / np.maximum(length, 1e-300)
    return unit


SAMPLER = QuerySampler("mdp3", mdp3)
