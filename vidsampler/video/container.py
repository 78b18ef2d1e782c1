"""Opening files safely, and reading packets from where a group starts.

Only files are opened (no other protocol), and only by demuxers of real video containers: a playlist
or concat script that calls itself .mp4 opens nothing else.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import av.stream

from vidsampler.errors import InputError
from vidsampler.video.structure import missing_bytes

DEMUXERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,gif,flv,asf,ogg,h264,hevc,ivf,m4v"
"""FFmpeg demuxers that may open a file; none of them opens another one."""

MAX_PIXELS = 64_000_000
"""Frames with more pixels are refused."""


class Deadline:
    """A point in time after which work on a file stops.

    Args:
        seconds: from now; None never ends.
        path: the file, for the message.
    """

    def __init__(self, seconds: float | None, path: Path) -> None:
        self.seconds = seconds
        self.path = path
        self._end = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raises InputError (class ``timeout``) when the time is over."""
        if self._end is not None and time.monotonic() > self._end:
            raise InputError(
                f"{self.path}: not done after {self.seconds:g} s",
                hint="give it longer with --timeout SECONDS",
                code="timeout",
            )


def open_video(path: Path) -> tuple[Any, Any]:
    """Opens a file and finds its video stream; all other streams are discarded.

    Returns:
        The PyAV container and stream. The caller closes the container.

    Raises:
        InputError: missing, empty, unreadable, not-video, no-video, truncated or too-large.
    """
    check_file(path)
    try:
        container = av.open(
            # "file:" keeps a name with a colon from being read as another protocol.
            f"file:{path}",
            options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"},
            metadata_errors="ignore",
        )
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it", code="unreadable") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        cut = missing_bytes(path)
        if cut:
            raise InputError(
                f"{path}: the file is cut: {cut:,} bytes and with them its index are missing",
                hint="copy or download it again",
                code="truncated",
            ) from error
        raise InputError(
            f"{path}: not a video file that can be read",
            hint="vidsampler reads mp4, mov, mkv, webm, avi, ts, mpg, gif, flv, wmv and ogv",
            code="not-video",
        ) from error
    try:
        stream = _video_stream(path, container)
    except BaseException:
        container.close()
        raise
    return container, stream


def check_file(path: Path) -> None:
    """Raises InputError where there is no readable, non-empty file."""
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", code="missing") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a video file", code="not-video") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}", code="unreadable") from error
    except ValueError as error:  # a null byte in the name
        raise InputError(f"{str(path)!r}: not a file name", code="missing") from error
    if not first:
        raise InputError(f"{path}: the file is empty", code="empty")


def _video_stream(path: Path, container: Any) -> Any:
    # Cover pictures of audio files are video streams in name only.
    moving = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not moving:
        raise InputError(f"{path}: there is no video in it", code="no-video")
    stream = max(moving, key=lambda s: (bool(s.disposition & 1), -s.index))
    context = stream.codec_context
    if context is None:
        raise InputError(f"{path}: no decoder for its video codec", code="unsupported")
    if context.width * context.height > MAX_PIXELS:
        raise InputError(
            f"{path}: frames of {context.width} x {context.height} are over the limit of "
            f"{MAX_PIXELS // 1_000_000} megapixels",
            code="too-large",
        )
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all
    return stream


class PacketSource:
    """One open file that hands out the packets of its video stream, group after group.

    Not safe to share between threads: each decoder has its own.
    """

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self.path = path
        self.deadline = deadline
        self._packets: Iterator[Any] | None = None
        self._ahead: Any = None
        self._open()
        self.primer = self._find_primer()

    def _open(self) -> None:
        self.container, self.stream = open_video(self.path)
        self.fresh = True  # nothing but, perhaps, the first packet has been read

    def _find_primer(self) -> Any:
        """The first packet, where a decoder must have seen it to decode any other one rightly.

        Old x264 encoders had faults that decoders undo, knowing them by the version that x264
        writes into the first packet only: core 33 and before, and before 151 with 4:4:4 chroma.
        """
        if self.stream.codec_context.name != "h264":
            return None
        first = next(self.packets(), None)
        if first is None:
            return None
        self._ahead, self.fresh = first, True
        version = re.search(rb"x264 - core +(\d+)", bytes(memoryview(first)[:2048]))
        oldest = 151 if "444" in (self.stream.codec_context.pix_fmt or "") else 34
        return first if version and int(version[1]) < oldest else None

    def close(self) -> None:
        """Closes the file."""
        self._packets = None
        self._ahead = None
        self.container.close()

    def packets(self) -> Iterator[Any]:
        """The packets from here on, without the empty ones that mark the end."""
        if self._ahead is not None:
            packet, self._ahead = self._ahead, None
            self.fresh = False
            yield packet
        if self._packets is None:
            self._packets = self.container.demux(self.stream)
        try:
            for packet in self._packets:
                self.deadline.check()
                if packet.size:
                    self.fresh = False
                    yield packet
        except (av.error.FFmpegError, OSError):
            # The end of what can be read of a damaged file; the count shows what is missing.
            return

    def go_to(self, time: int, *, by_dts: bool, before: int, is_first: bool, near: bool) -> bool:
        """Moves to the packet with a certain time.

        Args:
            time: its DTS where ``by_dts``, else its PTS, in stream ticks.
            by_dts: which of the two.
            before: where to seek to: a time from which seeking back finds that packet.
            is_first: it is the first keyframe, which a fresh file finds without seeking.
            near: the file stands a little before it: read on.

        Returns:
            False where the file does not lead there.
        """
        if (near or (is_first and self.fresh)) and self._found(time, by_dts):
            return True
        # Seek; seek to the time itself; read from the start.
        for target in (before, time, None):
            self._seek(target)
            if self._found(time, by_dts):
                return True
        return False

    def _found(self, time: int, by_dts: bool) -> bool:
        for packet in self.packets():
            found = packet.dts if by_dts else packet.pts
            if found == time:
                self._ahead = packet
                return True
            if found is not None and found > time and packet.is_keyframe:
                return False  # seeking went past it
        return False

    def _seek(self, target: int | None) -> None:
        self._packets, self._ahead = None, None
        try:
            if target is not None:
                self.container.seek(target, stream=self.stream, backward=True)
                return
        except (av.error.FFmpegError, OSError, OverflowError):
            pass  # no index to seek by
        self.container.close()
        self._open()


def usable_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
