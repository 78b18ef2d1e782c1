"""`folder`: any videos below a folder, without captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidsampler.datasets.base import (
    Annotations,
    DatasetReader,
    DatasetSettings,
    Record,
    at_least,
)
from vidsampler.datasets.reading import damaged, find, read_table
from vidsampler.datasets.splits import by_fraction, into_splits
from vidsampler.errors import InputError
from vidsampler.files import VIDEO_SUFFIXES, walk_videos

PROTOCOL = "no captions"


@dataclass(frozen=True)
class FractionSettings(DatasetSettings):
    """Settings of datasets of one's own, whose splits are drawn.

    Attributes:
        val: Share of the videos for validation, 0 to 1.
        test: Share of the videos for testing, 0 to 1; train is the rest.
        seed: Another seed draws other videos.
    """

    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, val=self.val, test=self.test, seed=self.seed)
        if self.val + self.test > 1:
            raise ValueError(f"val and test are {self.val + self.test:g} together, more than 1")


@dataclass(frozen=True)
class FolderSettings(FractionSettings):
    """Settings of `folder`: no test split unless asked for, as there is nothing to retrieve by.

    Attributes:
        groups: A table with the columns video and group; the videos of a group, such as parts of
            one recording, come into one split. Others are groups of their own. null: all are.
    """

    test: float = 0.0
    groups: Path | None = None


def read(folder: Path, settings: FolderSettings) -> Annotations:
    """Finds the videos; their ids are their paths below the folder.

    Raises:
        InputError: There is none, or a folder cannot be read.
    """
    videos = list_videos(folder)
    dealt = split_videos(videos, settings)
    splits = into_splits([Record(each) for each in videos], dealt)
    absent = empty_shares(splits, settings, len(videos))
    return Annotations("folder", PROTOCOL, splits, absent=absent)


def split_videos(videos: Sequence[str], settings: FolderSettings) -> dict[str, str]:
    """Video -> its split.

    Raises:
        InputError: The table of groups cannot be read, or names a video that is not there.
    """
    groups = {each: each for each in videos}
    if settings.groups is not None:
        for row in read_table(settings.groups, ("video", "group")):
            video = row.values["video"]
            if video not in groups:
                raise damaged(settings.groups, f"line {row.line}", f"there is no video {video!r}")
            # Not to be mistaken for a video of that name.
            groups[video] = f"group {row.values['group']}"
    return by_fraction(groups, shares(settings), settings.seed)


def list_videos(folder: Path) -> list[str]:
    """Paths below the folder, with "/", in the order of their names.

    Raises:
        InputError: There is none, or a folder cannot be read.
    """
    find(folder)
    videos = []
    for each in walk_videos(folder):
        if each.error is not None:
            raise each.error
        videos.append(Path(each.path).relative_to(folder).as_posix())
    if not videos:
        wanted = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
        raise InputError(
            f"{folder}: the folder has no videos in it", code="missing", hint=f"looked for {wanted}"
        )
    return videos


def shares(settings: FractionSettings) -> dict[str, float]:
    """What `by_fraction` deals out; test first, so that another val leaves it as it is."""
    return {"test": settings.test, "val": settings.val}


def empty_shares(
    splits: dict[str, tuple[Record, ...]], settings: FractionSettings, videos: int
) -> dict[str, str]:
    """Why splits that were drawn are empty."""
    return {
        name: f"its share of {videos} videos, {share:g}, is none (--set dataset.{name}=0.2)"
        for name, share in shares(settings).items()
        if name not in splits
    }


READER = DatasetReader("folder", read, FolderSettings)
