"""Which candidates are worth showing: not black, not blurred, not the same again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vidsampler.samplers.base import Features, Float32Array, FloatArray

BoolArray = npt.NDArray[np.bool_]

# Brightness is 0 to 255. A frame of a night scene has lights in it; a title on black has letters.
_BLACK_LEVEL = 32.0
# A frame of one colour, such as the white of a flash. Compression leaves less contrast than this.
_BLANK_CONTRAST = 2.0
# Measured at 96 pixels. A Gaussian blur of sigma 3 leaves detail of 0.32 at most, of sigma 1.6
# up to 0.56; 99.5% of the bright frames of real clips are above 0.8, half of them above 5.
_BLURRED_DETAIL = 0.6
_BLURRED_PART = 0.15
# Pure noise has 20; the grainiest of the real clips has about 5.
_NOISE_GRAIN = 12.0
# A frame in a dissolve or a fade is a mixture of the frames before and after, which show different
# scenes (visual distance); what is left when the mixture is taken away is a small part of their
# difference. Motion leaves more: things are then in places where neither of the two has them.
_OTHER_SCENE = 0.7
_MIXTURE_REST = 0.2
_MIXTURE_SHARE = 0.15
# Two frames of a standing picture differ by what compression leaves, less than this in any cell.
_SAME_COLOUR = 2.0


def is_empty(features: Features) -> BoolArray:
    """(N,) true for frames that are black, or one colour all over."""
    black = features.brightest < _BLACK_LEVEL
    return black | (features.contrast < _BLANK_CONTRAST)


def is_unclear(features: Features) -> BoolArray:
    """(N,) true for frames that are blurred while the video usually is not, or noise.

    A video that is soft (or noisy) all along has no such frames.
    """
    shown = ~is_empty(features)
    if not shown.any():
        return np.zeros(len(features), bool)
    usual = float(np.median(features.finest[shown]))
    blurred = features.finest < min(_BLURRED_DETAIL, _BLURRED_PART * usual)
    noisy = features.grain > max(_NOISE_GRAIN, 2 * float(np.median(features.grain[shown])))
    unclear: BoolArray = shown & (blurred | noisy)
    return unclear


def is_transition(features: Features, visual: FloatArray) -> BoolArray:
    """(N,) true for frames in the middle of a dissolve or a fade.

    Args:
        features: of N candidates.
        visual: (N, N) their visual distances.
    """
    count = len(features)
    found = np.zeros(count, bool)
    for step in (1, 2):
        if count <= 2 * step:
            break
        before, after = features.thumbnail[: -2 * step], features.thumbnail[2 * step :]
        change = after - before
        here = features.thumbnail[step : count - step] - before
        squared = np.maximum((change * change).sum(axis=1), 1e-6)
        share = (here * change).sum(axis=1) / squared
        rest = here - share[:, None] * change
        mixture = (rest * rest).sum(axis=1) < _MIXTURE_REST**2 * squared
        mixture &= np.abs(share - 0.5) < 0.5 - _MIXTURE_SHARE
        found[step : count - step] |= mixture & (np.diagonal(visual, 2 * step) > _OTHER_SCENE)
    return found


def first_alike(features: Features) -> npt.NDArray[np.int64]:
    """(N,) the first candidate that shows the very same picture; its own index if it is new."""
    cells = features.thumbnail
    first = np.arange(len(cells))
    for i in range(1, len(cells)):
        differences: Float32Array = np.abs(cells[:i] - cells[i]).max(axis=1)
        alike = np.flatnonzero(differences < _SAME_COLOUR)
        if len(alike):
            # The chain leads to the first of them, so that slow drift does not cut a still in two.
            first[i] = first[alike[0]]
    return first
