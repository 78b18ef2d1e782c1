"""A video file: what it is, which frames it has, and those frames."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError
from vidsampler.video.container import Deadline, PacketSource, usable_cpus
from vidsampler.video.decode import (
    ConverterPool,
    DecodedFrame,
    GroupDecoder,
    IndexMismatchError,
    Take,
    decode_in_order,
    decode_plan,
    upright_turn,
)
from vidsampler.video.index import FrameIndex, IntArray
from vidsampler.video.indexing import read_container_index, scan_packets
from vidsampler.video.plan import plan_decode
from vidsampler.video.structure import missing_bytes


class IndexChangedError(InputError):
    """The container's index was wrong: open the file again with ``trust_index=False``."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        path: the file.
        container, codec, pixel_format: FFmpeg's names.
        width, height: upright, in pixels.
        rotation: degrees by which the stored picture is turned counter-clockwise to stand upright.
        fps: mean frames a second (0 where it cannot be told).
        duration: seconds.
        time_base: seconds a tick.
        frames: how many frames are shown.
        size: bytes of the file.
    """

    path: str
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    fps: float
    duration: float
    time_base: Fraction
    frames: int
    size: int


class Video:
    """An open video file whose frames are decoded exactly and sparsely.

    Frames are numbered from 0 in showing order, and times count from the container's start.

    Not safe to share between threads; it starts its own.

    Args:
        path: the file.
        threads: decoder threads, 1 to 64; None takes what the process may use, at most 8.
        timeout: seconds for all work on this file; None is no limit.
        salvage: take what decodes of a file that is cut or damaged, instead of refusing it.
        trust_index: use the container's own index, if it has one; False reads all packets first.

    Raises:
        InputError: with the class of the fault as its ``code``.
        ValueError: ``threads`` is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int | None = None,
        timeout: float | None = None,
        salvage: bool = False,
        trust_index: bool = True,
    ) -> None:
        if threads is not None and not 1 <= threads <= 64:
            raise ValueError(f"threads must be 1 to 64, got {threads}")
        self.path = Path(path)
        self.threads = threads if threads is not None else min(8, usable_cpus())
        self.salvage = salvage
        self._undecodable: set[int] = set()
        self._deadline = Deadline(timeout, self.path)
        self._source = PacketSource(self.path, self._deadline)
        try:
            self._read_header()
            listed = read_container_index(self._source) if trust_index else None
            self.index = listed or self._scan()
            self._refuse_what_is_cut()
        except BaseException:
            self._source.close()
            raise

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._source.close()

    # ---------------------------------------------------------------- what it is

    def _read_header(self) -> None:
        container, stream = self._source.container, self._source.stream
        context = stream.codec_context
        self.time_base: Fraction = stream.time_base
        # The container's start is in microseconds; it may be an audio stream's.
        start = container.start_time
        self._origin = Fraction(start, 1_000_000) if start is not None else Fraction(0)
        self._container_name = container.format.name
        self._codec = context.name
        self._pixel_format = context.pix_fmt or ""
        self._size = (context.width, context.height)
        self._rate: Fraction | None = stream.average_rate or stream.guessed_rate
        self._duration: float
        if container.duration is not None:
            self._duration = container.duration / 1_000_000
        elif stream.duration is not None:
            self._duration = float(stream.duration * stream.time_base)
        else:
            self._duration = 0.0
        self._promised = int(stream.frames or 0)

    @property
    def fps(self) -> float:
        """Mean frames a second."""
        if self._rate:
            return self._rate.numerator / self._rate.denominator
        return float(self.index.frames / self.duration) if self.duration else 0.0

    @property
    def duration(self) -> float:
        """Seconds, as the container says, or up to the last frame."""
        if self._duration:
            return self._duration
        if not self.index.frames:
            return 0.0
        last = self.times([0, self.index.frames - 1])
        step = (last[1] - last[0]) / max(1, self.index.frames - 1)
        return float(last[1] + (step or 0.04))

    def info(self, rotation: int | None = None) -> VideoInfo:
        """What the video is.

        Args:
            rotation: As of a frame that was decoded; without it one is decoded to learn it.
        """
        if rotation is None:
            rotation = self._rotation()
        width, height = self._size if rotation % 180 == 0 else self._size[::-1]
        return VideoInfo(
            path=str(self.path),
            container=self._container_name,
            codec=self._codec,
            pixel_format=self._pixel_format,
            width=width,
            height=height,
            rotation=rotation,
            fps=self.fps,
            duration=self.duration,
            time_base=self.time_base,
            frames=self.index.frames,
            size=self.path.stat().st_size,
        )

    def _rotation(self) -> int:
        found = [0]

        def look(number: int, pts: int, frame: Any) -> None:
            found.append(upright_turn(frame))

        self.decode_into([0], lambda: look)
        return found[-1]

    # ---------------------------------------------------------------- which frames it has

    def _scan(self) -> FrameIndex:
        """Builds the index by a pass over all packets."""
        if not self._source.fresh:
            self._source.reopen()
        index = scan_packets(self._source)
        self._source.reopen()
        if index is None:
            raise InputError(f"{self.path}: there is no frame in it", code="no-video")
        return index

    def _rebuild(self) -> None:
        """Replaces a container's index that does not fit, if no frame changes its number.

        Raises:
            IndexChangedError: numbers that were given out mean other frames now.
        """
        old, new = self.index, self._scan()
        same = old.frames == new.frames and new.ordered
        for g, group in old.groups.items():
            first = int(old.first_frame[g])
            numbers = np.arange(first, first + len(group.shown_pts))
            same = same and np.array_equal(group.shown_pts, _pts_of(new, numbers))
        if not same:
            raise IndexChangedError(
                f"{self.path}: the container's index does not fit its packets",
                hint="open it with trust_index=False",
                code="index",
            )
        self.index = new

    def _refuse_what_is_cut(self) -> None:
        missing = self.index.missing_frames
        if not self.index.by_dts and missing_bytes(self.path):
            missing = max(1, self._promised - self.index.frames)
        if missing and not self.salvage:
            promised = f" of {self.index.frames + missing:,}" if self.index.by_dts else ""
            count = f"{missing:,}{promised} frames" if promised else "its last frames"
            raise InputError(
                f"{self.path}: the file is cut: {count} are missing",
                hint="copy or download it again, or take what is there with --salvage",
                code="truncated",
            )
        if not self.index.frames:
            raise InputError(f"{self.path}: there is no frame in it", code="no-video")

    def pts(self, numbers: npt.ArrayLike) -> IntArray:
        """(k,) presentation times of frames in stream ticks; reads packets, decodes nothing.

        Where a container's times do not tell which frame is which (AVI with B-frames), they are
        made from the frame rate.

        Raises:
            IndexError: there is no such frame.
        """
        wanted = self._checked(numbers)
        if not self.index.ordered:
            if not self._rate:
                return wanted
            step = 1 / (self._rate * self.time_base)
            return np.array([round(int(n) * step) for n in wanted], np.int64)
        self._load(self.index.group_of(wanted))
        return _pts_of(self.index, wanted)

    def _checked(self, numbers: npt.ArrayLike) -> IntArray:
        wanted = np.asarray(numbers, np.int64).ravel()
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self.index.frames:
            raise IndexError(
                f"frames {wanted.min()} to {wanted.max()} of a video of {self.index.frames}"
            )
        return wanted

    def times(self, numbers: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(k,) times of frames in seconds from the container's start."""
        origin = Fraction(0) if not self.index.ordered else self._origin
        base = self.time_base
        return np.array([float(int(p) * base - origin) for p in self.pts(numbers)], np.float64)

    def numbers_between(self, start: float | None, end: float | None) -> tuple[int, int]:
        """The frames shown from ``start`` up to, not including, ``end`` seconds: (first, past)."""
        first = 0 if start is None else self._first_at_or_after(start)
        past = self.index.frames if end is None else self._first_at_or_after(end)
        return first, past

    def _first_at_or_after(self, seconds: float) -> int:
        low, high = 0, self.index.frames
        while low < high:  # reads only the groups that it looks into
            middle = (low + high) // 2
            if self.times([middle])[0] < seconds - 1e-9:
                low = middle + 1
            else:
                high = middle
        return low

    def keyframes(self) -> IntArray:
        """(G,) frame numbers of the keyframes that are shown."""
        if not self.index.ordered:
            return self._keyframes_as_decoded()
        self._load(np.arange(self.index.group_count))
        numbers = [
            int(self.index.first_frame[g]) + group.leading
            for g, group in sorted(self.index.groups.items())
            if group.shown[0]
        ]
        return np.array(numbers, np.int64)

    def _keyframes_as_decoded(self) -> IntArray:
        """Where packets do not tell which frame is which, only decoding does."""
        found: list[int] = []

        def take(number: int, pts: int, frame: Any) -> None:
            if frame.key_frame:
                found.append(number)

        self.decode_into(range(self.index.frames), lambda: take)
        return np.array(sorted(found), np.int64)

    def _load(self, groups: npt.ArrayLike) -> None:
        """Makes sure that the packets of some groups are known."""
        missing = [int(g) for g in np.unique(groups) if int(g) not in self.index.groups]
        if not missing:
            return
        reader = GroupDecoder(self._source, self.index, lambda *_: None, self.threads)
        try:
            for g in missing:
                reader.read_group(g)
        except IndexMismatchError:
            self._rebuild()

    # ---------------------------------------------------------------- the frames themselves

    def frames(self, numbers: npt.ArrayLike, size: int | None = None) -> list[DecodedFrame]:
        """Decodes frames.

        Args:
            numbers: (k,) frame numbers; order and repeats do not matter.
            size: length of the shorter side in pixels, never enlarged; None keeps the source size.

        Returns:
            One frame for each distinct number, in showing order. With ``salvage`` those that cannot
            be decoded are left out.

        Raises:
            InputError: ``damaged`` if a frame cannot be decoded; ``timeout``; ``too-large``.
            IndexError: there is no such frame.
            ValueError: ``size`` is below 1.
        """
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        converters = ConverterPool(size, self.threads)
        wanted = np.unique(self._checked(numbers)).tolist()
        with converters:
            missing = self.decode_into(wanted, lambda: converters.take)
        taken = converters.taken
        if missing and not self.salvage:
            at = self.times(missing[:1])[0]
            raise InputError(
                f"{self.path}: {len(missing)} of {len(wanted)} frames cannot be decoded, the first "
                f"at {at:.2f} s (frame {missing[0]})",
                hint="the file is damaged; take what is there with --salvage",
                code="damaged",
            )
        return [taken[number] for number in wanted if number in taken]

    def iter_frames(
        self, numbers: npt.ArrayLike, size: int | None = None, *, batch: int = 64
    ) -> Iterator[DecodedFrame]:
        """Like `frames`, in batches, so that memory stays bounded."""
        wanted = np.unique(np.asarray(numbers, np.int64))
        for start in range(0, len(wanted), batch):
            yield from self.frames(wanted[start : start + batch], size)

    def decode_into(self, numbers: npt.ArrayLike, taker: Callable[[], Take]) -> list[int]:
        """Decodes frames and hands them over as the decoder gives them.

        Args:
            numbers: (k,) frame numbers.
            taker: makes one function for each decoder thread, which is called with the frame's
                number, its pts and the `av.VideoFrame` (not turned upright).

        Returns:
            The numbers of the frames that could not be decoded, ascending.
        """
        asked = set(self._checked(numbers).tolist())
        left = asked - self._undecodable
        lock = threading.Lock()

        def counted() -> Take:
            inner = taker()

            def take(number: int, pts: int, frame: Any) -> None:
                inner(number, pts, frame)
                with lock:
                    left.discard(number)

            return take

        if self.index.ordered and left:
            try:
                self._run_plan(left, counted)
            except IndexMismatchError:
                if self.index.by_dts:
                    self._rebuild()
                    self._run_plan_again(left, counted)
        if left:
            times: dict[int, int] | None = None
            if self.index.ordered:
                some = sorted(left)
                times = dict(zip(self.pts(some).tolist(), some, strict=True))
            self._source.reopen()
            decode_in_order(self._source, times, set(left), counted(), self.threads)
            self._source.reopen()
            self._undecodable |= left
        return sorted(left | asked & self._undecodable)

    def _run_plan(self, wanted: set[int], taker: Callable[[], Take]) -> None:
        plan = plan_decode(self.index, sorted(wanted), self.threads)
        decode_plan(self.path, self.index, plan, taker, self._deadline, self._source)

    def _run_plan_again(self, wanted: set[int], taker: Callable[[], Take]) -> None:
        # What even the scanned index does not lead to is decoded from the start.
        with contextlib.suppress(IndexMismatchError):
            self._run_plan(wanted, taker)


def _pts_of(index: FrameIndex, numbers: IntArray) -> IntArray:
    """(k,) presentation times of frames whose groups are known."""
    found = np.empty(len(numbers), np.int64)
    groups = index.group_of(numbers)
    for g in np.unique(groups):
        inside = groups == g
        found[inside] = index.groups[int(g)].shown_pts[numbers[inside] - index.first_frame[g]]
    return found


def probe(path: str | Path) -> VideoInfo:
    """What a video file is.

    Raises:
        InputError: with the class of the fault as its ``code``.
    """
    try:
        with Video(path) as video:
            return video.info()
    except IndexChangedError:
        with Video(path, trust_index=False) as video:
            return video.info()
