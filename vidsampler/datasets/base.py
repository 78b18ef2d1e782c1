"""What every dataset is: a function from a folder of annotation files to records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidsampler.errors import InputError, unknown
from vidsampler.extraction.settings import Recipe


@dataclass(frozen=True)
class Record:
    """One video of a split.

    Attributes:
        video: Its id as the annotation files have it; `match_videos` finds its file.
        captions: What is said of it, white space tidied, none of them empty.
        start: Look no earlier than this, seconds from the start of the video's file.
        end: Look no later than this, seconds. None for both: the whole file.
    """

    video: str
    captions: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Annotations:
    """What the annotation files of a dataset say.

    Attributes:
        dataset: As it is registered.
        protocol: How captions and videos belong together when retrieval is measured.
        splits: name -> its videos, in the order of the files; no video is in two of them.
        notes: What was found and how often, such as "empty_captions_dropped": 3; what was not
            found is not in it.
        files: What was read.
        absent: Split -> why it is not there, such as the name of the file that is missing.
    """

    dataset: str
    protocol: str
    splits: Mapping[str, tuple[Record, ...]]
    notes: Mapping[str, int] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    def split(self, name: str) -> tuple[Record, ...]:
        """The videos of one split.

        Raises:
            InputError: There is no such split; the message says why.
        """
        if name in self.splits:
            return self.splits[name]
        if name in self.absent:
            raise InputError(
                f"{self.dataset} has no split {name!r}: {self.absent[name]}", code="missing"
            )
        raise InputError(f"{self.dataset}: {unknown('split', name, self.splits)}", code="missing")


@dataclass(frozen=True)
class About:
    """What to know of a dataset before reading it.

    Attributes:
        page: Its official page.
        files: The annotation files to get from there, or from where they are passed round.
        protocol: How captions and videos belong together when retrieval is measured.
        splits: Videos of each split as published, with the settings as shipped.
    """

    page: str = ""
    files: tuple[str, ...] = ()
    protocol: str = ""
    splits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetSettings:
    """What `configs/datasets/NAME.yaml` holds; each reader adds its own settings.

    Attributes:
        about: Facts, for people and for error messages.
        frames: Candidate frames N of a video.
        words: Tokens L of a caption, start and end included.
        extract: How frames are taken from the videos.
    """

    about: About = field(default_factory=About)
    frames: int = 12
    words: int = 32
    extract: Recipe = field(default_factory=lambda: Recipe(fps=3.0))

    def __post_init__(self) -> None:
        at_least(1, frames=self.frames, words=self.words)


@dataclass(frozen=True)
class DatasetReader:
    """A dataset that is registered.

    Attributes:
        name: As it is registered.
        read: Its function: (folder of annotation files, settings) -> annotations.
        settings: The class of its settings.
    """

    name: str
    read: Callable[[Path, Any], Annotations]
    settings: type[DatasetSettings]


def at_least(least: float, **values: float) -> None:
    """Checks settings.

    Raises:
        ValueError: A value is below the least one; `config.resolve` makes it a ConfigError.
    """
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be at least {least:g}, not {value:g}")
