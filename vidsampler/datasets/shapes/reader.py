"""`shapes` as a registered dataset: the rendered folder's own records as annotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vidsampler.datasets.base import Annotations, DatasetReader, DatasetSettings, Record
from vidsampler.datasets.shapes.records import read as read_split
from vidsampler.datasets.shapes.settings import SPLITS, ShapesSettings


@dataclass(frozen=True)
class ShapesDataset(DatasetSettings):
    """Settings of `shapes`.

    Attributes:
        render: What the videos are like.
    """

    render: ShapesSettings = field(default_factory=ShapesSettings)


def read(folder: Path, settings: ShapesDataset) -> Annotations:
    """Reads the records of a rendered folder.

    Raises:
        InputError: It is not there, or damaged.
    """
    splits: dict[str, tuple[Record, ...]] = {
        split: tuple(Record(video.video, video.captions) for video in read_split(folder, split))
        for split in SPLITS
        if getattr(settings.render, split)
    }
    return Annotations("shapes", settings.about.protocol, splits)


READER = DatasetReader("shapes", read, ShapesDataset)
