"""Decoding by a plan: a few threads, each with its own file and decoder; PyAV frees the GIL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from vidsampler.video.bitstream import PacketReader
from vidsampler.video.container import MAX_PIXELS, Deadline, PacketSource, check_pixels
from vidsampler.video.index import NO_TIME, FrameIndex, Group
from vidsampler.video.plan import Feed, Job, Plan, plan_feed

RGB = npt.NDArray[np.uint8]


class IndexMismatchError(Exception):
    """The file's packets are not what its index said."""


@dataclass(frozen=True)
class DecodedFrame:
    """One frame of a video.

    Attributes:
        number: its number, from 0 in showing order.
        pts: presentation time in stream ticks.
        rgb: (H, W, 3) uint8, upright.
    """

    number: int
    pts: int
    rgb: RGB


# At the source's own size FFmpeg takes these to planar RGB by a shortcut that leaves the columns
# after the last multiple of 16 unwritten (whatever was in memory) and is a level too dark. With
# chroma at full size first, there is no shortcut.
_FULL_CHROMA = {
    "yuv420p": "yuv444p",
    "yuv422p": "yuv444p",
    "yuva420p": "yuv444p",
    "yuvj420p": "yuvj444p",
    "yuvj422p": "yuvj444p",
}


class FrameConverter:
    """Scales in the decoder's own scaler, straight to the final size, then turns upright.

    Args:
        size: length of the shorter side in pixels, never enlarged; None keeps the source size.

    Mirrored display matrices and pixels that are not square are left as they are stored.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self._reformatter = VideoReformatter()
        self._chroma = VideoReformatter()

    def __call__(self, frame: Any) -> RGB:
        """(H, W, 3) uint8 RGB."""
        width, height = scaled_size(frame.width, frame.height, self.size)
        full_chroma = _FULL_CHROMA.get(frame.format.name)
        if full_chroma is not None and (width, height) == (frame.width, frame.height):
            frame = self._reformat(self._chroma, frame, full_chroma, width, height)
        # Planar: FFmpeg's packed rgb24 is half as fast and, scaled down, about 1.5 levels too dark.
        planar = self._reformat(self._reformatter, frame, "gbrp", width, height)
        picture: RGB = planar.to_ndarray()
        turns = upright_turn(frame) // 90
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    @staticmethod
    def _reformat(
        reformatter: VideoReformatter, frame: Any, format: str, width: int, height: int
    ) -> Any:
        bicubic = Interpolation.BICUBIC
        return reformatter.reformat(
            frame, width=width, height=height, format=format, interpolation=bicubic, threads=1
        )


def upright_turn(frame: Any) -> int:
    """Degrees, 0 to 270, by which a frame is turned counter-clockwise to stand upright."""
    turn: int = round(frame.rotation / 90) * 90 % 360
    return turn


def scaled_size(width: int, height: int, shorter: int | None) -> tuple[int, int]:
    """(width, height) with the shorter side at ``shorter`` pixels, never enlarged."""
    if shorter is None or min(width, height) <= shorter:
        return width, height
    if width <= height:
        return shorter, max(1, round(height * shorter / width))
    return max(1, round(width * shorter / height)), shorter


class ConverterPool:
    """Converts frames beside the decoders, so that no decoder waits for the scaler.

    Args:
        size: as for `FrameConverter`.
        threads: how many frames are converted at once; with 1 the decoder's thread does it.

    Attributes:
        taken: the frames, by number; complete when the ``with`` block ends.
    """

    def __init__(self, size: int | None, threads: int) -> None:
        self.taken: dict[int, DecodedFrame] = {}
        self._size = size
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(threads, "convert") if threads > 1 else None
        # Waiting frames are at source size: only a few may wait.
        self._room = threading.BoundedSemaphore(threads + 2)
        self._futures: list[Future[None]] = []

    def __enter__(self) -> ConverterPool:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._pool is None:
            return
        self._pool.shutdown(wait=True)
        if error is None:
            for future in self._futures:
                future.result()

    def take(self, number: int, pts: int, frame: Any) -> None:
        """A `Take`, for any thread."""
        if self._pool is None:
            self._convert(number, pts, frame)
            return
        self._room.acquire()
        self._futures.append(self._pool.submit(self._convert_one, number, pts, frame))

    def _convert_one(self, number: int, pts: int, frame: Any) -> None:
        try:
            self._convert(number, pts, frame)
        finally:
            self._room.release()

    def _convert(self, number: int, pts: int, frame: Any) -> None:
        if not hasattr(self._local, "converter"):
            self._local.converter = FrameConverter(self._size)
        self.taken[number] = DecodedFrame(number, pts, self._local.converter(frame))


Take = Callable[[int, int, Any], None]
"""Called with (frame number, pts, av.VideoFrame), in any thread, for each wanted frame."""


def decode_plan(
    path: Path,
    index: FrameIndex,
    plan: Plan,
    take: Callable[[], Take],
    deadline: Deadline,
    source: PacketSource,
) -> None:
    """Decodes what a plan says.

    Args:
        path: the file.
        index: its frames; groups that are read on the way are added to it. Threads share it:
            entries are only added, and two threads add equal ones.
        plan: what to decode.
        take: makes one `Take` for each decoder thread.
        deadline: when to stop.
        source: an open source of the same file, used by the first decoder.

    Raises:
        IndexMismatchError: the index does not describe the file.
        InputError: the deadline has passed, or a frame is too large.
    """
    jobs = iter(plan.jobs)
    lock = threading.Lock()
    stop = threading.Event()

    def next_job() -> Job | None:
        with lock:
            return None if stop.is_set() else next(jobs, None)

    def work(own: PacketSource | None) -> None:
        try:
            opened = own or PacketSource(path, deadline)
            try:
                decoder = GroupDecoder(opened, index, take(), plan.threads_each, stop)
                while (job := next_job()) is not None:
                    decoder.run(job)
            finally:
                if own is None:
                    opened.close()
        except _StoppedError:
            pass
        except BaseException:
            stop.set()
            raise

    if plan.decoders == 1:
        work(source)
        return
    with ThreadPoolExecutor(plan.decoders, thread_name_prefix="decode") as pool:
        futures = [pool.submit(work, source if i == 0 else None) for i in range(plan.decoders)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            raise


class _StoppedError(Exception):
    """Another thread has failed, or the user has had enough."""


class GroupDecoder:
    """One decoder that works through jobs.

    Args:
        source: an open file that nobody else reads.
        index: the frames of the file.
        take: called for each wanted frame.
        threads: threads of the decoder.
        stop: ends the work when it is set.
    """

    def __init__(
        self,
        source: PacketSource,
        index: FrameIndex,
        take: Take,
        threads: int,
        stop: threading.Event | None = None,
    ) -> None:
        self.source = source
        self.index = index
        self.take = take
        self.threads = threads
        self._stop = stop
        context = source.stream.codec_context
        if context.is_open and context.thread_count != threads:
            source.reopen()  # an open decoder keeps its threads
            context = source.stream.codec_context
        self._reader = PacketReader(context.name, context.extradata)
        self._at: int | None = None  # the source stands at or in this group
        self._buffered: dict[int, list[Any]] = {}
        self._pending: dict[int, int] = {}
        # How often the source had moved when the decoder got the references that it holds.
        self._holds: int | None = None

    def run(self, job: Job) -> None:
        """Decodes the wanted frames of one job and hands them to ``take``."""
        wanted: dict[int, list[int]] = {g: [] for g in range(job.first_group, job.last_group + 1)}
        for number in job.wanted:
            wanted[int(self.index.group_of(number))].append(number)
        self._buffered.clear()
        continues = False  # the decoder holds the references of the group before
        planned: Feed | None = None
        for g, numbers in wanted.items():
            feed = planned or self._feed_plan(g, numbers)
            if feed.leading and not continues and g > 0:
                # Shown before the keyframe: they may refer to pictures of the group before.
                self._feed(g - 1, self._feed_plan(g - 1, [], whole=True))
            following = wanted.get(g + 1)
            planned = None
            if following is not None:
                if g + 1 not in self.index.groups and g not in self._buffered:
                    # Reading ahead must not make it necessary to go back: that empties decoders.
                    self._buffered[g] = list(self._packets(g))
                planned = self._feed_plan(g + 1, following)
            continues = planned is not None and planned.leading
            self._feed(g, self._feed_plan(g, numbers, whole=True) if continues else feed)
            if not continues:
                self._drain()

    def read_group(self, g: int) -> None:
        """Learns what there is to know of a group's packets, without decoding."""
        self._group(g)
        self._buffered.clear()

    def _feed_plan(self, g: int, numbers: list[int], *, whole: bool = False) -> Feed:
        first_frame = int(self.index.first_frame[g])
        return plan_feed(self._group(g), first_frame, tuple(numbers), whole=whole)

    def _group(self, g: int) -> Group:
        """What is known of a group's packets; reads them where it is not known yet."""
        index = self.index
        if g in index.groups:
            return index.groups[g]
        packets = self._buffered[g] = list(self._packets(g))
        if len(packets) < index.packet_counts[g] or any(p.pts is None for p in packets):
            raise IndexMismatchError
        group = Group.from_facts(
            (packet.pts for packet in packets),
            (packet.is_discard for packet in packets),
            [self._reader.facts(memoryview(packet), packet.is_keyframe) for packet in packets],
        )
        if not index.accepts(g, group):
            raise IndexMismatchError
        index.groups[g] = group
        return group

    def _packets(self, g: int) -> Iterator[Any]:
        """The packets of a group, from the file or as read before."""
        if g in self._buffered:
            yield from self._buffered[g]
            return
        index = self.index
        found = self.source.go_to(
            int(index.entry_time[g]),
            by_dts=index.by_dts,
            seek_to=int(index.seek_time[g]),
            is_first=g == 0,
            near=self._at is not None and g - 1 <= self._at <= g,
        )
        if not found:
            raise IndexMismatchError
        self._at = g
        count = int(index.packet_counts[g])
        for position, packet in enumerate(self.source.packets(), 1):
            yield packet
            if position == count:
                self._at = g + 1
                return

    def _feed(self, g: int, feed: Feed) -> None:
        self._pending.update(feed.wanted)
        chosen = np.flatnonzero(feed.packets)
        if len(chosen):
            last = int(chosen[-1])
            for position, packet in enumerate(self._packets(g)):
                if feed.packets[position]:
                    self._deliver(packet)
                if position == last:
                    break
        self._buffered.pop(g, None)

    def _deliver(self, packet: Any) -> None:
        """Gives the decoder a packet and passes on the wanted frames that it shows."""
        if self._holds is not None and self._holds != self.source.moves:
            raise IndexMismatchError  # going elsewhere in the file has emptied the decoder
        context = self.source.stream.codec_context
        if not context.is_open:
            configure_decoder(context, self.threads)
            if self.source.primer is not None:
                self._decode(self.source.primer, {})
                self._decode(None, {})
                context.flush_buffers()
        self._holds = self.source.moves
        self._decode(packet, self._pending)

    def _drain(self) -> None:
        if self._holds is not None:
            self._decode(None, self._pending)
            self.source.stream.codec_context.flush_buffers()
        self._holds = None
        self._pending.clear()

    def _decode(self, packet: Any, pending: dict[int, int]) -> None:
        self.source.deadline.check()
        if self._stop is not None and self._stop.is_set():
            raise _StoppedError
        for frame in decoded(self.source.stream.codec_context, packet):
            number = pending.pop(frame.pts, None)
            if number is not None:
                check_pixels(self.source.path, frame.width, frame.height)
                self.take(number, frame.pts, frame)


def decoded(context: Any, packet: Any) -> list[Any]:
    """The frames that a decoder shows after a packet (None: the end); none for a damaged one."""
    try:
        frames: list[Any] = context.decode(packet)
    except av.error.FFmpegError:
        return []  # if a frame in it was wanted, it will be missed
    return frames


def configure_decoder(context: Any, threads: int) -> None:
    """Sets the threads and the limits of a decoder that is not open yet."""
    context.thread_count = threads
    context.thread_type = "FRAME" if threads > 1 else "SLICE"
    context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}


def decode_in_order(
    source: PacketSource, wanted: dict[int, int] | None, numbers: set[int], take: Take, threads: int
) -> None:
    """Decodes from the start to the last wanted frame with everything fed: the reference.

    Args:
        source: a file at its start.
        wanted: presentation time -> frame number; None counts the frames as they are shown.
        numbers: the wanted frame numbers.
        take: called for each wanted frame.
        threads: threads of the decoder.
    """
    context = source.stream.codec_context
    configure_decoder(context, threads)
    left = set(numbers)
    shown = 0
    for packet in chain(source.packets(), (None,)):  # None: the end
        source.deadline.check()
        for frame in decoded(context, packet):
            number: int | None = shown if wanted is None else wanted.get(frame.pts)
            shown += 1
            if number in left:
                check_pixels(source.path, frame.width, frame.height)
                take(number, frame.pts if frame.pts is not None else NO_TIME, frame)
                left.discard(number)
        if not left:
            return
