"""How well a retriever finds videos by texts, and texts by videos, on a split of a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidsampler.config import Layer, cache_dir
from vidsampler.errors import ConfigError, UsageError, unknown
from vidsampler.evaluation.plan import Data, Plan, Which, plan_evaluation, retriever_layers
from vidsampler.evaluation.ranks import V2T, V2T_CONVENTIONS
from vidsampler.evaluation.rerank import METHODS, Method
from vidsampler.evaluation.results import Result, result_of

if TYPE_CHECKING:
    from vidsampler.evaluation.data import EvalSplit
    from vidsampler.evaluation.embedding import Videos
    from vidsampler.evaluation.ranks import Ranks
    from vidsampler.evaluation.similarity import Texts
    from vidsampler.retriever import Retriever
    from vidsampler.video_features import VideoFeatures

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """How an evaluation goes; of these, only `rerank` and `v2t` change what it finds.

    Attributes:
        rerank: See `evaluation.rerank`; the bank of `qb-norm` are the captions of split train.
        v2t: See `evaluation.ranks`.
        device: `cpu` or `cuda`; None: cuda where there is one.
        workers: Decoding threads of each process; None: as many as there are processors.
        batch_size: Videos that are embedded at once; None: few on a CPU, more on a GPU.
        block: Texts, and videos of query-dependent heads, that are compared at once.
        cache: Keep embedded videos and captions for the next time.
    """

    rerank: Method = "none"
    v2t: V2T = "best"
    device: str | None = None
    workers: int | None = None
    batch_size: int | None = None
    block: int = 64
    cache: bool = True

    def __post_init__(self) -> None:
        for what, word, known in (
            ("rerank", self.rerank, METHODS),
            ("v2t convention", self.v2t, V2T_CONVENTIONS),
        ):
            if word not in known:
                raise UsageError(unknown(what, word, known))
        for name, value, least in (
            ("workers", self.workers, 0),
            ("batch_size", self.batch_size, 1),
            ("block", self.block, 1),
        ):
            if value is not None and value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value}")


@dataclass(frozen=True)
class Watch:
    """Who is told how an evaluation goes.

    Attributes:
        rendered: Videos of `shapes` that are made, and all of them.
        embedded: Videos that are embedded, and all of them.
        scored: Texts that are scored, and all of them.
        note: A sentence worth knowing.
        done: Given all that was found, for pictures of it.
    """

    rendered: Progress = lambda done, total: None
    embedded: Progress = lambda done, total: None
    scored: Progress = lambda done, total: None
    note: Callable[[str], None] = lambda text: None
    done: Callable[[Evaluated], None] | None = None


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What an evaluation has found, before it is summed up.

    Attributes:
        ranks: Of all queries.
        captions: (T,) the words of each.
        names: (V,) the videos' ids.
        kept: (V,) the kept ones of each video's candidates, ascending.
        candidates: (V,) how many there are of each.
        scores_of: From the numbers of Q captions to their scores, (Q, V), not reranked.
        frames_of: From a video's number to its candidates, (n, S, S, 3) uint8; those that nobody
            had to decode are black.
    """

    ranks: Ranks
    captions: list[str]
    names: list[str]
    kept: list[list[int]]
    candidates: list[int]
    scores_of: Callable[[list[int]], Any]
    frames_of: Callable[[int], Any]


def evaluate(
    checkpoint: str | Path | None = None,
    dataset: str = "shapes",
    *,
    split: str = "test",
    shards: str | Path | None = None,
    videos: str | Path | None = None,
    annotations: str | Path | None = None,
    which: Which = "best",
    sampler: str | None = None,
    top_k: int | None = None,
    frames: int | None = None,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Result:
    """Measures retrieval on a split of a dataset, in both directions.

    Args:
        checkpoint: A run, or a folder of weights; None: zero-shot, the mean of the frames of a
            backbone that ``settings`` name.
        dataset: A registered dataset.
        split: Its split.
        shards: What `vidsampler shard` made; `shapes` needs none.
        videos: In place of shards, a folder of videos.
        annotations: The annotation files, with ``videos``; None: they are there too.
        which: Of a run, its "best" or "last" weights.
        sampler: Another sampler before the same weights.
        top_k: Another number of frames to keep.
        frames: Another number of candidate frames.
        settings: Other settings as `config.yaml` has them, such as
            ``{"backbone": {"precision": "bf16"}}``.
        options: Fields of `Options` by name.

    Returns:
        What was measured, with the rank of every query.

    Raises:
        UsageError, ConfigError: Settings that do not fit each other or the weights.
        InputError: A checkpoint, video, caption or split that is missing or damaged.
        VidsamplerError: It cannot be computed.

    Example:
        >>> import vidsampler
        >>> result = vidsampler.evaluate("runs/shapes-adaclip")          # doctest: +SKIP
        >>> result.t2v["R@1"], result.frames_kept["mean"]                # doctest: +SKIP
    """
    data = Data(dataset, split, _path(shards), _path(videos), _path(annotations))
    layers = [
        Layer("{key}", settings or {}),
        *retriever_layers(sampler=sampler, top_k=top_k, frames=frames),
    ]
    known = [each.name for each in fields(Options)]
    for name in options:
        if name not in known:
            raise UsageError(unknown("option", name, known))
    plan = plan_evaluation(_path(checkpoint), data, layers, which)
    return run_evaluation(plan, Options(**options))


def run_evaluation(
    plan: Plan, options: Options | None = None, watch: Watch | None = None
) -> Result:
    """Does what a plan says. Under torchrun, every process calls this and gets the result.

    Raises:
        UsageError, ConfigError, InputError, VidsamplerError: As `evaluate`.
    """
    from vidsampler.backbones.precision import slow_precision
    from vidsampler.evaluation.data import open_split
    from vidsampler.evaluation.embedding import videos_at_once
    from vidsampler.evaluation.embedding_cache import FOLDER, EmbeddingCache
    from vidsampler.evaluation.similarity import Texts, rank_texts_and_videos
    from vidsampler.flops import flops
    from vidsampler.world import open_world

    began = time.perf_counter()
    options, watch = options or Options(), watch or Watch()
    with open_world(options.device) as world:
        retriever = _load(plan).to(world.device)
        retriever.backbone.cast_for_inference()
        slow = slow_precision(retriever.config.backbone.precision, world.device)
        if slow is not None and world.leads:
            watch.note(slow)
        at_once = options.batch_size or videos_at_once(world.device)
        split = open_split(
            plan,
            retriever,
            batch_size=at_once,
            workers=options.workers,
            progress=watch.rendered,
        )
        _say_missing(split, plan.data.split, watch)
        folder = cache_dir() / FOLDER if options.cache else None
        cache = EmbeddingCache(retriever, folder, world, watch.note)
        videos = cache.videos(split.source, split.keys, split.fingerprint, watch.embedded)
        captions = cache.texts(split.texts)
        if captions.cut:
            watch.note(
                f"{100 * captions.cut:.1f}% of the captions are longer than "
                f"{plan.config.backbone.words} tokens (backbone.words) and were cut"
            )
        bank = None
        if options.rerank == "qb-norm":
            words = split.training_captions()
            bank = Texts.of(cache.texts(words).features_UD, words)
        texts = Texts.of(captions.features_UD, split.texts, split.wordings_T)
        ranks, how = rank_texts_and_videos(
            retriever.head,
            texts,
            videos.features,
            split.owners_T,
            rerank=options.rerank,
            bank=bank,
            v2t=options.v2t,
            block=options.block,
            world=world,
            name=f"the scores of {plan.name}",
            progress=watch.scored,
        )
        if watch.done is not None and world.leads:
            watch.done(_evaluated(retriever, split, texts, videos, ranks, at_once))
    kept = _frames_kept(videos.features)
    return result_of(
        ranks,
        v2t_convention=options.v2t,
        dataset=plan.data.dataset,
        split=plan.data.split,
        protocol=split.protocol,
        frames_kept=kept,
        gmacs_per_video=flops(retriever.config, kept=kept["mean"]).per_video,
        seconds=round(time.perf_counter() - began, 3),
        selected_on=plan.selected_on,
        rerank=options.rerank,
        reranked=how.directions,
        transductive=how.transductive or retriever.head.transductive,
        seed=retriever.config.seed,
        checkpoint=plan.name,
        missing=split.missing,
        unreadable=split.unreadable,
        notes=retriever.config.notes,
    )


def _evaluated(
    retriever: Retriever,
    split: EvalSplit,
    texts: Texts,
    videos: Videos,
    ranks: Ranks,
    at_once: int,
) -> Evaluated:
    import torch

    def scores_of(numbers: list[int]) -> Any:
        rows = torch.from_numpy(texts.wordings_T[numbers])
        scores_QV = retriever.similarity(
            texts.features_UD[rows], videos.features, text_ids_T=texts.ids_U[rows]
        )
        return scores_QV.cpu().numpy()

    def frames_of(video: int) -> Any:
        # Sources number their videos in the order of their batches.
        batch = next(split.source.pick([video // at_once]))
        (row,) = (batch.videos_B == video).nonzero()[:, 0].tolist()
        there = int(batch.valid_BN[row].sum())
        return batch.frames_BNCHW[row, :there].permute(0, 2, 3, 1).contiguous().cpu().numpy()

    return Evaluated(
        ranks,
        [split.texts[wording] for wording in texts.wordings_T.tolist()],
        list(split.keys),
        videos.features.kept(),
        videos.candidates_V.tolist(),
        scores_of,
        frames_of,
    )


def _load(plan: Plan) -> Retriever:
    from vidsampler.retriever import Retriever

    if plan.weights is not None:
        retriever = Retriever.from_pretrained(plan.weights, plan.layers)
    else:
        retriever = Retriever.from_config(plan.config)
        if any(True for _ in retriever.head.parameters()):
            raise UsageError(
                f"the head {plan.config.head.name} has weights, which zero-shot evaluation has not",
                hint="take --head mean, or give a checkpoint",
            )
    return retriever


def _frames_kept(videos: VideoFeatures) -> dict[str, float]:
    import numpy as np

    counts_V = videos.counts_V.cpu().numpy()
    p50, p95 = np.percentile(counts_V, [50, 95])
    return {"mean": float(counts_V.mean()), "p50": float(p50), "p95": float(p95)}


def _say_missing(split: EvalSplit, name: str, watch: Watch) -> None:
    whole = len(split.keys) + len(split.missing)
    unreadable = set(split.unreadable)
    for ids, what in (
        ([each for each in split.missing if each not in unreadable], "are missing"),
        (split.unreadable, "could not be read when the shards were made"),
    ):
        if ids:
            named = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
            watch.note(
                f"{len(ids):,} of {whole:,} videos of split {name} {what}, and their captions are "
                f"left out: {named}"
            )


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
