"""What `select` gives: the kept frames, and what can be made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler.errors import InputError
from vidsampler.files import make_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vidsampler.video import DecodedFrame, Video

FRAME_NAME = re.compile(r"\d{8}_\d+m\d\d\.\d{3}s\.jpg")
"""Names of the files that `Selection.write_frames` writes."""

_SHEET_CELLS = 120
"""A sheet shows no more candidates, unless more are kept."""


@dataclass(frozen=True)
class KeptFrame:
    """One kept frame.

    Attributes:
        index: frame number in the source, from 0 in showing order.
        pts: presentation time in ticks of the stream.
        time: seconds from the container's start.
        score: the sampler's own score, None where it has none; with a question, the cosine.
        query: the question that it is kept for.
    """

    index: int
    pts: int
    time: float
    score: float | None
    query: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        asked = {} if self.query is None else {"query": self.query}
        return {
            "index": self.index,
            "pts": self.pts,
            "time": round(self.time, 6),
            "score": None if self.score is None else round(self.score, 6),
            **asked,
        }


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
        seconds: time spent, by ``decode`` and ``sample``; with a question also ``encode``.
        reading: how the file is opened again: options of `vidsampler.video.Video`; a ``path`` in
            it stands for one that is not ``video`` (standard input).
        frames_in_source: how many frames the video has.
        looked_at: all candidates, in time order; scores where all of them have one.
        queries: the questions, if any were asked.
        model: the image-text model that scored the frames.
        cached: the candidates' features were there already.
        notes: what a user should know.
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
    frames_in_source: int = 0
    looked_at: tuple[KeptFrame, ...] = field(default=(), repr=False, compare=False)
    queries: tuple[str, ...] = ()
    model: str | None = None
    cached: bool = field(default=False, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``vidsampler select --json`` prints it."""
        asked = {"queries": list(self.queries), "model": self.model, "cached": self.cached}
        return {
            "video": self.video,
            "sampler": self.sampler,
            "duration": round(self.duration, 6),
            "fps": round(self.fps, 6),
            "candidates": self.candidates,
            "kept": [frame.to_json() for frame in self.kept],
            "gmacs": self.gmacs,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
            **(asked if self.queries else {}),
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
        return [frame.rgb for frame in self._decode(self.kept, size)]

    def write_frames(self, folder: str | Path, max_width: int | None = None) -> list[Path]:
        """Writes the kept frames as JPEGs whose names sort in time order.

        Names are the frame number and the time: ``00000123_0m04.920s.jpg``. Frames that an earlier
        selection left in the folder are removed.

        Args:
            folder: is made if need be.
            max_width: pixels; wider frames are made smaller. None: the source size.

        Raises:
            VidsamplerError: a file cannot be written.
        """
        from vidsampler.video.images import write_image

        folder = Path(folder)
        make_folder(folder)
        written = []
        for frame, picture in self._pictures(max_width):
            minutes, seconds = divmod(frame.time, 60)
            path = folder / f"{frame.index:08d}_{int(minutes)}m{seconds:06.3f}s.jpg"
            write_image(path, picture)
            written.append(path)
        for path in folder.iterdir():
            if FRAME_NAME.fullmatch(path.name) and path not in written:
                path.unlink()
        return written

    def message(
        self, model: str, *, files: Sequence[Path] = (), max_width: int | None = None
    ) -> dict[str, Any]:
        """The kept frames, their times and the questions, as a vision-language model takes them.

        Args:
            model: one of `vidsampler.handover.FORMATS`.
            files: what `write_frames` wrote; models on this machine (Qwen's) get these paths, the
                others the pictures themselves. Empty: the pictures themselves.
            max_width: pixels, where there are no files; wider frames are made smaller.

        Raises:
            UsageError: there is no such model.
            InputError: the file cannot be read any more.
        """
        from vidsampler.handover import Shot, Source, check_format, message
        from vidsampler.video.images import encode_image

        check_format(model)
        if files:
            kept = {frame.index: frame for frame in self.kept}
            named = [(kept[int(path.name.partition("_")[0])], path) for path in files]
            shots = [Shot(each.index, each.time, path.read_bytes(), path) for each, path in named]
        else:
            shots = [
                Shot(frame.index, frame.time, encode_image(picture))
                for frame, picture in self._pictures(max_width)
            ]
        if not shots:
            raise InputError(f"{self.video}: none of its frames can be decoded", code="damaged")
        source = Source(self.fps, self.duration, self.frames_in_source)
        return message(model, shots, source, "\n".join(self.queries))

    def write_sheet(self, path: str | Path, *, every: bool = False) -> None:
        """Writes a contact sheet: numbered frames with their times and scores.

        Args:
            path: the picture's file.
            every: show all candidates, the kept ones marked; of very many, an even part of those
                that are not kept.

        Raises:
            UsageError: the file's ending is not that of a picture.
            VidsamplerError: the file cannot be written.
        """
        from vidsampler.sheet import Cell, draw_sheet
        from vidsampler.timecode import format_time
        from vidsampler.video.images import image_format, write_image

        path = Path(path)
        image_format(path)
        shown = self._shown(every)
        numbers = {frame.index: number for number, frame in enumerate(self.kept, 1)}
        levels = _levels(self.looked_at or self.kept)
        frames = {frame.index: frame for frame in shown}
        cells = []
        # Not all of very many pictures at source size: the sheet's own size is small.
        for decoded in self._decode(shown, 360 if len(shown) <= 24 else 216):
            frame = frames[decoded.number]
            cells.append(
                Cell(
                    decoded.rgb,
                    format_time(frame.time),
                    frame=frame.index,
                    score=frame.score,
                    number=numbers.get(frame.index),
                    level=levels.get(frame.index),
                )
            )
        part = f"; {len(shown)} shown" if every and len(shown) < self.candidates else ""
        title = (
            f"{Path(self.video).name}   {format_time(self.duration)}   "
            f"{self.sampler} kept {len(self.kept)} of {self.candidates} candidates{part}"
        )
        picture = draw_sheet(cells, title, "   ".join(f'"{each}"' for each in self.queries))
        write_image(path, picture, quality=90)

    def _shown(self, every: bool) -> tuple[KeptFrame, ...]:
        """The frames of the sheet, in time order."""
        if not every or not self.looked_at:
            return self.kept
        kept = {frame.index: frame for frame in self.kept}
        others = [frame for frame in self.looked_at if frame.index not in kept]
        room = max(0, _SHEET_CELLS - len(kept))
        if len(others) > room:
            others = [others[(2 * i + 1) * len(others) // (2 * room)] for i in range(room)]
        return tuple(sorted([*self.kept, *others], key=lambda frame: frame.index))

    def _pictures(self, max_width: int | None) -> Iterator[tuple[KeptFrame, npt.NDArray[np.uint8]]]:
        """The kept frames, few at a time: they are large at source size."""
        from vidsampler.video.images import narrowed

        kept = {frame.index: frame for frame in self.kept}
        with self._open() as video:
            for frame in video.iter_frames(sorted(kept), batch=4):
                yield kept[frame.number], narrowed(frame.rgb, max_width)

    def _decode(self, wanted: Sequence[KeptFrame], size: int | None) -> list[DecodedFrame]:
        with self._open() as video:
            frames = video.frames([frame.index for frame in wanted], size)
        if not frames:
            raise InputError(f"{self.video}: none of its frames can be decoded", code="damaged")
        return frames

    def _open(self) -> Video:
        from vidsampler.video import Video

        options = {"path": self.video, **self.reading}
        return Video(options.pop("path"), **options)


def _levels(frames: Sequence[KeptFrame]) -> dict[int, float]:
    """Scores from 0 to 1, by frame number; nothing where they say nothing."""
    scores = {frame.index: frame.score for frame in frames if frame.score is not None}
    least, most = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    if most <= least:
        return {}
    return {index: (score - least) / (most - least) for index, score in scores.items()}
