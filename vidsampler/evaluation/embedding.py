"""Videos and captions as features, each once, whatever the number of processes.

Processes take turns by whole batches: each is the same computation whoever does it, so that one
process and many give the same features to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from vidsampler.loading.batch import Batch
from vidsampler.retriever import Retriever
from vidsampler.video_features import VideoFeatures

if TYPE_CHECKING:
    from vidsampler.world import World

_ON_CPU, _ON_GPU = 2, 16
CAPTIONS = 64
"""Captions of a batch."""

Progress = Callable[[int, int], None]
"""Called with what is done, and all of it."""


def videos_at_once(device: torch.device) -> int:
    """How many videos make a batch: what a processor's caches hold, or what fills a GPU.

    On a processor, 32 frames at once take twice as long a frame as 8 do.
    """
    return _ON_CPU if device.type == "cpu" else _ON_GPU


class Source(Protocol):
    """Where frames of videos come from: a loader of shards, or a folder of videos."""

    def __len__(self) -> int:
        """How many batches all videos are."""

    def pick(self, steps: Iterable[int]) -> Generator[Batch, None, None]:
        """Some of the batches; their videos are numbered."""


@dataclass(frozen=True, eq=False)
class Videos:
    """V embedded videos, in their order.

    Attributes:
        keys: Their ids.
        features: Of their kept frames.
        times_VN: (V, N) float64 seconds, when each candidate is shown; 0 where there is none.
        candidates_V: (V,) long, how many there are.
    """

    keys: list[str]
    features: VideoFeatures
    times_VN: Tensor
    candidates_V: Tensor

    def __len__(self) -> int:
        """V."""
        return len(self.keys)

    def kept_times(self) -> dict[str, list[float]]:
        """When the kept frames of each video are shown, in seconds."""
        rows = zip(self.keys, self.features.kept(), self.times_VN.tolist(), strict=True)
        return {key: [times[place] for place in kept] for key, kept, times in rows}


@dataclass(frozen=True, eq=False)
class Captions:
    """U embedded captions.

    Attributes:
        features_UD: (U, D), not normalised.
        cut: The share of them that was too long and lost its end.
    """

    features_UD: Tensor
    cut: float


@torch.no_grad()
def embed_videos(
    retriever: Retriever,
    source: Source,
    keys: Sequence[str],
    world: World | None = None,
    progress: Progress | None = None,
    change: Callable[[Batch], Batch] | None = None,
) -> Videos:
    """Embeds all videos of a source; every process gets them all.

    Args:
        retriever: In eval mode.
        source: Of the frames.
        keys: The ids of all videos, in the order of their numbers.
        world: The processes.
        progress: Called with videos.
        change: What is done to a batch before it is looked at.
    """
    rank, ranks = (0, 1) if world is None else (world.rank, world.size)
    device = retriever.backbone.logit_scale.device
    parts: list[VideoFeatures] = []
    numbers, times, candidates = [], [], []
    done = 0
    for batch in source.pick(range(rank, len(source), ranks)):
        batch = (batch if change is None else change(batch)).to(device)
        parts.append(
            retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN, batch.times_BN, batch.keys)
        )
        numbers.append(batch.videos_B)
        times.append(batch.times_BN)
        candidates.append(batch.valid_BN.sum(1))
        done += len(batch)
        if progress is not None:
            # The others are as far as this one.
            progress(min(done * ranks, len(keys)), len(keys))
        del batch
    order = _together(numbers, world).argsort()
    features = VideoFeatures(
        *(
            _together([getattr(part, each.name) for part in parts], world)[order]
            for each in fields(VideoFeatures)
        )
    )
    times_VN, candidates_V = (_together(each, world)[order] for each in (times, candidates))
    return Videos(list(keys), features, times_VN, candidates_V)


@torch.no_grad()
def embed_wholes(retriever: Retriever, source: Source, world: World | None = None) -> Tensor:
    """(V, D) what each whole video of a source shows; every process gets them all.

    Args:
        retriever: In eval mode.
        source: Of batches with `whole_BN`.
        world: The processes.
    """
    rank, ranks = (0, 1) if world is None else (world.rank, world.size)
    device = retriever.backbone.logit_scale.device
    parts, numbers = [], []
    for batch in source.pick(range(rank, len(source), ranks)):
        batch = batch.to(device)
        assert batch.whole_BN is not None
        parts.append(retriever.embed_wholes(batch.frames_BNCHW, batch.valid_BN, batch.whole_BN))
        numbers.append(batch.videos_B)
        del batch
    return _together(parts, world)[_together(numbers, world).argsort()]


@torch.no_grad()
def embed_texts(retriever: Retriever, texts: Sequence[str], world: World | None = None) -> Captions:
    """Embeds captions; every process gets them all.

    Args:
        retriever: In eval mode.
        texts: U, each once.
        world: The processes.
    """
    rank, ranks = (0, 1) if world is None else (world.rank, world.size)
    device = retriever.backbone.logit_scale.device
    parts, numbers, cut = [], [], []
    for batch in torch.arange(len(texts)).split(CAPTIONS)[rank::ranks]:
        tokens = retriever.backbone.tokenize([texts[number] for number in batch.tolist()])
        parts.append(retriever.embed_texts(tokens.ids_TL.to(device)))
        numbers.append(batch.to(device))
        cut.append(torch.tensor([tokens.cut * len(batch)], dtype=torch.float64, device=device))
    order = _together(numbers, world).argsort()
    features_UD = _together(parts, world)[order]
    return Captions(features_UD, float(_together(cut, world).sum()) / len(texts))


def _together(parts: Sequence[Tensor], world: World | None) -> Tensor:
    """The rows of all processes; one of them may have none."""
    here = torch.cat(list(parts)) if parts else None
    if world is not None:
        return world.gather_rows(here)
    assert here is not None
    return here
