"""A rendered dataset: real mp4 files in which it is known which frames matter. No torch in here.

Each video is a row of slots, one still picture each. Its caption names several facts ("a red
circle above a blue square, then two green stars"); each fact is shown in one informative slot,
at a random place among black, noisy, blurred, repeated and unrelated ones. The unrelated ones
look like the informative ones to every simple statistic; the same facts appear in many videos,
only their combination is a video's own.
"""

from vidsampler.datasets.shapes.plan import Slot
from vidsampler.datasets.shapes.records import ShapesVideo, read
from vidsampler.datasets.shapes.render import cached_folder, render
from vidsampler.datasets.shapes.settings import KINDS, SPLITS, KindShares, ShapesSettings

__all__ = [
    "KINDS",
    "SPLITS",
    "KindShares",
    "ShapesSettings",
    "ShapesVideo",
    "Slot",
    "cached_folder",
    "read",
    "render",
]
