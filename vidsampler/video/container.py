"""Opening files safely, and reading packets from where a group starts.

Only files are opened (no other protocol), and only by demuxers of real video containers: a playlist
or concat script that calls itself .mp4 opens nothing else.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import av.stream

from vidsampler.errors import DeadlineError, InputError
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
        """Raises DeadlineError when the time is over."""
        if self._end is not None and time.monotonic() > self._end:
            raise DeadlineError(
                f"{self.path}: not done after {self.seconds:g} s",
                hint="give it longer with --timeout SECONDS",
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
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise InputError(
                f"{path}: not a regular file",
                hint="pipe it in: vidsampler select - < FILE",
                code="not-video",
            )
        with path.open("rb") as file:
            first = file.read(1)
    except FileNotFoundError:
        # A path has one slash left of the two of an address.
        address = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path))
        hint = "only files are read: download it first" if address else None
        raise InputError(f"{path}: no such file", hint=hint, code="missing") from None
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
    check_pixels(path, context.width, context.height)
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all
    return stream


def check_pixels(path: Path, width: int, height: int) -> None:
    """Raises InputError (class ``too-large``) for frames above `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: frames of {width} x {height} are over the limit of "
            f"{MAX_PIXELS // 1_000_000} megapixels",
            code="too-large",
        )


class PacketSource:
    """One open file that hands out the packets of its video stream, group after group.

    Not safe to share between threads: each decoder has its own.
    """

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self.path = path
        self.deadline = deadline
        self._packets: Iterator[Any] | None = None
        self._ahead: Any = None
        self.moves = 0
        """How often the position was changed; each time the decoder was emptied."""
        self._open()
        try:
            self.first = next(self.packets(), None)
            self._ahead, self.fresh = self.first, True
            self.primer = self._find_primer()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.container, self.stream = open_video(self.path)
        self.fresh = True  # nothing but, perhaps, the first packet has been read

    def _find_primer(self) -> Any:
        """The first packet, where a decoder must have seen it to decode any other one rightly.

        Old x264 encoders had faults that decoders undo, knowing them by the version that x264
        writes into the first packet only: core 33 and before, and before 151 with 4:4:4 chroma.
        """
        first = self.first
        if self.stream.codec_context.name != "h264" or first is None:
            return None
        version = re.search(rb"x264 - core +(\d+)", bytes(memoryview(first)[:2048]))
        oldest = 151 if "444" in (self.stream.codec_context.pix_fmt or "") else 34
        return first if version and int(version[1]) < oldest else None

    def reopen(self) -> None:
        """Starts again at the first packet, with a new decoder."""
        self.close()
        self.moves += 1
        self._open()

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
        except av.error.InvalidDataError:
            return  # the end of what is there of a damaged file
        except (av.error.FFmpegError, OSError) as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"{self.path}: cannot be read to its end: {reason}", code="unreadable"
            ) from error

    def go_to(self, time: int, *, by_dts: bool, seek_to: int, is_first: bool, near: bool) -> bool:
        """Moves to the packet with a certain time.

        Args:
            time: its DTS where ``by_dts``, else its PTS, in stream ticks.
            by_dts: which of the two.
            seek_to: a time from which seeking back finds that packet.
            is_first: it is the first keyframe, which a fresh file finds without seeking.
            near: the file stands a little before it: read on.

        Returns:
            False where the file does not lead there.
        """
        if (near or (is_first and self.fresh)) and self._found(time, by_dts):
            return True
        # Seek; seek a little earlier; read from the start.
        early = seek_to - round(2 / self.stream.time_base)
        for target in (seek_to, early, None):
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
        self.moves += 1
        if target is not None:
            try:
                self.container.seek(target, stream=self.stream, backward=True)
                return
            except (av.error.FFmpegError, OSError, OverflowError):
                pass  # no index to seek by
        self.reopen()


def usable_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
