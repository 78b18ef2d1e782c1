"""How good the weights are on a split, while they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vidsampler.retriever import Retriever
from vidsampler.training.batch import Batch
from vidsampler.training.loader import Loader
from vidsampler.training.world import World
from vidsampler.video_features import VideoFeatures


@dataclass(frozen=True)
class Measured:
    """Text to video on a split.

    Attributes:
        queries: Captions.
        videos: Candidates of each.
        recall: "R@1", "R@5" and "R@10" in percent.
        kept: Mean kept frames of a video.
        candidates: Mean candidates of a video.
        kept_times: Video -> when its kept frames are shown, in seconds.
    """

    queries: int
    videos: int
    recall: dict[str, float]
    kept: float
    candidates: float
    kept_times: dict[str, list[float]]

    @property
    def chance(self) -> float:
        """The R@1 of an order at random, in percent."""
        return 100 / self.videos

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the times."""
        return {
            "queries": self.queries,
            "videos": self.videos,
            "t2v": self.recall,
            "chance": self.chance,
            "frames_kept": self.kept,
            "candidates": self.candidates,
        }


@torch.no_grad()
def measure(
    retriever: Retriever,
    loader: Loader,
    world: World,
    change: Callable[[Batch], Batch] | None = None,
) -> Measured:
    """Ranks the videos of a split for each of its captions; every rank gets the same.

    Args:
        retriever: Left in eval mode.
        loader: Of the split, without captions and in its order; it is gone through once.
        world: The ranks; each encodes its part.
        change: What is done to a batch before it is looked at, such as `shuffle_candidates`.
    """
    retriever.eval()
    split = loader.split
    loader.seek(0)
    parts: list[VideoFeatures] = []
    numbers, times, valid = [], [], []
    for batch in loader:
        if not len(batch):
            continue
        batch = (batch if change is None else change(batch)).to(world.device)
        parts.append(
            retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN, batch.times_BN, batch.keys)
        )
        numbers.append(batch.videos_B)
        times.append(batch.times_BN)
        valid.append(batch.valid_BN)
    loader.seek(0)
    # A split may have fewer videos than there are ranks.
    order = world.gather_rows(torch.cat(numbers) if numbers else None).argsort()
    together = VideoFeatures.join(parts) if parts else None
    videos = VideoFeatures(
        *(
            world.gather_rows(None if together is None else getattr(together, name))[order]
            for name in ("features_VFD", "keep_VF", "indices_VF", "counts_V")
        )
    )
    times_VN = world.gather_rows(torch.cat(times) if times else None)[order]
    valid_VN = world.gather_rows(torch.cat(valid) if valid else None)[order]
    texts_UD = torch.cat(
        [retriever.embed_texts(texts.tokens_TL.to(world.device)) for texts in loader.all_texts()]
    )
    scores_UV = retriever.similarity(texts_UD, videos)
    wordings_T = torch.from_numpy(split.wordings).to(scores_UV.device)
    owners_T = torch.from_numpy(split.owners).to(scores_UV.device)
    ranks_T = ranks(scores_UV[wordings_T], owners_T)
    rows = zip(videos.kept(), times_VN.tolist(), split.keys, strict=True)
    return Measured(
        queries=len(ranks_T),
        videos=len(videos),
        recall={f"R@{most}": 100 * float((ranks_T <= most).double().mean()) for most in (1, 5, 10)},
        kept=float(videos.counts_V.double().mean()),
        candidates=float(valid_VN.sum(1).double().mean()),
        kept_times={key: [shown[place] for place in kept] for kept, shown, key in rows},
    )


def ranks(scores_TV: Tensor, owners_T: Tensor) -> Tensor:
    """The rank of each text's own video: 1 + those with greater scores + equal ones before it.

    `vidsampler eval` ranks matrices of any size; that of a validation split is in memory anyhow.

    Args:
        scores_TV: (T, V).
        owners_T: (T,) long, the column of each text's own video.

    Returns:
        (T,) long, from 1.

    Raises:
        ValueError: A score is not a number.
    """
    if bool(scores_TV.isnan().any()):
        raise ValueError(f"{int(scores_TV.isnan().sum())} scores are not numbers")
    own_T1 = scores_TV.gather(1, owners_T[:, None])
    columns_V = torch.arange(scores_TV.shape[1], device=scores_TV.device)
    earlier_TV = columns_V < owners_T[:, None]
    ahead_TV = (scores_TV > own_T1) | ((scores_TV == own_T1) & earlier_TV)
    return 1 + ahead_TV.sum(1)
