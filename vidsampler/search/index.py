"""An index, opened to be searched.

Axes: V videos, F kept frames, Q queries, D channels.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vidsampler.errors import InputError, UsageError
from vidsampler.search.manifest import Manifest, read_manifest
from vidsampler.search.segment import Segment, check_content, open_part
from vidsampler.search.settings import EmbedConfig, blind_sampler, embed_config

if TYPE_CHECKING:
    from vidsampler.retriever import Retriever
    from vidsampler.search.entry import Entry
    from vidsampler.search.text import TextTower

Vectors = npt.NDArray[Any]


@dataclass(frozen=True)
class Hit:
    """A video that was found.

    Attributes:
        video: Its file; of shards, the name that it had when they were made.
        source: The same, below the folder that the index was made of.
        score: Of the video, as evaluation has it: a cosine.
        time: When its best kept frame is shown, seconds.
        frame: The number of that frame.
        frame_score: The cosine of that frame.
        duration: Seconds.
    """

    video: str
    source: str
    score: float
    time: float
    frame: int
    frame_score: float
    duration: float

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``vidsampler search --json`` prints it."""
        rounded = {
            name: round(getattr(self, name), 6)
            for name in ("score", "time", "frame_score", "duration")
        }
        return {**vars(self), **rounded}


class Index:
    """The videos that `embed` has seen, to be searched by texts or by another video.

    Made by `Index.open`. It stays what it was when it was opened, whatever `embed` does.

    Attributes:
        folder: Of the index.
        manifest: Its list.
        seconds: What was waited for so far, by ``imports``, ``model`` and ``search``.

    Example:
        >>> from vidsampler import Index
        >>> index = Index.open("index/")                                  # doctest: +SKIP
        >>> for hit in index.search("a dog on a beach", k=3):              # doctest: +SKIP
        ...     print(hit.video, hit.score, hit.time)
    """

    def __init__(self, folder: Path, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.seconds = {"imports": 0.0, "model": 0.0, "search": 0.0}
        self._segments = segments
        self._starts = np.cumsum([0, *map(len, segments)]).tolist()
        self._weights: Path | None = (
            None if manifest.checkpoint is None else Path(manifest.checkpoint)
        )
        self._told = False

    @classmethod
    def open(
        cls, folder: str | Path, *, checkpoint: str | Path | None = None, verify: bool = False
    ) -> Index:
        """Opens an index. Its vectors stay on the disk until they are looked at.

        Args:
            folder: What `embed` made.
            checkpoint: Where the weights are now that it was made with, if they were moved.
            verify: Compare all of it with its checksums first.

        Raises:
            InputError: There is no index, or it is damaged.
            UsageError: The checkpoint has other weights.
        """
        folder = Path(folder)
        manifest, segments = _open_all(folder)
        index = cls(folder, manifest, segments)
        if verify:
            for segment, part in zip(segments, manifest.parts, strict=True):
                check_content(segment, part)
        if checkpoint is not None:
            from vidsampler.run_folder import weights_folder

            index._weights, index._told = weights_folder(Path(checkpoint)), True
            index._check_weights()
        return index

    def __len__(self) -> int:
        """V."""
        return int(self._starts[-1])

    @cached_property
    def config(self) -> EmbedConfig:
        """What it was made with."""
        return embed_config([], self.manifest.config)

    @property
    def vectors(self) -> list[Vectors]:
        """(V_i, D) float16 vectors of the videos, each segment's in place."""
        return [segment.videos_VD for segment in self._segments]

    @property
    def sources(self) -> list[str]:
        """The path of each video below the folder."""
        return [fact.source for segment in self._segments for fact in segment.facts]

    def entry(self, row: int) -> Entry:
        """A video by its number."""
        place = bisect_right(self._starts, row) - 1
        return self._segments[place].entry(row - self._starts[place])

    # ---------------------------------------------------------------- searching

    def search(self, text: str, k: int = 10) -> list[Hit]:
        """The videos that fit a text best.

        Args:
            text: Such as "a dog on a beach".
            k: How many; all where there are fewer.

        Returns:
            Best first.

        Raises:
            UsageError: The text is empty, or k below 1.
            InputError: The weights that the index was made with are gone, or are others.
        """
        check_question(text, k)
        tower = self.text
        clock = time.perf_counter()
        query_1D = tower([text])
        if self._query_dependent:
            scores, rows = self._by_head(text, k)
        else:
            scores_1K, rows_1K = self.nearest(query_1D, k)
            scores, rows = scores_1K[0].tolist(), rows_1K[0].tolist()
        hits = self._hits(query_1D[0], scores, rows)
        self.seconds["search"] += time.perf_counter() - clock
        return hits

    def search_like(self, video: str | Path, k: int = 10) -> list[Hit]:
        """The videos that are most like another, which need not be in the index.

        Args:
            video: A file.
            k: How many; all where there are fewer.

        Returns:
            Best first; scores are cosines of the videos' vectors.

        Raises:
            InputError: The file cannot be used; or as `search`.
            UsageError: k is below 1.
        """
        check_question("a video", k)
        from vidsampler.video.container import check_file

        check_file(Path(video))  # before a model is loaded
        encoder = self._encoder
        clock = time.perf_counter()
        entry = encoder(str(video), "like", self._frames_of(Path(video)))
        query_D = entry.video_D.astype(np.float32)
        query_D /= np.linalg.norm(query_D)
        scores_1K, rows_1K = self.nearest(query_D[None], k)
        hits = self._hits(query_D, scores_1K[0].tolist(), rows_1K[0].tolist())
        self.seconds["search"] += time.perf_counter() - clock
        return hits

    def nearest(self, queries_QD: Vectors, k: int) -> tuple[Vectors, Vectors]:
        """The videos nearest to vectors of length 1; see `vidsampler.search.scan.nearest`.

        Returns:
            (Q, K) scores and (Q, K) numbers of videos, best first.

        Raises:
            InputError: The vectors of the index, or the queries, are damaged.
        """
        from vidsampler.search.scan import NotFiniteError, nearest

        try:
            return nearest(self.vectors, queries_QD, k)
        except NotFiniteError:
            raise self._damaged("a score is not a number") from None

    def _hits(self, query_D: Vectors, scores: list[float], rows: list[int]) -> list[Hit]:
        hits = []
        for score, row in zip(scores, rows, strict=True):
            entry = self.entry(row)
            of_frames_K = entry.frames_KD.astype(np.float32) @ query_D
            best = int(of_frames_K.argmax())
            hit = Hit(
                self._path(entry.source),
                entry.source,
                float(score),
                float(entry.times_K[best]),
                int(entry.numbers_K[best]),
                float(of_frames_K[best]),
                entry.duration,
            )
            if not np.isfinite([hit.score, hit.time, hit.frame_score, hit.duration]).all():
                raise self._damaged(f"what it says of {entry.source} is not a number")
            hits.append(hit)
        return hits

    def _damaged(self, why: str) -> InputError:
        return InputError(
            f"the index {self.folder} is damaged: {why}",
            hint="--verify says where; copy it again, or make it again: vidsampler embed VIDEOS "
            "INDEX --overwrite",
            code="damaged",
        )

    def _path(self, source: str) -> str:
        if self.manifest.kind == "shards":
            return source
        return os.path.join(self.manifest.folder, source)

    # ---------------------------------------------------------------- models

    @cached_property
    def text(self) -> TextTower:
        """What turns texts into vectors; read when it is first needed.

        Raises:
            InputError, UsageError: As `search`.
        """
        clock = time.perf_counter()
        from vidsampler.search.text import load_text_tower, tower_of

        imported = time.perf_counter() - clock
        self.seconds["imports"] += imported
        tower = None
        if not self._query_dependent:
            tower = load_text_tower(self.config.backbone, self.manifest.fingerprint)
        if tower is None:
            backbone = self.retriever.backbone
            if not backbone.has_texts:
                raise UsageError(
                    f"the backbone {backbone.config.name} of {self.folder} reads no captions: the "
                    "index can be asked for what is like a video only",
                    hint=f"vidsampler search {self.folder} --like FILE",
                )
            tower = tower_of(backbone)
        for name, seconds in tower.seconds.items():
            self.seconds[name] += seconds
        return tower

    @cached_property
    def retriever(self) -> Retriever:
        """The whole model; read when it is first needed: by `search_like`, by heads that look at
        texts and videos together, and where the text tower is not in the cache.

        Raises:
            InputError, UsageError: As `search`.
        """
        clock = time.perf_counter()
        import open_clip  # noqa: F401

        from vidsampler.search.encoding import fingerprint, load_retriever
        from vidsampler.search.text import store_text_tower

        self.seconds["imports"] += time.perf_counter() - clock
        clock = time.perf_counter()
        if self._weights is not None:
            self._check_weights()
        retriever = load_retriever(self.config, self._weights)
        if self._weights is None and fingerprint(retriever, None) != self.manifest.fingerprint:
            raise self._made_with_others(fingerprint(retriever, None))
        store_text_tower(retriever.backbone, self.manifest.fingerprint)
        self.seconds["model"] += time.perf_counter() - clock
        return retriever

    @cached_property
    def _encoder(self) -> Any:
        from vidsampler.search.encoding import Encoder, device_of

        return Encoder(self.retriever, device_of(None))

    def _check_weights(self) -> None:
        from vidsampler.search.encoding import checkpoint_fingerprint

        assert self._weights is not None
        if not self._told and not self._weights.is_dir():
            raise InputError(
                f"the weights that {self.folder} was made with are gone: there is no "
                f"{self._weights}",
                hint="say where they are now: --checkpoint DIR",
                code="missing",
            )
        if (now := checkpoint_fingerprint(self._weights)) != self.manifest.fingerprint:
            raise self._made_with_others(now)

    def _made_with_others(self, now: str) -> UsageError:
        what = self._weights or self.config.backbone.name
        return UsageError(
            f"{self.folder} was made with another model: its weights are "
            f"{self.manifest.fingerprint}, those of {what} are {now}",
            hint="name its own with --checkpoint, or make the index again with --overwrite",
        )

    def _frames_of(self, video: Path) -> Any:
        from vidsampler.samplers.candidates import seed_of
        from vidsampler.search.reading import Frames, ReadTask, read_frames

        config = self.config
        found = read_frames(
            ReadTask(
                key="like",
                source=str(video),
                kind="videos",
                path=video,
                frames=config.frames,
                size=self.manifest.size,
                blind=blind_sampler(config),
                k=config.sampler.k,
                seed=seed_of(config.sampler.seed, "like"),
                timeout=config.index.timeout,
                salvage=config.index.salvage,
            )
        )
        if isinstance(found, Frames):
            return found
        raise InputError(found.failure.message, code=found.failure.kind)

    # ---------------------------------------------------------------- heads of pairs

    @cached_property
    def _query_dependent(self) -> bool:
        from vidsampler import registry

        kind: Any = registry.load("heads", self.config.head.name)
        return bool(kind.query_dependent)

    def _by_head(self, text: str, k: int) -> tuple[list[float], list[int]]:
        """Scores of heads for which a video is another vector for each text: all are computed."""
        import torch

        retriever = self.retriever
        # `search_like` may have moved it since.
        device = retriever.backbone.logit_scale.device
        with torch.inference_mode():
            tokens_1L = retriever.backbone.tokenize([text]).ids_TL
            text_1D = retriever.embed_texts(tokens_1L.to(device))
            # Where a score depends on the other videos, they have to be there together.
            at_once = (
                [list(self._segments)]
                if retriever.head.transductive
                else [[segment] for segment in self._segments]
            )
            scores_V = torch.cat(
                [
                    retriever.similarity(text_1D, _features(group, retriever).to(device))[0]
                    for group in at_once
                ]
            )
            scores_V = scores_V.double().cpu()
        order = np.lexsort((np.arange(len(scores_V)), -scores_V.numpy()))[:k]
        return scores_V.numpy()[order].tolist(), order.tolist()


def _open_all(folder: Path) -> tuple[Manifest, list[Segment]]:
    """The list and its segments; once more where `embed` has put others in their place."""
    for again in (True, False):
        manifest = read_manifest(folder)
        if not manifest.videos:
            raise InputError(
                f"the index {folder} has no videos in it",
                hint=f"{folder}/errors.jsonl says what became of them",
                code="empty",
            )
        try:
            return manifest, [open_part(folder, part, manifest.width) for part in manifest.parts]
        except InputError:
            if not again:
                raise
    raise AssertionError("the second round returns or raises")


def check_question(text: str, k: int) -> None:
    """Refuses what cannot be asked.

    Raises:
        UsageError: The text is empty, or k below 1.
    """
    if not text.strip():
        raise UsageError("the question is empty", hint='such as: vidsampler search INDEX "a dog"')
    if k < 1:
        raise UsageError(f"at least 1 video must be asked for, not {k}", hint="try -k 10")


def _features(segments: Sequence[Segment], retriever: Retriever) -> Any:
    """The kept frames of segments as a head wants them: at their places, not of length 1."""
    import torch

    from vidsampler.video_features import VideoFeatures

    parts = []
    for segment in segments:
        counts_V = torch.from_numpy(np.diff(segment.starts))
        videos_F = torch.arange(len(segment)).repeat_interleave(counts_V)
        slots_F = torch.from_numpy(segment.slots_F)
        frames_FD = torch.from_numpy(segment.frames_FD).float()
        frames_FD = frames_FD * torch.from_numpy(segment.norms_F)[:, None]
        slots = max(retriever.config.head_frames, int(slots_F.max()) + 1)
        features_VFD = torch.zeros(len(segment), slots, frames_FD.shape[1])
        features_VFD[videos_F, slots_F] = frames_FD
        keep_VF = torch.zeros(len(segment), slots)
        keep_VF[videos_F, slots_F] = 1.0
        parts.append(
            VideoFeatures(features_VFD, keep_VF, torch.zeros_like(keep_VF).long(), counts_V)
        )
    return VideoFeatures.join(parts)
