"""Small shards with captions, whose frames carry numbers that survive cropping to a square."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.rendering import BITS, BLOCK, numbered_picture, read_number
from vidsampler.shards.writer import Member, ShardWriter
from vidsampler.video.images import encode_image

SIDE = BITS * BLOCK  # 192
PER_SHARD = 3
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Stored:
    """A video to be.

    Attributes:
        frames: The numbers that its frames carry.
        captions: Of it.
        beside: Pixels to the left and right of each frame's square.
        above: Pixels above and below it.
        more: Other facts for ``KEY.json``.
    """

    frames: Sequence[int]
    captions: Sequence[str] = ("a caption",)
    beside: int = 0
    above: int = 0
    more: Any = None


def picture(number: int, beside: int = 0, above: int = 0) -> Picture:
    """(192 + 2 above, 192 + 2 beside, 3), the number in the square in its middle."""
    square = numbered_picture(number, SIDE, SIDE)
    padded: Picture = np.pad(square, ((above, above), (beside, beside), (0, 0)), mode="symmetric")
    return padded


def number_in(rgb: Picture) -> int:
    """The number in a square picture (S, S, 3)."""
    return read_number(rgb, SIDE, SIDE)


def by_pillow(data: bytes) -> Picture:
    """What Pillow makes of a coded picture."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def jpegs(video: Stored) -> list[bytes]:
    """Its coded frames."""
    return [encode_image(picture(n, video.beside, video.above), quality=92) for n in video.frames]


def write_split(
    folder: Path, videos: dict[str, Stored], per_shard: int = PER_SHARD
) -> dict[str, list[bytes]]:
    """Writes shards; frame i of a video is shown at 0.5 i seconds.

    Returns:
        The JPEGs of each video.
    """
    folder.mkdir(exist_ok=True)
    coded = {key: jpegs(video) for key, video in videos.items()}
    write_samples(
        folder,
        {
            key: {f"{i:03d}.jpg": data for i, data in enumerate(coded[key])}
            | {"json": facts_of(video)}
            for key, video in videos.items()
        },
        per_shard,
    )
    return coded


def facts_of(video: Stored) -> bytes:
    """Its ``KEY.json``."""
    facts = {
        "numbers": list(video.frames),
        "times": [0.5 * i for i in range(len(video.frames))],
        "captions": list(video.captions),
        **(video.more or {}),
    }
    return json.dumps(facts).encode()


def write_samples(folder: Path, samples: dict[str, dict[str, bytes]], per_shard: int = 3) -> None:
    """Writes shards of any members."""
    keys = list(samples)
    for first in range(0, len(keys), per_shard):
        with ShardWriter(folder, f"{first // per_shard:06d}", {}, folder) as writer:
            for key in keys[first : first + per_shard]:
                members = [Member(name, len(data), data) for name, data in samples[key].items()]
                writer.add(key, f"{key}.mp4", members, len(members) - 1)
            writer.commit()


def seven(tmp_path: Path) -> Path:
    """Seven videos v0 to v6 of 8 frames, which carry 10 v + i; video v has v % 3 + 1 captions."""
    write_split(
        tmp_path / "seven",
        {
            f"v{v}": Stored(
                [10 * v + i for i in range(8)],
                [f"video {v} caption {c}" for c in range(v % 3 + 1)],
                beside=20,
            )
            for v in range(7)
        },
    )
    return tmp_path / "seven"
