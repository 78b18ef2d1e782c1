"""What every sampler is: a pure function from candidate frames to the ones to keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError, UsageError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating[Any]]
Float32Array = npt.NDArray[np.floating[Any]]
"""float32 by intent; NumPy's stubs do not follow it through arithmetic."""

Candidates = Literal["kept", "uniform", "keyframes", "dense"]


class Choice(NamedTuple):
    """The kept frames.

    Attributes:
        indices: (min(K, N),) positions among the candidates, ascending, each once.
        scores: one number for each of them, or None where the sampler has nothing to say.
    """

    indices: IntArray
    scores: FloatArray | None = None


@dataclass(frozen=True)
class Features:
    """What a sampler can know of small candidate frames; `features.light_features` makes it.

    The first axis of every array is N, the candidates in time order. The first three arrays
    describe what a frame shows, the others how well it shows it.

    Attributes:
        colours: (N, 288) float32, square roots of a colour histogram; each row has length 1.
        layout: (N, 48) float32, mean brightness of 6 x 8 cells, less the frame's mean, at most of
            length 1: a frame without contrast is near 0.
        edges: (N, 192) float32, square roots of a histogram of edge directions in 4 x 6 cells;
            cells without edges are near 0.
        thumbnail: (N, 432) float32, mean colours of 12 x 12 cells, 0 to 255.
        brightest: (N,) float32, the brightness that 1 pixel in 1,000 exceeds, 0 to 255.
        contrast: (N,) float32, standard deviation of the brightness.
        finest: (N,) float32, fine detail in relation to edges, in the second best of 6 x 8 cells;
            it depends little on contrast. 0 where there is no detail, about 5 for a sharp frame.
            Not the mean: a sky is not blurred, and a planet is small in a dark space; not the best
            one: a logo may lie over a blurred picture.
        sharpness: (N,) float32, the same, exceeded in a tenth of the cells: to compare frames of
            one scene, with less regard to single specks.
        grain: (N,) float32, the same, exceeded in three quarters of the cells; about 20 for noise.
    """

    colours: Float32Array
    layout: Float32Array
    edges: Float32Array
    thumbnail: Float32Array
    brightest: Float32Array
    contrast: Float32Array
    finest: Float32Array
    sharpness: Float32Array
    grain: Float32Array

    def __len__(self) -> int:
        return len(self.brightest)


class Choose(Protocol):
    """The function of a sampler."""

    def __call__(
        self, times: FloatArray, features: Features | None, k: int, *, seed: int = 0
    ) -> Choice:
        """Chooses frames.

        Args:
            times: (N,) when each candidate is shown, in seconds, ascending.
            features: what the candidates show; None if the sampler did not ask for it.
            k: how many frames to keep.
            seed: for samplers that draw; the others give the same for all seeds.

        Returns:
            Exactly min(k, N) candidates.
        """
        ...


@dataclass(frozen=True)
class FrameSampler:
    """A sampler and what it wants to be given.

    Attributes:
        name: as it is registered.
        choose: its function.
        candidates: which frames it chooses from: `kept` (K evenly spread ones: it keeps them all),
            `uniform` (N evenly spread ones), `keyframes` (those of the file), `dense` (about 4 a
            second, at most 1,024).
        needs_features: whether it looks at the frames; if not, no candidate has to be decoded.
    """

    name: str
    choose: Choose
    candidates: Candidates
    needs_features: bool


def check_arguments(times: FloatArray, k: int) -> int:
    """min(k, N), after a look at the arguments that all samplers share.

    Raises:
        UsageError: k is below 1.
        InputError: there is no candidate.
    """
    if k < 1:
        raise UsageError(f"the number of frames to keep must be at least 1, got {k}")
    if len(times) == 0:
        raise InputError("there is no frame to choose from", code="empty")
    return min(k, len(times))


def need(features: Features | None, times: FloatArray, sampler: str) -> Features:
    """The features, of which there must be one row for each candidate.

    Raises:
        ValueError: they are missing, or of another number of frames.
    """
    if features is None or len(features) != len(times):
        count = "none" if features is None else f"{len(features)} rows"
        raise ValueError(f"{sampler} needs features of its {len(times)} candidates, got {count}")
    return features


def ascending(indices: Iterable[int]) -> IntArray:
    """The indices as a sorted array."""
    return np.array(sorted(indices), dtype=np.int64)
