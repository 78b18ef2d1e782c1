"""Limits of the settings, the shipped file, and the name of the folder."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from vidsampler.config import Layer, file_layer, resolve, set_layer
from vidsampler.datasets.shapes import SPLITS, KindShares, ShapesSettings
from vidsampler.errors import ConfigError


def test_shipped_file_says_what_the_defaults_are() -> None:
    shipped = file_layer("shapes", "datasets").values
    layer = Layer("shapes.yaml: render.{key}", shipped["render"])
    assert set(layer.values) == {field.name for field in fields(ShapesSettings)}
    settings = resolve(ShapesSettings, [layer])
    assert settings == ShapesSettings()
    with pytest.raises(ConfigError, match=r"did you mean 'kinds\.frozen'"):
        resolve(ShapesSettings, [layer, set_layer("kinds.frosen=0.1")])
    # Uniform candidates see each slot once, and captions are not cut: "a red circle above a blue
    # square, then" has 9 tokens.
    assert shipped["frames"] == shipped["extract"]["frames"] == settings.slots
    assert shipped["extract"]["size"] == settings.height
    assert shipped["words"] >= 9 * settings.most_facts - 2 + 2
    assert shipped["about"]["splits"] == {name: getattr(settings, name) for name in SPLITS}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": -1}, r"test must be from 0 to 10000000, not -1"),
        ({"slots": 1}, r"slots must be from 2"),
        ({"facts": 201}, r"facts must be from 8 to 200, not 201"),
        ({"width": 111}, r"width must be even, not 111"),
        ({"height": 62}, r"height must be from 64"),
        ({"informative": 0.1}, r"from 0\.125 \(2 of 16 slots\) to 1, not 0\.1"),
        ({"informative": 1.01}, r"to 1, not 1\.01"),
        ({"informative": float("nan")}, r"informative must be"),
        ({"slots": 64, "informative": 0.75}, r"facts must be at least 96"),
        # 3 of 12 facts: 220 sets, 2 * 4 for each video.
        (
            {"informative": 0.22, "facts": 12, "train": 60, "val": 0, "test": 0},
            r"are enough for 27",
        ),
    ],
)
def test_out_of_range(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(ShapesSettings(), **change)  # type: ignore[arg-type]


def test_shares_of_kinds() -> None:
    with pytest.raises(ConfigError, match=r"kinds\.black must be a share"):
        KindShares(black=-0.1)
    with pytest.raises(ConfigError, match=r"kinds\.black must be a share"):
        KindShares(black=float("inf"))
    with pytest.raises(ConfigError, match="must be above 0"):
        KindShares(0, 0, 0, 0, 0)
    with pytest.raises(ConfigError, match=r"kinds\.unrelated must be above 0"):
        KindShares(unrelated=0)
    assert KindShares(unrelated=0, frozen=0).black == 0.2


def test_numbers_of_facts() -> None:
    assert (ShapesSettings().fewest_facts, ShapesSettings().most_facts) == (4, 4)
    uneven = ShapesSettings(informative=0.22, facts=64)  # 0.22 * 16 = 3.52
    assert (uneven.fewest_facts, uneven.most_facts) == (3, 4)
    assert ShapesSettings(fps=4, slot_frames=6).slot_seconds == 1.5


def test_every_setting_names_another_folder() -> None:
    settings = ShapesSettings(train=1000)
    others = [
        replace(settings, **{field.name: getattr(settings, field.name) + 2})
        for field in fields(settings)
        if field.type == "int"
    ]
    others += [replace(settings, informative=0.3), replace(settings, kinds=KindShares(black=0))]
    assert len(others) == len(fields(settings))
    keys = [other.key("libx264") for other in [settings, *others]] + [settings.key("mpeg4")]
    assert len(set(keys)) == len(keys)
    assert ShapesSettings(train=1000).key("libx264") == keys[0]
    assert len(keys[0]) == 16
