"""Which frames of a video matter: the main job."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler import registry
from vidsampler.errors import InputError, UsageError, VidsamplerError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vidsampler.samplers.base import FrameSampler
    from vidsampler.video import DecodedFrame, Video

DENSE_RATE = 4.0
"""Candidates a second for samplers that look at the whole video."""
DENSE_LIMIT = 1024
"""The most candidates of such a sampler."""

FRAME_NAME = re.compile(r"\d{8}_\d+m\d\d\.\d{3}s\.jpg")
"""Names of the files that `Selection.write_frames` writes."""


@dataclass(frozen=True)
class KeptFrame:
    """One kept frame.

    Attributes:
        index: frame number in the source, from 0 in showing order.
        pts: presentation time in ticks of the stream.
        time: seconds from the container's start.
        score: the sampler's own score, None where it has none.
    """

    index: int
    pts: int
    time: float
    score: float | None


@dataclass(frozen=True)
class Selection:
    """The kept frames of a video, in time order.

    Attributes:
        video: the file as it was named.
        sampler: name of the sampler.
        duration: seconds.
        fps: mean frames a second of the source.
        candidates: how many frames the sampler looked at.
        kept: the kept frames.
        gmacs: billions of multiply-adds of neural networks (0 for samplers without training).
        seconds: time spent, by ``decode`` and ``sample``.
        reading: how the file is opened again: options of `vidsampler.video.Video`; a ``path`` in
            it stands for one that is not ``video`` (standard input).
    """

    video: str
    sampler: str
    duration: float
    fps: float
    candidates: int
    kept: tuple[KeptFrame, ...]
    gmacs: float
    seconds: dict[str, float]
    reading: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``vidsampler select --json`` prints it."""
        return {
            "video": self.video,
            "sampler": self.sampler,
            "duration": round(self.duration, 6),
            "fps": round(self.fps, 6),
            "candidates": self.candidates,
            "kept": [
                {
                    "index": frame.index,
                    "pts": frame.pts,
                    "time": round(frame.time, 6),
                    "score": None if frame.score is None else round(frame.score, 6),
                }
                for frame in self.kept
            ],
            "gmacs": self.gmacs,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
        }

    def frames(self, size: int | None = None) -> list[npt.NDArray[np.uint8]]:
        """Decodes the kept frames.

        Args:
            size: length of the shorter side in pixels, never enlarged; None is the source size.

        Returns:
            K arrays (H, W, 3) uint8 RGB, upright, in time order; all are held at once.

        Raises:
            InputError: the file cannot be read any more.
        """
        return [frame.rgb for frame in self._decode(size)]

    def write_frames(self, folder: str | Path) -> list[Path]:
        """Writes the kept frames at source size as JPEGs whose names sort in time order.

        Names are the frame number and the time: ``00000123_0m04.920s.jpg``. Frames that an earlier
        selection left in the folder are removed.

        Raises:
            VidsamplerError: a file cannot be written.
        """
        from vidsampler.video.images import write_image

        folder = Path(folder)
        make_folder(folder)
        times = {frame.index: frame.time for frame in self.kept}
        written = []
        with self._open() as video:
            # Few at a time: frames at source size are large.
            for frame in video.iter_frames(sorted(times), batch=4):
                minutes, seconds = divmod(times[frame.number], 60)
                path = folder / f"{frame.number:08d}_{int(minutes)}m{seconds:06.3f}s.jpg"
                write_image(path, frame.rgb)
                written.append(path)
        for path in folder.iterdir():
            if FRAME_NAME.fullmatch(path.name) and path not in written:
                path.unlink()
        return written

    def write_sheet(self, path: str | Path) -> None:
        """Writes a contact sheet: the kept frames, numbered, with their times.

        Raises:
            UsageError: the file's ending is not that of a picture.
            VidsamplerError: the file cannot be written.
        """
        from vidsampler.sheet import caption, draw_sheet
        from vidsampler.timecode import format_time
        from vidsampler.video.images import write_image

        path = Path(path)
        title = (
            f"{Path(self.video).name}   {format_time(self.duration)}   "
            f"{self.sampler}, {len(self.kept)} of {self.candidates} candidates"
        )
        frames = self._decode(360)
        kept = {frame.index: frame for frame in self.kept}
        captions = [
            caption(number, kept[frame.number].time, frame.number, kept[frame.number].score)
            for number, frame in enumerate(frames, 1)
        ]
        picture = draw_sheet([frame.rgb for frame in frames], captions, title)
        write_image(path, picture, quality=90)

    def _decode(self, size: int | None) -> list[DecodedFrame]:
        with self._open() as video:
            frames = video.frames([frame.index for frame in self.kept], size)
        if not frames:
            raise InputError(f"{self.video}: none of its frames can be decoded", code="damaged")
        return frames

    def _open(self) -> Video:
        from vidsampler.video import Video

        options = {"path": self.video, **self.reading}
        return Video(options.pop("path"), **options)


def select(
    video: str | Path,
    k: int = 8,
    *,
    sampler: str = "coverage",
    candidates: int = 64,
    start: float | None = None,
    end: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    timeout: float | None = None,
    salvage: bool = False,
) -> Selection:
    """Chooses the frames of a video that matter.

    Args:
        video: a file that PyAV can open.
        k: how many frames to keep; all there are where there are fewer.
        sampler: name of a registered sampler that needs no training.
        candidates: how many frames, evenly spread, the sampler looks at (at least ``k``).
            ``keyframe`` and ``scene`` bring their own.
        start, end: keep only frames shown from ``start`` up to ``end`` seconds.
        seed: of samplers that draw at random.
        threads: decoder threads; None takes what the process may use.
        timeout: seconds for all decoding of this file.
        salvage: take what decodes of a cut or damaged file, instead of refusing it.

    Returns:
        The selection, kept frames in time order.

    Raises:
        UsageError: an unknown or a learned sampler, a number out of range, or no frame in the
            window.
        InputError: the file cannot be read; its ``code`` is the class of the fault.

    Example:
        >>> import vidsampler
        >>> selection = vidsampler.select("tests/data/clip.mp4", k=4)
        >>> len(selection.kept)
        4
    """
    check_numbers(k, candidates, start, end, threads, timeout)
    registry.check_training_free(sampler)
    chooser: FrameSampler = registry.load("samplers", sampler)
    from vidsampler.video.reader import IndexChangedError

    reading = {"threads": threads, "timeout": timeout, "salvage": salvage}
    for trust_index in (True, False):
        try:
            return _select(
                str(video),
                chooser,
                k,
                candidates,
                (start, end),
                seed,
                {**reading, "trust_index": trust_index},
            )
        except IndexChangedError:
            if not trust_index:
                raise
    raise AssertionError("the second round returns or raises")


def _select(
    video: str,
    chooser: FrameSampler,
    k: int,
    candidates: int,
    window: tuple[float | None, float | None],
    seed: int,
    reading: dict[str, Any],
) -> Selection:
    import numpy as np

    from vidsampler.samplers.features import CANDIDATE_SIZE, light_features
    from vidsampler.video import Video

    clock = time.perf_counter()
    with Video(video, **reading) as source:
        numbers = candidate_numbers(source, chooser, k, candidates, *window)
        decoded: list[DecodedFrame] = []
        # Without features nothing is decoded; but of a damaged file only what decodes is kept.
        if chooser.needs_features or reading["salvage"]:
            decoded = source.frames(numbers, CANDIDATE_SIZE)
            if not decoded:
                raise InputError(f"{video}: none of its frames can be decoded", code="damaged")
            numbers = np.array([frame.number for frame in decoded], np.int64)
        pts, times = source.pts(numbers), source.times(numbers)
        decoding = time.perf_counter() - clock
        features = None
        if chooser.needs_features:
            features = light_features(_same_shape([frame.rgb for frame in decoded]))
        choice = chooser.choose(times, features, k, seed=seed)
        scores = choice.scores
        kept = tuple(
            KeptFrame(
                index=int(numbers[i]),
                pts=int(pts[i]),
                time=float(times[i]),
                score=None if scores is None else float(scores[position]),
            )
            for position, i in enumerate(choice.indices)
        )
        return Selection(
            video=video,
            sampler=chooser.name,
            duration=source.duration,
            fps=source.fps,
            candidates=len(numbers),
            kept=kept,
            gmacs=0.0,
            seconds={"decode": decoding, "sample": time.perf_counter() - clock - decoding},
            reading=reading,
        )


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it.

    Raises:
        VidsamplerError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VidsamplerError(
            f"{folder}: cannot be made: {error.strerror or error}", code="unwritable"
        ) from error


def check_numbers(
    k: int,
    candidates: int,
    start: float | None,
    end: float | None,
    threads: int | None = None,
    timeout: float | None = None,
) -> None:
    """Refuses numbers that make no sense.

    Raises:
        UsageError: with the number in it.
    """
    if k < 1:
        raise UsageError(f"at least 1 frame must be kept, not {k}", hint="try -k 8")
    if candidates < 1:
        raise UsageError(
            f"at least 1 candidate is needed, not {candidates}", hint="try --candidates 64"
        )
    if start is not None and end is not None and start >= end:
        raise UsageError(f"--from {start:g} s must be before --to {end:g} s")
    if threads is not None and not 1 <= threads <= 64:
        raise UsageError(f"--threads must be 1 to 64, not {threads}")
    if timeout is not None and timeout <= 0:
        raise UsageError(f"--timeout must be more than 0 seconds, not {timeout:g}")


def candidate_numbers(
    source: Video,
    sampler: FrameSampler,
    k: int,
    candidates: int,
    start: float | None,
    end: float | None,
) -> npt.NDArray[np.int64]:
    """The distinct frame numbers that a sampler looks at, ascending.

    Raises:
        UsageError: there is no frame between ``start`` and ``end``.
    """
    import numpy as np

    from vidsampler.video.positions import uniform_positions

    first, past = source.numbers_between(start, end)
    if first >= past:
        raise UsageError(
            f"{source.path}: there is no frame "
            + (f"after {start:g} s" if end is None else f"from {start or 0:g} s to {end:g} s"),
            hint=f"the video lasts {source.duration:.2f} s",
        )
    if sampler.candidates == "keyframes":
        keyframes = source.keyframes()
        inside = keyframes[(keyframes >= first) & (keyframes < past)]
        if len(inside):
            return inside
        # A window between two keyframes: its first frame stands for it.
        return np.array([first], np.int64)
    if sampler.candidates == "kept":
        count = k
    elif sampler.candidates == "dense":
        span = (past - first) / (source.fps or 25.0)
        count = min(DENSE_LIMIT, max(k, candidates, int(np.ceil(span * DENSE_RATE))))
    else:
        count = max(k, candidates)
    # More candidates than frames would only name frames twice.
    count = min(count, past - first)
    return np.unique(first + uniform_positions(past - first, count))


def _same_shape(pictures: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """(N, H, W, 3); a stream that changes its size midway is cut to the smallest picture."""
    import numpy as np

    height = min(p.shape[0] for p in pictures)
    width = min(p.shape[1] for p in pictures)
    return np.stack([p[:height, :width] for p in pictures])
