"""How good the weights are on a split, while they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vidsampler.evaluation.embedding import embed_texts, embed_videos, embed_wholes
from vidsampler.evaluation.ranks import metrics
from vidsampler.evaluation.similarity import Texts, rank_texts_and_videos
from vidsampler.loading.batch import Batch
from vidsampler.loading.loader import Loader
from vidsampler.loading.montage_loader import MontageLoader
from vidsampler.retriever import Retriever
from vidsampler.world import World


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


def measure(
    retriever: Retriever,
    loader: Loader,
    world: World,
    change: Callable[[Batch], Batch] | None = None,
) -> Measured:
    """Ranks the videos of a split for each of its captions, as `eval` does; every rank gets it.

    Of montages, what the whole shows is in the place of the caption.

    Args:
        retriever: Left in eval mode.
        loader: Of the whole split, without captions and in its order.
        world: The ranks, which share its batches.
        change: What is done to a batch before it is looked at, such as `shuffle_candidates`.
    """
    retriever.eval()
    split = loader.split
    if isinstance(loader, MontageLoader):
        videos = embed_videos(retriever, loader, loader.keys, world, change=change)
        wholes_VD = embed_wholes(retriever, loader, world)
        texts, owners = Texts.of(wholes_VD, loader.keys), None
    else:
        videos = embed_videos(retriever, loader, split.keys, world, change=change)
        texts_UD = embed_texts(retriever, split.texts, world).features_UD
        texts, owners = Texts.of(texts_UD, split.texts, split.wordings), split.owners
    ranks, _ = rank_texts_and_videos(
        retriever.head,
        texts,
        videos.features,
        owners,
        world=world,
        name="the scores of the validation",
    )
    recall = metrics(ranks.t2v)
    return Measured(
        queries=len(ranks.t2v),
        videos=len(videos),
        recall={name: recall[name] for name in ("R@1", "R@5", "R@10")},
        kept=float(videos.features.counts_V.double().mean()),
        candidates=float(videos.candidates_V.double().mean()),
        kept_times=videos.kept_times(),
    )
