"""One YAML a dataset, complete and strict."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from tests.cli.running import CHECKOUT
from vidsampler import registry
from vidsampler.config import file_layer, resolve, set_layer, to_plain
from vidsampler.datasets import DatasetReader, DatasetSettings, settings_of
from vidsampler.datasets.base import About
from vidsampler.errors import ConfigError
from vidsampler.extraction.settings import Recipe

NAMES = [each for each in registry.names("datasets") if each != "shapes"]


def test_the_table_is_complete() -> None:
    assert set(NAMES) == {
        "activitynet",
        "captions",
        "charades",
        "didemo",
        "folder",
        "lsmdc",
        "msrvtt",
        "msrvtt-full",
        "msvd",
        "vatex",
    }
    files = {path.stem for path in (CHECKOUT / "configs" / "datasets").glob("*.yaml")}
    assert files - {"shapes"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_says_everything(name: str) -> None:
    reader: DatasetReader = registry.load("datasets", name)
    assert reader.name == name
    values = file_layer(name, "datasets").values
    assert set(values) == {each.name for each in fields(reader.settings)}
    settings = settings_of(name)
    assert settings.about.protocol
    assert settings.about.files
    assert (settings.about.page.startswith("https://")) == (name not in ("captions", "folder"))
    # The reader's own settings are shipped as its class has them.
    shared = {each.name for each in fields(DatasetSettings)}
    bare = to_plain(reader.settings())
    for key, value in to_plain(settings).items():
        assert key in shared or value == bare[key]
    assert resolve(reader.settings, [file_layer(name, "datasets")]) == settings


@pytest.mark.parametrize(
    ("name", "assignment", "message"),
    [
        ("msrvtt", "train_list=8k", "--set train_list: unknown value '8k'"),
        ("msrvtt", "vall=0", "unknown key 'vall'; did you mean 'val'?"),
        ("msrvtt", "val=-1", "val must be at least 0, not -1"),
        ("msvd", "val=5", "unknown key 'val'"),
        ("lsmdc", "frames=0", "frames must be at least 1, not 0"),
        ("vatex", "extract.frames=8", "choose one of --frames and --fps"),
        ("vatex", "extract.size=0", "size must be from 2 to 16,384, not 0"),
        ("didemo", "seconds=0", "seconds must be more than 0, not 0"),
        ("charades", "val=-1", "val must be at least 0, not -1"),
        ("activitynet", "val=-1", "val must be at least 0, not -1"),
    ],
)
def test_settings_are_strict(name: str, assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(name, [set_layer(assignment)])
    assert message in caught.value.message


def test_another_recipe() -> None:
    layers = [set_layer("extract={size: 112, frames: 8, fps: null}")]
    assert settings_of("msvd", layers).extract == Recipe(frames=8, size=112)
    assert About() == DatasetSettings().about


def test_reading_imports_no_torch() -> None:
    program = (
        "import sys; from vidsampler import datasets, registry;"
        "[datasets.settings_of(each) for each in registry.names('datasets') if each != 'shapes'];"
        "print(sorted(set(sys.modules) & {'torch', 'numpy', 'av', 'open_clip'}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
