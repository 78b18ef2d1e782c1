"""Light features of candidate frames: enough to tell scenes apart and to see bad frames.

All of it is a few passes over pictures of about 170 x 96 pixels: less than a millisecond each, a
small part of what decoding them costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidsampler.samplers.base import Features, Float32Array

CANDIDATE_SIZE = 96
"""Shorter side of the candidate frames in pixels. Scenes can be told apart as well at 48, but blur
cannot: a blur of sigma 6 in a video of 360 lines is always seen at 96, hardly ever at 64."""

_CHUNK_PIXELS = 130_000  # worked on at once: few enough to stay in the processor's cache
_BAR_LEVEL = 24.0  # rows and columns at the border that are all darker are bars, not picture
_LUMA_BINS, _CHROMA_BINS, _CHROMA_STEP = 8, 6, 16
_EDGE_ROWS, _EDGE_COLUMNS = 4, 6
_SLOPES = (2**0.5 - 1, 1.0, 2**0.5 + 1)  # tangents of 22.5, 45 and 67.5 degrees
_LAYOUT_ROWS, _LAYOUT_COLUMNS = 6, 8
_THUMBNAIL = 12
# What counts as no edge, no contrast, no detail: about the traces that a strong compression leaves.
_EDGE_FLOOR, _CONTRAST_FLOOR, _DETAIL_FLOOR = 8.0, 13.0, 16.0
# Typical distances of frames of different scenes, so that each part has about the same say.
_COLOUR_UNIT, _LAYOUT_UNIT, _EDGE_UNIT = 0.8, 1.27, 0.3


def light_features(frames_NHWC: npt.NDArray[np.uint8]) -> Features:
    """Describes small frames.

    Args:
        frames_NHWC: (N, H, W, 3) uint8 RGB, at least one, of the same size; the shorter side is
            best near `CANDIDATE_SIZE`.

    Returns:
        Features of N rows, all finite.

    Raises:
        ValueError: the array has another shape or type.
    """
    shape = frames_NHWC.shape
    if frames_NHWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ValueError(f"frames must be (N, H, W, 3) uint8, got {shape} {frames_NHWC.dtype}")
    # Tiny pictures are enlarged, so that every cell below has a pixel.
    grow = -(-16 // min(shape[1:3]))
    if grow > 1:
        frames_NHWC = frames_NHWC.repeat(grow, axis=1).repeat(grow, axis=2)
    step = max(1, _CHUNK_PIXELS // (frames_NHWC.shape[1] * frames_NHWC.shape[2]))
    parts = [_features(frames_NHWC[i : i + step]) for i in range(0, len(frames_NHWC), step)]
    fields = zip(*(vars(part).values() for part in parts), strict=True)
    return Features(*(np.concatenate(field) for field in fields))


def visual_distances(features: Features) -> Float32Array:
    """How different each two candidates look: 0 the same, about 1 different scenes.

    Returns:
        (N, N) float32, symmetric, 0 on the diagonal.
    """
    return _mix(*(_all_pairs(part) for part in _parts(features)))


def visual_steps(features: Features) -> Float32Array:
    """How different each candidate looks from the next one; the same scale.

    Returns:
        (N - 1,) float32.
    """
    steps = [np.sqrt(((part[1:] - part[:-1]) ** 2).sum(axis=1)) for part in _parts(features)]
    return _mix(*steps)


def _parts(features: Features) -> tuple[Float32Array, Float32Array, Float32Array]:
    return features.colours, features.layout, features.edges


def _mix(colours: Float32Array, layout: Float32Array, edges: Float32Array) -> Float32Array:
    # Colours tell scenes apart best; layout and edges see what colours cannot, such as two shots
    # of one place.
    parts = (colours / _COLOUR_UNIT, layout / _LAYOUT_UNIT, edges / _EDGE_UNIT)
    mixed: Float32Array = (parts[0] + parts[1] + parts[2]) / 3
    return mixed


def _all_pairs(rows: Float32Array) -> Float32Array:
    squares = (rows * rows).sum(axis=1)
    squared = squares[:, None] + squares[None, :] - 2 * (rows @ rows.T)
    # Rounding leaves traces of about 1e-7 where rows are equal; under the root they would grow.
    squared[squared < 1e-6] = 0
    distances: Float32Array = np.sqrt(np.maximum(squared, squared.T))
    return distances


def _features(frames: npt.NDArray[np.uint8]) -> Features:
    count = len(frames)
    planes = np.ascontiguousarray(frames.transpose(3, 0, 1, 2)).astype(np.float32)
    red, green, blue = planes
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    layout = _cells(luma, _LAYOUT_ROWS, _LAYOUT_COLUMNS).reshape(count, -1)
    layout = layout - layout.mean(axis=1, keepdims=True)
    floor = layout.shape[1] * _CONTRAST_FLOOR**2
    layout /= np.sqrt((layout**2).sum(axis=1, keepdims=True) + floor)
    thumbnail = np.stack([_cells(plane, _THUMBNAIL, _THUMBNAIL) for plane in planes], axis=-1)
    inside = _inside_bars(planes.max(axis=0))
    pixels = luma.reshape(count, -1)
    rank = max(0, pixels.shape[1] - 1 - pixels.shape[1] // 1000)
    gradients = _gradients(luma)
    return Features(
        colours=_colours(luma, red, blue, inside),
        layout=layout,
        edges=_edges(gradients),
        thumbnail=thumbnail.reshape(count, -1),
        brightest=np.partition(pixels, rank, axis=1)[:, rank],
        contrast=pixels.std(axis=1),
        **_detail(luma, gradients, inside[:, 1:-1, 1:-1])._asdict(),
    )


def _cells(values: Float32Array, rows: int, columns: int) -> Float32Array:
    """Means over a grid of cells: (N, H, W) -> (N, rows, columns)."""
    _, height, width = values.shape
    tops = np.arange(rows) * height // rows
    lefts = np.arange(columns) * width // columns
    sums = np.add.reduceat(np.add.reduceat(values, tops, axis=1), lefts, axis=2)
    areas = np.outer(np.diff(tops, append=height), np.diff(lefts, append=width))
    means: Float32Array = sums / areas.astype(np.float32)
    return means


def _inside_bars(brightest: Float32Array) -> Float32Array:
    """1 inside the picture, 0 on the dark bars around it and on its outermost 2 pixels there.

    A frame that is dark all over is all picture.
    """
    masks = []
    for axis, length in ((2, brightest.shape[1]), (1, brightest.shape[2])):
        bright = brightest.max(axis=axis) > _BAR_LEVEL
        first = bright.argmax(axis=1)
        last = length - 1 - bright[:, ::-1].argmax(axis=1)
        place = np.arange(length)
        # A title on black is narrow, and all of it counts.
        margin = np.where(last - first < 12, 0, 2)
        low = np.where(first > 0, first + margin, 0)[:, None]
        high = np.where(last < length - 1, last - margin, length - 1)[:, None]
        mask = (place >= low) & (place <= high)
        masks.append(mask)
    rows, columns = masks
    inside: Float32Array = (rows[:, :, None] & columns[:, None, :]).astype(np.float32)
    return inside


def _colours(
    luma: Float32Array, red: Float32Array, blue: Float32Array, inside: Float32Array
) -> Float32Array:
    half = _CHROMA_BINS // 2
    bins = np.minimum(luma * (_LUMA_BINS / 256), _LUMA_BINS - 1).astype(np.int16)
    for plane, scale in ((blue, 0.564), (red, 0.713)):
        chroma = np.clip((plane - luma) * (scale / _CHROMA_STEP) + half, 0, _CHROMA_BINS - 1)
        bins = bins * _CHROMA_BINS + chroma.astype(np.int16)
    size = _LUMA_BINS * _CHROMA_BINS**2
    bins[inside == 0] = size  # not counted
    counts = np.stack([np.bincount(frame.ravel(), minlength=size + 1)[:size] for frame in bins])
    shares: Float32Array = np.sqrt(counts / counts.sum(axis=1, keepdims=True))
    return shares.astype(np.float32)


class _Gradients(NamedTuple):
    """(N, H - 2, W - 2) each: changes of the brightness by one pixel across and down."""

    across: Float32Array
    down: Float32Array
    squared: Float32Array


def _gradients(luma: Float32Array) -> _Gradients:
    across = (luma[:, 1:-1, 2:] - luma[:, 1:-1, :-2]) / 2
    down = (luma[:, 2:, 1:-1] - luma[:, :-2, 1:-1]) / 2
    return _Gradients(across, down, across * across + down * down)


def _edges(gradients: _Gradients) -> Float32Array:
    across, down, squared = gradients
    wide, high = np.abs(across), np.abs(down)
    # Eight directions of 22.5 degrees each, without computing an angle.
    direction = sum((high > slope * wide).astype(np.uint8) for slope in _SLOPES)
    direction = direction + 4 * ((across < 0) ^ (down < 0)).astype(np.uint8)
    strength = np.sqrt(squared)
    means = np.stack(
        [_cells(strength * (direction == i), _EDGE_ROWS, _EDGE_COLUMNS) for i in range(8)], axis=-1
    )
    means /= means.sum(axis=-1, keepdims=True) + _EDGE_FLOOR
    # The 2 makes two frames with all edges in other directions differ by 1.
    edges: Float32Array = np.sqrt(means / (2 * _EDGE_ROWS * _EDGE_COLUMNS))
    return edges.reshape(len(edges), -1)


class _Detail(NamedTuple):
    """(N,) each, see `Features`."""

    finest: Float32Array
    sharpness: Float32Array
    grain: Float32Array


def _detail(luma: Float32Array, gradients: _Gradients, inside: Float32Array) -> _Detail:
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    second = around - 4 * luma[:, 1:-1, 1:-1]
    detail, edge, area = (
        _cells(values * inside, _LAYOUT_ROWS, _LAYOUT_COLUMNS).reshape(len(luma), -1)
        for values in (second * second, gradients.squared, np.ones_like(second))
    )
    # Blur with sigma s divides this by about s squared. Cells on bars do not count.
    ratio = np.where(area > 0.05, detail / (edge + _DETAIL_FLOOR * area + 1e-6), -1)
    ratio.sort(axis=1)
    outside = (ratio < 0).sum(axis=1)
    inner = ratio.shape[1] - outside
    place = np.minimum(outside + (0.9 * inner).astype(np.int64), ratio.shape[1] - 1)
    finest: Float32Array = np.maximum(np.where(inner > 1, ratio[:, -2], ratio[:, -1]), 0)
    sharpness: Float32Array = np.maximum(ratio[np.arange(len(ratio)), place], 0)
    # Of all cells: letters on black are as rough as noise, but noise fills the picture.
    grain: Float32Array = np.maximum(ratio[:, ratio.shape[1] // 4], 0)
    return _Detail(finest, sharpness, grain)
