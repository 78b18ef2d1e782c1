"""Pictures into mp4 files, the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.video.reformatter import VideoReformatter

from vidsampler.datasets.shapes.pictures import RGB

_QUANTISER = "20"


@cache
def codec_name() -> str:
    """H.264 where PyAV's FFmpeg can encode it, else MPEG-4."""
    try:
        return Codec("libx264", "w").name
    except UnknownCodecError:
        return "mpeg4"


def encode_mp4(
    pictures: Sequence[RGB], fps: int, slot_frames: int, codec: str | None = None
) -> bytes:
    """One video in which each picture stands still for a while.

    Each picture is a group of its own and all have the same quantiser: how well one is coded does
    not depend on what comes before it, and equal pictures stay equal.

    Args:
        pictures: (height, width, 3) each, of even size.
        fps: encoded frames a second.
        slot_frames: encoded frames of each picture.
        codec: libx264 or mpeg4; None: `codec_name()`.
    """
    codec = codec or codec_name()
    buffer = io.BytesIO()
    # Without "bitexact" the file names the version of FFmpeg that wrote it.
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = slot_frames
        stream.options = _options(codec, slot_frames)
        reformatter = VideoReformatter()
        number = 0
        for picture in pictures:
            # One thread: others would only wait for each other over so small a picture.
            frame = reformatter.reformat(
                av.VideoFrame.from_ndarray(picture, "rgb24"), format="yuv420p", threads=1
            )
            frame.time_base = Fraction(1, fps)
            for _ in range(slot_frames):
                frame.pts = number
                out.mux(stream.encode(frame))
                number += 1
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _options(codec: str, slot_frames: int) -> dict[str, str]:
    if codec == "mpeg4":
        return {"qmin": "3", "qmax": "3", "flags": "+bitexact"}
    keyframes = f"keyint={slot_frames}:min-keyint={slot_frames}:scenecut=0:bframes=0"
    return {"preset": "veryfast", "qp": _QUANTISER, "x264-params": f"{keyframes}:threads=1"}
