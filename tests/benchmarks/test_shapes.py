"""What the benchmark of the rendered dataset counts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.shapes import auc, jpeg_bytes, knowing, line_auc, saturation, sharpness
from vidsampler.datasets.shapes import ShapesVideo


def test_auc() -> None:
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert auc(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
    # 3 > 0, 3 > 2, 1 > 0, 1 < 2, and 2 > 0 with 2 = 2.
    assert auc(np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0])) == pytest.approx(4.5 / 6)


def test_line_finds_what_single_statistics_do_not_show() -> None:
    rng = np.random.default_rng(0)
    common = rng.uniform(0, 100, 400)
    positive = np.arange(400) % 4 < 2
    values = np.expm1(np.stack([common, common + positive + rng.normal(0, 0.1, 400)], 1) / 20)
    owners = (np.arange(400) // 4).tolist()
    assert line_auc(values, positive, owners) > 0.99
    assert abs(auc(values[positive, 1], values[~positive, 1]) - 0.5) < 0.1


def test_statistics() -> None:
    flat = np.full((8, 8, 3), (200, 100, 100), np.uint8)
    assert saturation(flat) == pytest.approx(0.5)
    assert sharpness(flat) == pytest.approx(0)
    checks = np.indices((8, 8)).sum(0) % 2 * 255
    chequered = np.repeat(checks[..., None], 3, 2).astype(np.uint8)
    # The Laplacian of a chequerboard is 4 * 255 up or down.
    assert sharpness(chequered) == pytest.approx((4 * 255) ** 2)
    assert jpeg_bytes(chequered) > jpeg_bytes(flat)


def test_knowing() -> None:
    videos = [
        ShapesVideo(name, ("",), 1.0, tuple(facts), ())
        for name, facts in (("a", "xy"), ("b", "xz"), ("c", "yz"), ("d", "xyz"))
    ]
    # x, y and z are in three videos each.
    assert knowing(videos, 1) == pytest.approx(100 / 3)
    # Each pair is in one of the first three and in the last.
    assert knowing(videos, 2) == pytest.approx(50)
    assert knowing(videos, 3) == pytest.approx((3 * 50 + 100) / 4)
