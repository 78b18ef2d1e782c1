"""Renders tests/data/clip.mp4, the demo clip: python -m tests.data.make_clip [FILE]

Twenty-two seconds of H.264 with three B-frames: five shots, a black stretch and a frozen stretch.
Every frame carries its number twice, as digits and as the blocks that `tests.rendering` reads.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.rendering import BITS, BLOCK

WIDTH, HEIGHT, RATE = 320, 180, 25
Draw = ImageDraw.ImageDraw


def hills(draw: Draw, t: float) -> None:
    """The sun sinks behind hills."""
    draw.rectangle((0, 0, WIDTH, HEIGHT), (120, 180, 230))
    draw.ellipse((120 + 60 * t, 30 + 50 * t, 170 + 60 * t, 80 + 50 * t), (255, 220, 90))
    for layer, colour in enumerate([(90, 140, 90), (60, 110, 70), (30, 80, 50)]):
        points = [
            (x, 110 + 22 * layer + 14 * math.sin(x / (30 + 11 * layer) + layer + t * (layer + 1)))
            for x in range(0, WIDTH + 1, 4)
        ]
        draw.polygon([(0, HEIGHT), *points, (WIDTH, HEIGHT)], colour)


def ball(draw: Draw, t: float) -> None:
    """A red ball bounces over a chequered floor."""
    draw.rectangle((0, 0, WIDTH, HEIGHT), (235, 230, 215))
    for row in range(4):
        for column in range(-1, 17):
            x = column * 20 + (row % 2) * 10 - (t * 60) % 20
            draw.rectangle((x, 100 + row * 20, x + 9, 119 + row * 20), (70, 70, 90))
    y = 100 - 60 * abs(math.sin(t * 8))
    draw.ellipse((30 + 200 * t, y, 74 + 200 * t, y + 44), (210, 40, 40), (90, 0, 0), 2)


def town(draw: Draw, t: float) -> None:
    """A town at night; windows light up."""
    draw.rectangle((0, 0, WIDTH, HEIGHT), (12, 16, 44))
    rng = np.random.default_rng(3)
    for x in range(0, WIDTH, 32):
        top = int(rng.integers(40, 110))
        draw.rectangle((x + 2, top, x + 29, HEIGHT), (40, 44, 66))
        for wx in range(x + 6, x + 26, 8):
            for wy in range(top + 6, HEIGHT - 6, 12):
                lit = rng.random() < 0.15 + 0.7 * t
                draw.rectangle((wx, wy, wx + 4, wy + 6), (250, 215, 120) if lit else (24, 26, 44))


def wheel(draw: Draw, t: float) -> None:
    """A colour wheel turns."""
    draw.rectangle((0, 0, WIDTH, HEIGHT), (30, 60, 60))
    colours = [(230, 70, 60), (240, 170, 40), (240, 230, 90), (80, 190, 90), (70, 130, 220)]
    for i in range(10):
        start = 36 * i + 200 * t
        draw.pieslice((90, 22, 230, 162), start, start + 36, colours[i % 5], (20, 20, 20))


def letters(draw: Draw, t: float) -> None:
    """A title on white."""
    draw.rectangle((0, 0, WIDTH, HEIGHT), (248, 248, 244))
    draw.text((160, 86), "vidsampler", (30, 30, 40), ImageFont.load_default(46), anchor="mm")
    draw.rectangle((60, 122, 60 + 200 * t, 128), (200, 60, 50))


def black(draw: Draw, t: float) -> None:
    """Nothing."""
    draw.rectangle((0, 0, WIDTH, HEIGHT), (0, 0, 0))


SCRIPT: list[tuple[Callable[[Draw, float], None], float, bool]] = [
    # what, seconds, does it move
    (hills, 6.0, True),
    (black, 1.6, False),
    (ball, 2.4, True),
    (town, 5.0, True),
    (town, 2.4, False),  # frozen: its last picture again and again
    (wheel, 1.6, True),
    (letters, 3.0, True),
]


def pictures() -> list[np.ndarray]:
    """All frames, (HEIGHT, WIDTH, 3) uint8, without numbers."""
    frames = []
    for scene, seconds, moves in SCRIPT:
        count = round(seconds * RATE)
        for i in range(count):
            picture = Image.new("RGB", (WIDTH, HEIGHT))
            scene(ImageDraw.Draw(picture), (i + 1) / count if moves else 1.0)
            frames.append(np.asarray(picture).copy())
    return frames


def stamp(picture: np.ndarray, number: int) -> np.ndarray:
    """Writes a frame's number into its pixels: blocks at the top, and digits.

    The last block is always on and tells how bright "on" is: black frames must stay black, so
    theirs is hardly to be seen and they have no digits.
    """
    dark = picture.max() == 0
    on, off = (24, 0) if dark else (235, 16)
    for bit in range(BITS + 1):
        lit = bit == BITS or number >> bit & 1
        picture[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = on if lit else off
    image = Image.fromarray(picture)
    if not dark:
        draw = ImageDraw.Draw(image)
        draw.rectangle((WIDTH - 62, 0, WIDTH, 23), (0, 0, 0))
        font = ImageFont.load_default(20)
        draw.text((WIDTH - 4, 11), f"{number:04d}", (255, 255, 255), font, anchor="rm")
    return np.asarray(image)


def read_stamp(picture: np.ndarray) -> int:
    """The number that `stamp` wrote, at source size."""
    middles = BLOCK // 2 + BLOCK * np.arange(BITS + 1)
    levels = picture[BLOCK // 2, middles].astype(float).mean(-1)
    return sum(1 << bit for bit in range(BITS) if levels[bit] > levels[BITS] / 2)


def write(path: Path) -> None:
    """Renders the clip."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"preset": "slow", "crf": "27", "x264-params": "keyint=100:bframes=3"}
        for number, picture in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(stamp(picture, number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("clip.mp4"))
