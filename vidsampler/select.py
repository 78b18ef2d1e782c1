"""Which frames of a video matter: the main job."""

from __future__ import annotations

import time
from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler import registry
from vidsampler.config import KEPT, kept_and_candidates
from vidsampler.errors import InputError, UsageError
from vidsampler.query import ImageText, check_one_sampler, check_questions
from vidsampler.selection import KeptFrame as KeptFrame
from vidsampler.selection import Selection as Selection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vidsampler.learned import TrainedSampler
    from vidsampler.samplers.base import FrameSampler
    from vidsampler.samplers.scores import QuerySampler
    from vidsampler.video import DecodedFrame, Video

DENSE_RATE = 4.0
"""Candidates a second for samplers that look at the whole video."""
DENSE_LIMIT = 1024
"""The most candidates of such a sampler."""


def select(
    video: str | Path,
    k: int | None = None,
    *,
    sampler: str | None = None,
    checkpoint: str | Path | None = None,
    candidates: int | None = None,
    start: float | None = None,
    end: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    timeout: float | None = None,
    salvage: bool = False,
    query: str | Sequence[str] = (),
    backbone: str | None = None,
    pretrained: str = "auto",
    precision: str = "fp32",
    min_gap: float = 0.0,
    cache: bool = True,
    model: ImageText | None = None,
) -> Selection:
    """Chooses the frames of a video that matter.

    Args:
        video: a file that PyAV can open.
        k: how many frames to keep; all there are where there are fewer. None: 8, or as many as the
            checkpoint keeps.
        sampler: name of a registered sampler that needs no training; None: ``coverage``, or
            ``mdp3`` where there is a question.
        checkpoint: a checkpoint or run of ``train`` whose learned sampler chooses, in place of
            ``sampler``.
        candidates: how many frames, evenly spread, the sampler looks at (at least ``k``).
            ``keyframe`` and ``scene`` bring their own. None: 64, or as many as the checkpoint looks
            at.
        start, end: keep only frames shown from ``start`` up to ``end`` seconds.
        seed: of samplers that draw at random.
        threads: decoder threads; None takes what the process may use.
        timeout: seconds for all decoding of this file.
        salvage: take what decodes of a cut or damaged file, instead of refusing it.
        query: what the kept frames are to show, in words; several questions share ``k``.
        backbone, pretrained, precision: of the image-text model that scores frames by the question;
            see `vidsampler.query.ImageText`.
        min_gap: seconds between two frames that are kept for a question, at least; less than ``k``
            are kept where no more fit.
        cache: keep the candidates' features on the disk, so that the next question to the same
            video decodes and encodes nothing.
        model: a model that is loaded already, in place of ``backbone`` and the two after it.

    Returns:
        The selection, kept frames in time order.

    Raises:
        UsageError: an unknown or a learned sampler, a number out of range, no frame in the window,
            or a question that cannot be asked.
        InputError: the file cannot be read; its ``code`` is the class of the fault.

    Example:
        >>> import vidsampler
        >>> selection = vidsampler.select("tests/data/clip.mp4", k=4)
        >>> len(selection.kept)
        4
    """
    check_numbers(k, candidates, start, end, threads, timeout)
    queries = (query,) if isinstance(query, str) else tuple(query)
    check_questions(
        queries,
        KEPT if k is None else k,
        min_gap,
        backbone,
        pretrained,
        precision,
        model=model is not None,
    )
    check_one_sampler(
        sampler, None if checkpoint is None else str(checkpoint), question=bool(queries)
    )
    chooser: Any = None
    if checkpoint is None:
        sampler = sampler or registry.default_sampler(question=bool(queries))
        registry.check_ready(sampler, question=bool(queries))
    if sampler is None or registry.entry("samplers", sampler).shipped:
        from vidsampler.learned import trained_sampler

        chooser = trained_sampler(checkpoint)
    else:
        chooser = registry.load("samplers", sampler)
    # A checkpoint chooses as its run does; `gate` keeps as many as it wants.
    run = None if checkpoint is None else chooser
    own_k, candidates = kept_and_candidates(k, candidates, run)
    k = own_k or candidates
    if queries and model is None:
        assert backbone is not None
        model = ImageText(backbone, pretrained, precision)
    from vidsampler.samplers.base import FrameSampler as Free
    from vidsampler.video.reader import IndexChangedError

    reading = {"threads": threads, "timeout": timeout, "salvage": salvage}
    for trust_index in (True, False):
        job = _Job(str(video), k, candidates, (start, end), {**reading, "trust_index": trust_index})
        try:
            if model is not None and queries:
                return job.by_questions(chooser, queries, model, min_gap, cache)
            if isinstance(chooser, Free):
                return job.by_looks(chooser, seed)
            return job.by_training(chooser)
        except IndexChangedError:
            if not trust_index:
                raise
    raise AssertionError("the second round returns or raises")


@dataclass(frozen=True)
class _Job:
    """One video and which of its frames are candidates."""

    video: str
    k: int
    candidates: int
    window: tuple[float | None, float | None]
    reading: dict[str, Any]

    def by_looks(self, chooser: FrameSampler, seed: int) -> Selection:
        """Chooses by times and light features, or by times alone."""
        import numpy as np

        from vidsampler.samplers.features import CANDIDATE_SIZE, light_features
        from vidsampler.video import Video

        clock = time.perf_counter()
        with Video(self.video, **self.reading) as source:
            numbers = candidate_numbers(source, chooser, self.k, self.candidates, *self.window)
            decoded: list[DecodedFrame] = []
            # Without features nothing is decoded; but of a damaged file only what decodes is kept.
            if chooser.needs_features or source.salvage:
                decoded = source.frames(numbers, CANDIDATE_SIZE)
                self._need(decoded)
                numbers = np.array([frame.number for frame in decoded], np.int64)
            frames = _frames(source, numbers)
            decoding = time.perf_counter() - clock
            features = None
            if chooser.needs_features:
                features = light_features(_same_shape([frame.rgb for frame in decoded]))
            times = np.array([frame.time for frame in frames])
            choice = chooser.choose(times, features, self.k, seed=seed)
            scores = [None] * len(choice.indices) if choice.scores is None else choice.scores
            kept = [
                replace(frames[i], score=None if score is None else float(score))
                for i, score in zip(choice.indices.tolist(), scores, strict=True)
            ]
            seconds = {"decode": decoding, "sample": time.perf_counter() - clock - decoding}
            return self._selection(source, chooser.name, kept, frames, seconds)

    def by_training(self, chooser: TrainedSampler) -> Selection:
        """Chooses by what a policy network makes of the pictures."""
        import numpy as np

        from vidsampler.video import Video

        clock = time.perf_counter()
        with Video(self.video, **self.reading) as source:
            numbers = candidate_numbers(source, chooser, self.k, self.candidates, *self.window)
            decoded = source.frames(numbers, chooser.size)
            self._need(decoded)
            frames = _frames(source, np.array([frame.number for frame in decoded], np.int64))
            decoding = time.perf_counter() - clock
            # Of a video with fewer frames than are wanted, each keeps its place among these.
            whole = max(self.k, self.candidates)
            choice = chooser.choose(_same_shape([frame.rgb for frame in decoded]), self.k, whole)
            assert choice.scores is not None
            kept = [
                replace(frames[i], score=float(score))
                for i, score in zip(choice.indices.tolist(), choice.scores, strict=True)
            ]
            seconds = {"decode": decoding, "sample": time.perf_counter() - clock - decoding}
            found = self._selection(source, chooser.name, kept, frames, seconds)
            return replace(found, gmacs=round(chooser.gmacs(len(frames)), 4))

    def by_questions(
        self,
        chooser: QuerySampler,
        queries: tuple[str, ...],
        model: ImageText,
        min_gap: float,
        cache: bool,
    ) -> Selection:
        """Chooses by the scores of an image-text model."""
        import numpy as np

        from vidsampler.feature_cache import FeatureCache
        from vidsampler.query import choose_by_questions, see, shortened
        from vidsampler.video import Video

        model.load()
        clock = time.perf_counter()
        with Video(self.video, **self.reading) as source:
            numbers = candidate_numbers(source, chooser, self.k, self.candidates, *self.window)
            seen = see(source, numbers, model, FeatureCache() if cache else None)
            self._need(seen.numbers_N)
            frames = _frames(source, seen.numbers_N)
            asking = time.perf_counter()
            texts_QD, cut = model.texts(queries)
            encoding = seen.encoding + time.perf_counter() - asking
            scores_QN = texts_QD @ seen.features_ND.T
            times = np.array([frame.time for frame in frames])
            kept, owners = choose_by_questions(
                chooser, scores_QN, seen.features_ND, times, self.k, min_gap
            )
            looked_at = [
                replace(frame, score=float(score))
                for frame, score in zip(frames, scores_QN.max(0), strict=True)
            ]
            found = [
                replace(frames[i], score=float(scores_QN[owner, i]), query=queries[owner])
                for i, owner in zip(kept.tolist(), owners.tolist(), strict=True)
            ]
            spent = time.perf_counter() - clock
            seconds = {"decode": seen.decoding, "encode": encoding}
            seconds["sample"] = spent - seen.decoding - encoding
            gmacs = len(queries) * model.gmacs_text
            gmacs += 0.0 if seen.cached else len(frames) * model.gmacs_frame
            notes = [
                f"too long for the model, its end is not read: {shortened(each)}" for each in cut
            ]
            return replace(
                self._selection(source, chooser.name, found, looked_at, seconds),
                gmacs=round(gmacs, 4),
                queries=queries,
                model=model.config.name,
                cached=seen.cached,
                notes=(*notes, *([seen.note] if seen.note else [])),
            )

    def _need(self, found: Sized) -> None:
        if not len(found):
            raise InputError(f"{self.video}: none of its frames can be decoded", code="damaged")

    def _selection(
        self,
        source: Video,
        sampler: str,
        kept: Sequence[KeptFrame],
        frames: Sequence[KeptFrame],
        seconds: dict[str, float],
    ) -> Selection:
        return Selection(
            video=self.video,
            sampler=sampler,
            duration=source.duration,
            fps=source.fps,
            candidates=len(frames),
            kept=tuple(kept),
            gmacs=0.0,
            seconds=seconds,
            reading=self.reading,
            frames_in_source=source.index.frames,
            looked_at=tuple(frames),
        )


def _frames(source: Video, numbers: npt.NDArray[np.int64]) -> list[KeptFrame]:
    """Frames by their numbers, without scores."""
    rows = zip(
        numbers.tolist(), source.pts(numbers).tolist(), source.times(numbers).tolist(), strict=True
    )
    return [KeptFrame(number, pts, seconds, None) for number, pts, seconds in rows]


def check_numbers(
    k: int | None,
    candidates: int | None,
    start: float | None,
    end: float | None,
    threads: int | None = None,
    timeout: float | None = None,
) -> None:
    """Refuses numbers that make no sense.

    Raises:
        UsageError: with the number in it.
    """
    if k is not None and k < 1:
        raise UsageError(f"at least 1 frame must be kept, not {k}", hint="try -k 8")
    if candidates is not None and candidates < 1:
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
    sampler: FrameSampler | QuerySampler | TrainedSampler,
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
