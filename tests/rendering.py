"""Renders test videos whose pixels carry their own frame number.

Sixteen square blocks in the top rows of a picture spell the frame number in binary (white 1, black
0), large enough to survive lossy coding and scaling. The rest moves, so that B-frames, references
and rotations have something to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS = 12
BLOCK = 16
WIDTH, HEIGHT = BITS * BLOCK + 64, 144


def numbered_picture(
    number: int, width: int = WIDTH, height: int = HEIGHT, seed: int = 0
) -> np.ndarray:
    """RGB picture (height, width, 3) uint8 that carries ``number`` (0 to 4095)."""
    rows, columns = np.mgrid[0:height, 0:width]
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, 3)
    picture = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        picture[..., channel] = 128 + 90 * np.sin(
            columns / (17 + 5 * channel) + rows / 13 + number / 7 + phase[channel]
        )
    x = (number * 3) % max(1, width - 40)
    y = BLOCK + 8 + (number * 2) % max(1, height - BLOCK - 48)
    picture[y : y + 32, x : x + 32] = rng.integers(0, 255, (32, 32, 3))
    for bit in range(BITS):
        value = 235 if number >> bit & 1 else 16
        picture[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = value
    return picture.clip(0, 255).astype(np.uint8)


def read_number(picture: np.ndarray, width: int = WIDTH, height: int = HEIGHT) -> int:
    """The number in a picture made by `numbered_picture`, at any scale, upright."""
    assert (picture.shape[1] > picture.shape[0]) == (width > height), picture.shape
    scale_x, scale_y = picture.shape[1] / width, picture.shape[0] / height
    number = 0
    for bit in range(BITS):
        x = round((bit + 0.5) * BLOCK * scale_x)
        y = round(0.5 * BLOCK * scale_y)
        number |= int(picture[y, x].mean() > 127) << bit
    return number


def render(
    path: Path,
    numbers: Iterable[int] | int,
    *,
    codec: str = "libx264",
    rate: int = 25,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotate: int | None = None,
    shift: int = 0,
    container_options: dict[str, str] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    audio: bool = False,
) -> Path:
    """Writes numbered pictures to a video file.

    Args:
        numbers: how many frames, or the numbers that they carry, in display order.
        pts: presentation times in ``time_base`` units (default 0, 1, 2, ... at ``rate``).
        rotate: display rotation in degrees, written as metadata.
        shift: ticks added to all packet times when muxing: below zero makes an edit list.
    """
    numbers = list(range(numbers)) if isinstance(numbers, int) else list(numbers)
    base = time_base or Fraction(1, rate)
    width, height = size
    with av.open(str(path), "w", container_options=container_options or {}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 2
        sound: Any = None
        if audio:
            sound = out.add_stream("aac", rate=16000, layout="mono")
        if rotate is not None:
            stream.set_display_rotation(rotate)

        def mux(packets: Iterable[Any]) -> None:
            for packet in packets:
                if shift and packet.dts is not None and packet.pts is not None:
                    packet.pts += shift
                    packet.dts += shift
                out.mux(packet)

        for position, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(
                numbered_picture(number, width, height), format="rgb24"
            ).reformat(format=pix_fmt)
            frame.pts = pts[position] if pts is not None else position
            frame.time_base = base
            mux(stream.encode(frame))
        mux(stream.encode(None))
        if sound is not None:
            seconds = len(numbers) / rate
            samples = np.zeros((1, int(16000 * seconds)), np.float32)
            for start in range(0, samples.shape[1] - 1023, 1024):
                chunk = av.AudioFrame.from_ndarray(
                    samples[:, start : start + 1024], format="fltp", layout="mono"
                )
                chunk.sample_rate = 16000
                chunk.pts = start
                mux(sound.encode(chunk))
            mux(sound.encode(None))
    return path
