"""Noise by seed and id."""

from __future__ import annotations

import numpy as np
import pytest

from vidsampler.heads.noise import normal_noise, uniform_noise

UNIFORM = [0.30931490659713745, 0.3569561839103699, 0.03690451383590698, 0.9619023203849792]
NORMAL = [1.4909242391586304, 1.3944416046142578, 0.3520447909832001, -0.3403187096118927]


@pytest.mark.parametrize("draw", [uniform_noise, normal_noise])
def test_noise_depends_on_seed_and_id_alone(draw: object) -> None:
    assert callable(draw)
    np.testing.assert_array_equal(draw(3, 5, 100), draw(3, 5, 100))
    assert not np.array_equal(draw(3, 5, 100), draw(3, 6, 100))
    assert not np.array_equal(draw(3, 5, 100), draw(4, 5, 100))
    assert not np.array_equal(draw(3, 5, 100), draw(5, 3, 100))
    assert draw(0, 0, 7).shape == (7,)
    assert draw(0, 0, 7).dtype == np.float32


def test_uniform_noise_is_uniform() -> None:
    noise = uniform_noise(0, 0, 100_000)
    assert noise.min() >= 0
    assert noise.max() < 1
    assert noise.mean() == pytest.approx(0.5, abs=0.004)
    assert noise.var() == pytest.approx(1 / 12, abs=0.001)
    # Neighbouring ids have nothing to do with each other.
    assert abs(np.corrcoef(noise, uniform_noise(0, 1, 100_000))[0, 1]) < 0.015


def test_normal_noise_is_normal() -> None:
    noise = normal_noise(0, 0, 100_001).astype(np.float64)
    assert noise.mean() == pytest.approx(0, abs=0.015)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert (noise**4).mean() == pytest.approx(3, abs=0.15)


def test_noise_stays_the_same_from_version_to_version() -> None:
    # Philox 4x64-10 with the key (1, 2); published scores depend on these numbers.
    np.testing.assert_allclose(uniform_noise(1, 2, 4), UNIFORM, rtol=0, atol=0)
    np.testing.assert_allclose(normal_noise(1, 2, 4), NORMAL, rtol=1e-6)
