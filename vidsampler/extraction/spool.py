"""Where decoded frames wait, coded, until their sample is whole. Memory stays bounded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError
from vidsampler.files import writing
from vidsampler.shards.writer import Member
from vidsampler.video.images import encode_image

RGB = npt.NDArray[np.uint8]

MP4_GROUP = 12
"""Frames from keyframe to keyframe: any frame of the new file is a few decoded ones away."""

MOST_WAITING = 256 << 20
"""Bytes of frames that may wait for earlier ones of a damaged file."""


class FileSpool:
    """JPEGs one after the other in one file."""

    def __init__(self, path: Path, quality: int) -> None:
        self._path = path
        self._quality = quality
        self._at: dict[int, tuple[int, int]] = {}
        self._offset = 0
        with writing(path):
            self._file: BinaryIO = path.open("wb")

    def put(self, number: int, rgb: RGB) -> None:
        """Codes a frame."""
        data = encode_image(rgb, quality=self._quality)
        with writing(self._path):
            self._file.write(data)
        self._at[number] = self._offset, len(data)
        self._offset += len(data)

    def finish(self, numbers: Sequence[int]) -> list[Member]:
        """One member a frame: ``000.jpg``."""
        digits = max(3, len(str(len(numbers) - 1)))
        members = []
        for position, number in enumerate(numbers):
            offset, size = self._at[number]
            members.append(Member(f"{position:0{digits}d}.jpg", size, None, offset))
        return members

    def close(self) -> None:
        """Closes the file."""
        with writing(self._path):
            self._file.close()


class FolderSpool:
    """JPEGs as ``image_00001.jpg`` in a folder, counted from 1."""

    def __init__(self, path: Path, numbers: Sequence[int], quality: int) -> None:
        self._path = path
        self._quality = quality
        self._position = {number: position for position, number in enumerate(numbers, 1)}
        with writing(path):
            path.mkdir(exist_ok=True)

    def put(self, number: int, rgb: RGB) -> None:
        """Codes a frame."""
        path = self._file(self._position[number])
        with writing(path):
            path.write_bytes(encode_image(rgb, quality=self._quality))

    def finish(self, numbers: Sequence[int]) -> list[Member]:
        """Closes the gaps that frames left which could not be decoded."""
        with writing(self._path):
            for position, number in enumerate(numbers, 1):
                if self._position[number] != position:
                    os.rename(self._file(self._position[number]), self._file(position))
        return []

    def close(self) -> None:
        """Nothing is open."""

    def _file(self, position: int) -> Path:
        return self._path / f"image_{position:05d}.jpg"


class Mp4Spool:
    """An H.264 file at an even rate; a frame that is shown for longer is coded again.

    Encoded by one thread, so that the same frames give the same bytes.
    """

    def __init__(self, path: Path, numbers: Sequence[int], fps: float, crf: int) -> None:
        self._path = path
        self._fps = Fraction(fps).limit_denominator(1001)
        self._crf = crf
        self._left = list(dict.fromkeys(numbers))[::-1]
        self._times: dict[int, int] = {}
        for number in numbers:
            self._times[number] = self._times.get(number, 0) + 1
        self._waiting: dict[int, RGB] = {}
        self._count = 0
        self._container: Any = None
        self._stream: Any = None

    def put(self, number: int, rgb: RGB) -> None:
        """Takes a frame; one that comes before its turn waits."""
        self._waiting[number] = rgb
        while self._left and self._left[-1] in self._waiting:
            self._encode(self._left.pop())
        if sum(frame.nbytes for frame in self._waiting.values()) > MOST_WAITING:
            raise InputError(
                f"{self._path}: too many frames after one that cannot be decoded",
                code="damaged",
            )

    def finish(self, numbers: Sequence[int]) -> list[Member]:
        """One member: ``mp4``."""
        for number in sorted(self._waiting):
            self._encode(number)
        with self._coding():
            self._mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            return [Member("mp4", self._path.stat().st_size)]

    def close(self) -> None:
        """Ends the file, whole or not."""
        if self._container is not None:
            self._container.close()

    def _encode(self, number: int) -> None:
        rgb = self._waiting.pop(number)
        # The chroma of 4:2:0 has half the size.
        height, width = (max(2, side // 2 * 2) for side in rgb.shape[:2])
        if rgb.shape[:2] != (height, width):
            rgb = np.ascontiguousarray(_at_least_two(rgb)[:height, :width])
        if self._container is None:
            self._open(width, height)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p", threads=1)
        with self._coding():
            for _ in range(self._times[number]):
                frame.pts = self._count
                frame.time_base = 1 / self._fps
                self._count += 1
                self._mux(self._stream.encode(frame))

    def _open(self, width: int, height: int) -> None:
        with writing(self._path):
            self._container = av.open(
                str(self._path), "w", format="mp4", options={"fflags": "+bitexact"}
            )
        self._stream = self._container.add_stream(
            "libx264",
            rate=self._fps,
            options={"crf": str(self._crf), "preset": "veryfast", "bf": "0"},
        )
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._stream.gop_size = MP4_GROUP

    @contextlib.contextmanager
    def _coding(self) -> Iterator[None]:
        """Says what the encoder refuses, such as a picture wider than it can take."""
        with writing(self._path):
            try:
                yield
            except av.error.FFmpegError as error:
                if isinstance(error, OSError):
                    raise
                size = f"{self._stream.width} x {self._stream.height}"
                raise InputError(
                    f"{self._path}: H.264 cannot store its frames of {size}", code="unsupported"
                ) from error

    def _mux(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)


def _at_least_two(rgb: RGB) -> RGB:
    """A picture one pixel wide or high, doubled."""
    height, width = rgb.shape[:2]
    return np.pad(rgb, ((0, height == 1), (0, width == 1), (0, 0)), mode="edge")
