"""What a worker of `embed` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.loading.stored import write_samples
from vidsampler.loading.loader import Loader, LoaderConfig
from vidsampler.search.entry import Stamp
from vidsampler.search.manifest import Failed
from vidsampler.search.reading import Frames, ReadTask, read_frames
from vidsampler.video.images import encode_image

PICTURES = {
    f"{i:03d}.jpg": encode_image(np.full((8, 8, 3), 40 * i, np.uint8), quality=90) for i in range(3)
}


def read(folder: Path, key: str) -> Frames | Failed:
    return read_frames(
        ReadTask(
            key=key,
            source=f"{key}.mp4",
            kind="shards",
            path=folder,
            frames=3,
            size=8,
            blind=None,
            k=None,
            seed=0,
            timeout=None,
            salvage=False,
            stamp=Stamp(1, 2, "ab"),
        )
    )


@pytest.mark.parametrize(
    ("facts", "times"),
    [
        (b'{"numbers": [4, 9, 11], "times": [0.5, 1, 2]}', [0.5, 1, 2]),
        (b'{"numbers": [4, 9, 11]}', [4, 9, 11]),
        (b"{}", [0, 1, 2]),
    ],
)
def test_times_are_those_of_training(tmp_path: Path, facts: bytes, times: list[float]) -> None:
    write_samples(tmp_path, {"a": PICTURES | {"json": facts}})
    found = read(tmp_path, "a")
    assert isinstance(found, Frames)
    assert found.times_N.tolist() == times
    config = LoaderConfig(frames=3, size=8, captions="none", batch_size=1, shuffle=False, workers=0)
    (batch,) = Loader(tmp_path, config)
    assert batch.times_BN[0].tolist() == times


@pytest.mark.parametrize(
    "facts", [b'{"numbers": [4, 9]}', b'{"numbers": [4, 9], "times": [1,2,3]}']
)
def test_facts_of_other_frames_are_damage(tmp_path: Path, facts: bytes) -> None:
    write_samples(tmp_path, {"a": PICTURES | {"json": facts}})
    found = read(tmp_path, "a")
    assert isinstance(found, Failed)
    assert found.failure.kind == "damaged"
    assert found.failure.message == "a.json tells of 2 frames, there are 3"
