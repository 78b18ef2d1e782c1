"""Datasets: the annotation files that the field passes round, read into records. No torch here.

`read("msrvtt", folder)` gives the videos of each split with their captions; `match_videos` joins
them with files. One module a dataset, found through the registry.
"""

from vidsampler.datasets.base import Annotations, DatasetReader, DatasetSettings, Record
from vidsampler.datasets.load import differences, read, settings_of
from vidsampler.datasets.match import Matched, match_videos

__all__ = [
    "Annotations",
    "DatasetReader",
    "DatasetSettings",
    "Matched",
    "Record",
    "differences",
    "match_videos",
    "read",
    "settings_of",
]
