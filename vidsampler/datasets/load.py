"""A dataset by its name: its settings, its annotations, and whether they are all there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vidsampler import registry
from vidsampler.config import Layer, file_layer, resolve
from vidsampler.datasets.base import Annotations, DatasetReader, DatasetSettings


def settings_of(name: str, layers: Iterable[Layer] = ()) -> DatasetSettings:
    """The settings of a dataset: the shipped ones, then what the layers say.

    Args:
        name: A registered dataset.
        layers: Such as `set_layer("val=0")`.

    Raises:
        UsageError: There is no such dataset.
        ConfigError: A layer does not fit the dataset's settings.
    """
    reader: DatasetReader = registry.load("datasets", name)
    return resolve(reader.settings, [file_layer(name, "datasets"), *layers])


def read(name: str, folder: str | Path, settings: DatasetSettings | None = None) -> Annotations:
    """Reads the annotation files of a dataset.

    Args:
        name: A registered dataset.
        folder: Where its annotation files are.
        settings: As `settings_of` gives them; None: as shipped.

    Raises:
        UsageError: There is no such dataset.
        InputError: A file is missing or damaged; the message names it, the place in it, what was
            expected there and what was found.
    """
    reader: DatasetReader = registry.load("datasets", name)
    return reader.read(Path(folder), settings_of(name) if settings is None else settings)


def differences(annotations: Annotations, settings: DatasetSettings) -> tuple[str, ...]:
    """Where splits have other sizes than published, such as "test: 999 videos, published: 1,000".

    Only splits that are there are compared, and only with the settings as shipped: others change
    the sizes on purpose.
    """
    if settings != settings_of(annotations.dataset):
        return ()
    return tuple(
        f"{name}: {len(annotations.splits[name]):,} videos, published: {published:,}"
        for name, published in settings.about.splits.items()
        if name in annotations.splits and len(annotations.splits[name]) != published
    )
