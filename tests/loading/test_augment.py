"""Augmentations, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vidsampler.loading import augment
from vidsampler.loading.augment import (
    Region,
    central_square,
    mirrors,
    randaugment,
    random_region,
)
from vidsampler.loading.order import Purpose, uniforms


def draws_of(item: int) -> list[float]:
    return uniforms(0, 0, item, Purpose.AUGMENTATION, augment.DRAWS)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((224, 398), Region(0, 87, 224, 224)),
        ((398, 224), Region(87, 0, 224, 224)),
        ((225, 224), Region(0, 0, 224, 224)),
        ((3, 6), Region(0, 1, 3, 3)),
    ],
)
def test_the_square_in_the_middle(size: tuple[int, int], expected: Region) -> None:
    assert central_square(*size) == expected


def test_every_second_video_is_mirrored() -> None:
    draws = [0.5] * augment.DRAWS
    assert not mirrors(draws)
    draws[-1] = 0.4999
    assert mirrors(draws)
    assert 900 < sum(mirrors(draws_of(item)) for item in range(2000)) < 1100


def test_a_region_by_hand() -> None:
    draws = [0.5] * augment.DRAWS
    # The area is 3/4 of 100 x 100 and the ratio exp(0) = 1: a side of sqrt(7500) = 86.6.
    assert random_region(100, 100, draws) == Region(7, 7, 87, 87, False)
    draws[-1] = 0.4999
    draws[0], draws[1] = 0.0, 1 - 1e-12
    # Half the area, 4 to 3: width sqrt(5000 * 4/3) = 81.6, height sqrt(5000 * 3/4) = 61.2.
    assert random_region(100, 100, draws) == Region(20, 9, 61, 82, True)


def test_what_does_not_fit_is_drawn_again() -> None:
    draws = [0.5] * augment.DRAWS
    draws[0], draws[1] = 1 - 1e-12, 0.0  # all of the area, 3 to 4: higher than there is room
    assert random_region(100, 100, draws) == Region(7, 7, 87, 87, False)
    assert random_region(10, 1000, draws) == Region(0, 495, 10, 10, False)


def test_regions_spread_as_they_should() -> None:
    height, width = 224, 300
    regions = [random_region(height, width, draws_of(item)) for item in range(2000)]
    for top, left, part_height, part_width, _ in regions:
        assert 0 <= top <= height - part_height
        assert 0 <= left <= width - part_width
        assert 0.49 < part_height * part_width / (height * width) <= 1
        assert 0.74 < part_width / part_height < 1.35
    mirrored = sum(region.mirrored for region in regions)
    assert 900 < mirrored < 1100
    centred = [(left + part_width / 2) / width for _, left, _, part_width, _ in regions]
    assert sum(centred) / 2000 == pytest.approx(0.5, abs=0.01)
    assert len(set(regions)) > 1900


def frames(*values: int) -> Tensor:
    """A 2 x 2 frame of red for each four values; green 10, blue 200."""
    red = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 2, 2)
    return torch.cat([red, torch.full_like(red, 10), torch.full_like(red, 200)], 1)


def applied(name: str, strength: float, pixels: Tensor) -> Tensor:
    return augment._OPERATIONS[name](pixels, strength)


def test_operations_on_pixels_by_hand() -> None:
    pixels = frames(0, 100, 179, 255)
    assert applied("identity", 0.3, pixels).tolist() == pixels.tolist()
    # 1 - 0.9 * 0.3 = 0.73 and 1.27 times as bright.
    assert applied("brightness", -0.3, pixels)[0, 0].flatten().tolist() == [0, 73, 130, 186]
    assert applied("brightness", 0.3, pixels)[0, 0].flatten().tolist() == [0, 127, 227, 255]
    # 8 - round(4 * 0.3) = 7 bits.
    assert applied("posterise", -0.3, pixels)[0, 0].flatten().tolist() == [0, 100, 178, 254]
    # From 255 * 0.7 = 178.5 on.
    assert applied("solarise", 0.3, pixels)[0, 0].flatten().tolist() == [0, 100, 76, 0]
    assert applied("solarise", 0.3, pixels)[0, 2].flatten().tolist() == [55] * 4
    stretched = applied("contrast, automatic", 0.3, frames(50, 100, 150, 150))
    assert stretched[0, 0].flatten().tolist() == pytest.approx([0, 127, 255, 255], abs=1)
    grey = applied("colour", -0.3, pixels)
    luma = 0.2989 * 100 + 0.587 * 10 + 0.114 * 200
    assert grey[0, 0, 0, 1] == pytest.approx(0.73 * 100 + 0.27 * luma, abs=1)
    flat = frames(80, 80, 80, 80)
    assert applied("sharpness", 0.3, flat).tolist() == flat.tolist()
    mean = 0.2989 * 133.5 + 0.587 * 10 + 0.114 * 200
    contrast = applied("contrast", -0.3, pixels)[0, 0, 1, 1]
    assert contrast == pytest.approx(0.73 * 255 + 0.27 * mean, abs=1.5)


@pytest.mark.parametrize(
    ("name", "strength", "moves_to"),
    [
        # From the middle of the right edge or the top edge of a 331 px picture; x right, y down.
        ("translate x", -0.3, (330 - 45, 165)),
        ("translate x", 0.3, None),
        ("translate y", 0.3, (330, 165 + 45)),
        ("shear x", 0.3, (330, 165)),
        # 9 degrees: 165 cos 9 = 163, 165 sin 9 = 26, clockwise.
        ("rotate", 0.3, (165 + 163, 165 + 26)),
        ("rotate", -0.3, (165 + 163, 165 - 26)),
    ],
)
def test_where_a_spot_goes(name: str, strength: float, moves_to: tuple[int, int] | None) -> None:
    pixels = torch.zeros(1, 3, 331, 331, dtype=torch.uint8)
    pixels[..., 161:170, 324:331] = 255
    moved = applied(name, strength, pixels)
    bright = moved[0, 0] > 200
    if moves_to is None:
        assert not bright.any()
    else:
        rows, columns = bright.nonzero(as_tuple=True)
        assert columns.float().mean() == pytest.approx(moves_to[0] - 3, abs=3)
        assert rows.float().mean() == pytest.approx(moves_to[1], abs=3)
    if name.startswith("translate"):
        assert (moved == augment.GREY).any()


def test_shear_is_the_tangent() -> None:
    pixels = torch.zeros(1, 3, 201, 201, dtype=torch.uint8)
    pixels[..., 97:104] = 255
    moved = applied("shear x", 0.3, pixels)[0, 0].float()
    tops = (moved[0:20] > 200).nonzero()[:, 1].float().mean()
    ends = (moved[-20:] > 200).nonzero()[:, 1].float().mean()
    # 0.3 * 0.3 pixels a row, over 181 rows.
    assert abs(ends - tops) == pytest.approx(0.09 * 181, abs=1)


def test_randaugment_does_the_same_to_all_frames() -> None:
    torch.manual_seed(0)
    frame = torch.randint(0, 256, (1, 3, 24, 24), dtype=torch.uint8)
    changed = 0
    for item in range(60):
        draws = draws_of(item)
        out = randaugment(frame.expand(5, -1, -1, -1).clone(), draws)
        assert out.dtype == torch.uint8
        assert out.shape == (5, 3, 24, 24)
        assert (out == out[:1]).all()
        assert torch.equal(out[:1], randaugment(frame, draws))
        changed += not torch.equal(out[:1], frame)
    assert changed > 50


def test_randaugment_takes_two_of_all_operations_alike() -> None:
    names = list(augment._OPERATIONS)
    assert len(names) == 14
    frame = torch.arange(192, dtype=torch.uint8).view(1, 3, 8, 8)
    # Twice the seventh of 14, once darker and once brighter.
    draws = [(6 + 0.5) / 14, 0.1, (6 + 0.5) / 14, 0.9]
    expected = ((frame * 0.73).to(torch.uint8) * 1.27).to(torch.uint8)
    assert names[6] == "brightness"
    assert torch.equal(randaugment(frame, draws), expected)
    assert math.isclose(augment.RANDAUGMENT_MAGNITUDE / 30, 0.3)
