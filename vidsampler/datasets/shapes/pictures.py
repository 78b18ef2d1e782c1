"""Draws the pictures of slots: informative ones, and all that only look like something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from vidsampler.datasets.shapes.facts import Colour, Fact
from vidsampler.datasets.shapes.layout import Place, lay_out
from vidsampler.datasets.shapes.outlines import (
    Figure,
    moved,
    odd_figure,
    shape_figure,
    within,
)
from vidsampler.datasets.shapes.scenery import FloatArray, clouds, scenery

RGB = npt.NDArray[np.uint8]

FINE = 3
"""Figures are drawn this many times larger and averaged, for smooth edges."""
GRAIN = 2.5
"""Standard deviation of the camera's noise."""

_PAINT: dict[Colour, tuple[int, int, int]] = {
    "red": (208, 44, 44),
    "yellow": (238, 204, 48),
    "green": (52, 160, 68),
    "blue": (44, 92, 208),
    "purple": (146, 60, 176),
    "white": (240, 240, 236),
}


def informative(fact: Fact, height: int, width: int, rng: np.random.Generator) -> RGB:
    """A picture of one fact before some scenery; (height, width, 3)."""
    places = lay_out(fact, rng)
    figures = [shape_figure(place.thing.shape) for place in places]
    return _finish(_compose(places, figures, height, width, rng), rng)


def unrelated(fact: Fact, height: int, width: int, rng: np.random.Generator) -> RGB:
    """A picture of nothing that a caption names; (height, width, 3).

    Figures without a name take the places of a fact's things, in their colours, and cover as
    much: so that colours, brightness, contrast, edges and bytes do not tell the two apart.
    """
    return _finish(_unrelated(fact, height, width, rng), rng)


def blurred(fact: Fact, height: int, width: int, rng: np.random.Generator) -> RGB:
    """An unrelated picture far out of focus, its contrast as far restored as white allows."""
    sharp = _unrelated(fact, height, width, rng)
    radius = rng.uniform(0.05, 0.09) * min(height, width)
    image = Image.fromarray(_pixels(sharp)).filter(ImageFilter.GaussianBlur(radius))
    soft = np.moveaxis(np.asarray(image), 2, 0).astype(np.float32)
    middle = soft.mean((1, 2), keepdims=True)
    gain = min(2.5, float(sharp.std()) / max(1.0, float(soft.std())))
    return _finish(middle + (soft - middle) * gain, rng)


def noisy(fact: Fact, height: int, width: int, rng: np.random.Generator) -> RGB:
    """An unrelated picture under noise, of the same mean and contrast as without."""
    clean = _unrelated(fact, height, width, rng)
    middle, contrast = clean.mean((1, 2), keepdims=True), float(clean.mean(0).std())
    kept = rng.uniform(0.15, 0.4)
    noise = rng.standard_normal((height, width), np.float32) * contrast * (1 - kept**2) ** 0.5
    return _finish(middle + (clean - middle) * kept + noise, rng)


def black(height: int, width: int, rng: np.random.Generator) -> RGB:
    """(Nearly) nothing; (height, width, 3)."""
    level = rng.uniform(0, 8)
    grey = rng.standard_normal((height, width), np.float32) + np.float32(level)
    picture: RGB = np.clip(grey, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)
    return picture


def _unrelated(fact: Fact, height: int, width: int, rng: np.random.Generator) -> FloatArray:
    places = lay_out(fact, rng)
    # Equal things give way to equal figures: that something comes several times says nothing.
    figure_of = {
        thing: odd_figure(shape_figure(thing.shape), rng)
        for thing in dict.fromkeys(place.thing for place in places)
    }
    figures = [figure_of[place.thing] for place in places]
    turns = rng.uniform(0, 360, len(places))
    places = [
        Place(place.thing, place.x, place.y, place.radius, float(turn))
        for place, turn in zip(places, turns, strict=True)
    ]
    return _compose(places, figures, height, width, rng)


def _compose(
    places: Sequence[Place],
    figures: Sequence[Figure],
    height: int,
    width: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Figures with outlines and shadows before scenery; (3, height, width), 0 to 255."""
    picture = scenery(height, width, rng)
    side = min(height, width) * FINE
    # Four bands: colours times cover, and cover. Pillow averages those of CMYK one by one; RGBA
    # it would convert there and back.
    layer = Image.new("CMYK", (width * FINE, height * FINE))
    draw = ImageDraw.Draw(layer)
    line = max(2, side // 64)
    for place, figure in zip(places, figures, strict=True):
        paint = np.array(_PAINT[place.thing.colour]) + rng.uniform(-14, 14, 3)
        fill = tuple(int(value) for value in np.clip(paint, 0, 255))
        edge = tuple(int(value * 0.42) for value in fill)
        figure = within(moved(figure, place.x, place.y, place.radius, place.degrees), 0.49)
        for polygon in moved(figure, layer.width / 2, layer.height / 2, side, 0):
            points = polygon.ravel().tolist()
            draw.polygon(points, (*fill, 255))
            draw.line([*points, *points[:4]], (*edge, 255), line, "curve")
    small = layer.reduce(FINE)
    shadow = Image.new("L", small.size)
    shadow.paste(small.getchannel(3).filter(ImageFilter.GaussianBlur(side / FINE / 40)), (2, 3))
    bands = np.moveaxis(np.asarray(small), 2, 0).astype(np.float32)
    # What is left of the scenery in the shadow and behind the figures.
    left = (1 - 0.4 / 255 * np.asarray(shadow, np.float32)) * (1 - bands[3] / 255)
    # Light falls unevenly on all of it.
    light = 1 + 0.1 * clouds(height, width, 2, rng)
    seen: FloatArray = picture * left + bands[:3]
    return seen * (light * np.float32(rng.uniform(0.78, 1.1)))


def _finish(picture: FloatArray, rng: np.random.Generator) -> RGB:
    """(height, width, 3) of (3, height, width): camera noise, then whole numbers."""
    grain = rng.standard_normal(picture.shape[1:], np.float32) * GRAIN
    return _pixels(picture + (grain + 0.5))


def _pixels(picture: FloatArray) -> RGB:
    """(height, width, 3) whole numbers of (3, height, width), cut to what they can be."""
    whole = np.clip(picture, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(whole, 0, 2))
