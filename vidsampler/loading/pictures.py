"""Coded frames of a sample as pixels, decoded straight to where a batch wants them."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from PIL import Image
from torch.nn import functional

from vidsampler.errors import InputError
from vidsampler.loading.augment import Region, central_square
from vidsampler.shards import Reader, Sample
from vidsampler.video.container import check_pixels
from vidsampler.video.decode import FrameConverter
from vidsampler.video.positions import uniform_positions

RGB = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]

RegionOf = Callable[[int, int], Region]
"""From a picture's height and width to the part of it that is wanted."""


def times_of(facts: dict[str, Any], stored: int, key: str) -> npt.NDArray[np.float64]:
    """(stored,) when the stored frames of a sample are shown.

    Args:
        facts: What ``KEY.json`` says: ``times``, seconds; where nobody knows these, the ``numbers``
            of the frames in the video, or else their places, stand for them.
        stored: How many frames there are.
        key: For the message.

    Raises:
        InputError: It tells of other frames.
    """
    lists = [facts[name] for name in ("times", "numbers") if name in facts] or [range(stored)]
    for each in lists:
        if len(each) != stored:
            raise InputError(
                f"{key}.json tells of {len(each)} frames, there are {stored}", code="damaged"
            )
    return np.array(lists[0], np.float64)


class FrameDecoder:
    """Decodes frames, cuts out a part of each and brings it to the size of a batch.

    JPEGs are decoded by libjpeg-turbo through simplejpeg: its strict mode notices nearly all
    damage, which other readers fill with grey or noise, and it needs no memory of its own.
    Threads may share a decoder.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def decode(
        self, sample: Sample, choose: Callable[[int], IntArray], region: RegionOf, out_NHWC: RGB
    ) -> IntArray:
        """Fills the first places of ``out_NHWC`` with frames of a sample.

        Args:
            sample: Its pictures, or its mp4.
            choose: From the number of stored frames, at least 1, to the places among them of at
                most N wanted ones, ascending.
            region: The part of each.
            out_NHWC: (N, S, S, 3); what is left of it is set to 0.

        Returns:
            The places that were chosen.

        Raises:
            InputError: There is no frame, or one cannot be decoded.
        """
        if "mp4" in sample.members:
            chosen, pictures = _read_mp4(sample, choose)
            for rgb, out_HWC in zip(pictures, out_NHWC, strict=False):
                put_region(rgb, region(*rgb.shape[:2]), out_HWC)
        else:
            frames = sample.frames
            if not frames:
                raise InputError(f"{sample.key} has no frames", code="empty")
            chosen = choose(len(frames))
            for place, out_HWC in zip(chosen.tolist(), out_NHWC, strict=False):
                try:
                    self._put_picture(frames[place], Path(sample.key), region, out_HWC)
                except (ValueError, OSError, Image.DecompressionBombError) as error:
                    raise InputError(
                        f"frame {place} of {sample.key} cannot be decoded: {error}", code="damaged"
                    ) from error
        out_NHWC[len(chosen) :] = 0
        return chosen

    def _put_picture(self, data: memoryview, name: Path, region: RegionOf, out_HWC: RGB) -> None:
        if bytes(data[:3]) != b"\xff\xd8\xff":
            rgb = _read_other(data, name)
            put_region(rgb, region(*rgb.shape[:2]), out_HWC)
            return
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        check_pixels(name, width, height)
        part = region(height, width)
        if colours in ("CMYK", "YCCK"):
            put_region(_read_other(data, name), part, out_HWC)
        elif out_HWC.shape == (height, width, 3) and part == (0, 0, height, width, False):
            simplejpeg.decode_jpeg(data, "RGB", buffer=out_HWC)
        else:
            rgb = simplejpeg.decode_jpeg(data, "RGB", buffer=self._scratch(height * width * 3))
            put_region(rgb, part, out_HWC)

    def _scratch(self, size: int) -> RGB:
        """Memory of this thread: a new picture's would first have to be mapped, page by page."""
        scratch: RGB | None = getattr(self._local, "scratch", None)
        if scratch is None or scratch.size < size:
            scratch = self._local.scratch = np.empty(size, np.uint8)
        return scratch


def candidates_of(
    reader: Reader, frames: int, size: int, positions: Literal["middle", "start"] = "middle"
) -> Callable[[int], RGB]:
    """A getter of the candidates of single videos, as a loader gives them to a retriever.

    Args:
        reader: Of the shards of a split.
        frames: N, at most so many of each video.
        size: S, height and width.
        positions: See `LoaderConfig`.

    Returns:
        From a video's number to its (n, S, S, 3) frames.
    """
    decoder = FrameDecoder()

    def choose(there: int) -> IntArray:
        return uniform_positions(there, min(there, frames), positions)

    def get(video: int) -> RGB:
        out_NHWC = np.empty((frames, size, size, 3), np.uint8)
        chosen = decoder.decode(reader[video], choose, central_square, out_NHWC)
        return out_NHWC[: len(chosen)]

    return get


def put_region(rgb: RGB, region: Region, out_HWC: RGB) -> None:
    """Copies a part of a picture, resized if need be (bicubic, with antialiasing).

    Args:
        rgb: (height, width, 3).
        region: The part.
        out_HWC: (S, S, 3), written to.
    """
    top, left, height, width, mirrored = region
    part = rgb[top : top + height, left : left + width]
    if part.shape != out_HWC.shape:
        # One whole picture with colours last: the order for which PyTorch has a fast kernel, which
        # it does not recognise in a view.
        whole = np.empty((1, *part.shape), np.uint8)
        whole[0] = part
        resized = functional.interpolate(
            torch.from_numpy(whole).permute(0, 3, 1, 2),
            out_HWC.shape[:2],
            mode="bicubic",
            antialias=True,
            align_corners=False,
        )
        part = resized[0].permute(1, 2, 0).numpy()
    out_HWC[...] = part[:, ::-1] if mirrored else part


def _read_other(data: memoryview, name: Path) -> RGB:
    """PNG, WebP and JPEGs made for print."""
    with Image.open(io.BytesIO(data)) as picture:
        check_pixels(name, *picture.size)
        return np.array(picture.convert("RGB"))


def _read_mp4(sample: Sample, choose: Callable[[int], IntArray]) -> tuple[IntArray, list[RGB]]:
    """Frames of a sample's mp4; of each group of pictures only up to the last wanted one."""
    try:
        file = io.BytesIO(sample.members["mp4"])
        with av.open(file, "r", format="mp4") as container:
            if not container.streams.video:
                raise InputError(f"the mp4 of {sample.key} has no video", code="damaged")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            check_pixels(Path(sample.key), stream.width, stream.height)
            packets = [each for each in container.demux(stream) if each.pts is not None]
            times = sorted(each.pts for each in packets if each.pts is not None)
            if not times:
                raise InputError(f"the mp4 of {sample.key} has no frames", code="empty")
            chosen = choose(len(times))
            wanted = {times[place] for place in chosen.tolist()}
            found: dict[int, RGB] = {}
            convert = FrameConverter(None)
            for frame in _frames(stream.codec_context, packets, wanted):
                if frame.pts in wanted:
                    found[frame.pts] = convert(frame)
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"the mp4 of {sample.key} cannot be decoded: {error}", code="damaged"
        ) from error
    if len(found) < len(wanted):
        missing = len(wanted) - len(found)
        raise InputError(
            f"the mp4 of {sample.key}: {missing} of {len(wanted)} frames cannot be decoded",
            code="damaged",
        )
    return chosen, [found[times[place]] for place in chosen.tolist()]


def _frames(context: Any, packets: list[Any], wanted: set[int]) -> Iterator[Any]:
    first = 0
    while first < len(packets):
        end = first + 1
        while end < len(packets) and not packets[end].is_keyframe:
            end += 1
        last = max((i for i in range(first, end) if packets[i].pts in wanted), default=first - 1)
        for packet in packets[first : last + 1]:
            yield from context.decode(packet)
        first = end
    yield from context.decode(None)
