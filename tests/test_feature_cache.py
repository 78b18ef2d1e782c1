"""Features on the disk: what tells them apart, and what damage does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vidsampler.errors import VidsamplerError
from vidsampler.feature_cache import FeatureCache, fingerprint
from vidsampler.video import Video

CLIP = Path(__file__).parent / "data" / "clip.mp4"
NUMBERS = np.array([3, 50, 99])
FEATURES = np.eye(3, 4, dtype=np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def test_what_is_stored_comes_back(cache: FeatureCache) -> None:
    assert cache.load("abc", NUMBERS) is None
    cache.store("abc", NUMBERS[:2], FEATURES[:2])
    found = cache.load("abc", NUMBERS)
    assert found is not None
    assert found[0].tolist() == [3, 50]
    assert np.array_equal(found[1], FEATURES[:2])
    assert found[1].dtype == np.float32
    assert [path.name for path in cache.folder.rglob("*.npz")] == ["abc.npz"]


def test_what_the_key_depends_on(cache: FeatureCache, tmp_path: Path) -> None:
    with Video(CLIP) as source:
        keys = [
            cache.key(source, "model", "fp32", NUMBERS),
            cache.key(source, "other", "fp32", NUMBERS),
            cache.key(source, "model", "bf16", NUMBERS),
            cache.key(source, "model", "fp32", NUMBERS[:2]),
            cache.key(source, "model", "fp32", NUMBERS + 1),
        ]
        again = cache.key(source, "model", "fp32", NUMBERS.copy())
    with Video(CLIP, salvage=True) as source:
        keys.append(cache.key(source, "model", "fp32", NUMBERS))
    assert len(set(keys)) == len(keys)
    assert again == keys[0]
    assert all(len(key) == 40 and key.isalnum() for key in keys)


def test_fingerprints(tmp_path: Path) -> None:
    data = bytearray(np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8))
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_bytes(data)
        os.utime(path, ns=(10**18, 10**18))
    # The name does not count; bytes, size and the time of the last change do.
    assert fingerprint(one) == fingerprint(other)
    seen = {fingerprint(one)}
    for place in (0, len(data) - 1):
        changed = data.copy()
        changed[place] ^= 1
        other.write_bytes(changed)
        os.utime(other, ns=(10**18, 10**18))
        seen.add(fingerprint(other))
    other.write_bytes(data + b"x")
    os.utime(other, ns=(10**18, 10**18))
    seen.add(fingerprint(other))
    other.write_bytes(data)
    os.utime(other, ns=(10**18, 10**18 + 1))
    seen.add(fingerprint(other))
    assert len(seen) == 5


def test_every_byte_of_a_small_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "small"
    data = bytearray(1 << 20)
    seen = set()
    for place in range(-1, 1 << 20, 65_521):
        changed = data.copy()
        if place >= 0:
            changed[place] = 1
        path.write_bytes(changed)
        os.utime(path, ns=(0, 0))
        seen.add(fingerprint(path))
    assert len(seen) == len(range(-1, 1 << 20, 65_521))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-10],
        lambda data: data[:200] + bytes([data[200] ^ 255]) + data[201:],
        lambda data: b"no archive at all",
    ],
    ids=["empty", "half", "cut", "flipped", "text"],
)
def test_a_damaged_file_counts_as_none(cache: FeatureCache, damage: object) -> None:
    cache.store("abc", NUMBERS, FEATURES)
    (path,) = cache.folder.rglob("*.npz")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert cache.load("abc", NUMBERS) is None


@pytest.mark.parametrize(
    ("numbers", "features"),
    [
        (NUMBERS + 1000, FEATURES),
        (NUMBERS[::-1], FEATURES),
        (NUMBERS[:2], FEATURES),
        (NUMBERS.astype(np.int32), FEATURES),
        (NUMBERS, FEATURES.astype(np.float64)),
        (NUMBERS, np.full_like(FEATURES, np.nan)),
        (NUMBERS[:0], FEATURES[:0]),
        (NUMBERS, FEATURES[:, 0]),
    ],
)
def test_what_does_not_fit_counts_as_none(
    cache: FeatureCache, numbers: np.ndarray, features: np.ndarray
) -> None:
    cache.store("abc", numbers, features)
    assert cache.load("abc", NUMBERS) is None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = FeatureCache(tmp_path / "file" / "features")
    assert cache.load("abc", NUMBERS) is None
    with pytest.raises(VidsamplerError, match="cannot be made"):
        cache.store("abc", NUMBERS, FEATURES)


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path))
    assert FeatureCache().folder == tmp_path / "features"
