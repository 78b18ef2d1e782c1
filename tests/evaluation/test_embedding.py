"""Videos and captions become features once, in any number of processes."""

from __future__ import annotations

from dataclasses import fields
from typing import cast

import pytest
import torch

from tests.evaluation.embedding_trials import Frames, OneOfTwo
from tests.retrieving import retriever_of, shared_retriever_of, trial
from vidsampler.evaluation.embedding import CAPTIONS, Videos, embed_texts, embed_videos
from vidsampler.video_features import VideoFeatures
from vidsampler.world import World

COUNTS = (6, 5, 2, 6, 3, 6, 4)


def assert_same(ours: Videos, theirs: Videos) -> None:
    """To the bit."""
    assert ours.keys == theirs.keys
    for each in fields(VideoFeatures):
        assert torch.equal(getattr(ours.features, each.name), getattr(theirs.features, each.name))
    assert torch.equal(ours.times_VN, theirs.times_VN)
    assert torch.equal(ours.candidates_V, theirs.candidates_V)


@pytest.mark.parametrize(("sampler", "k"), [("topk", 3), ("gate", None), ("random", 2)])
def test_videos_in_batches(sampler: str, k: int | None) -> None:
    retriever, videos = shared_retriever_of(sampler, k=k), trial(COUNTS)
    told: list[tuple[int, int]] = []
    got = embed_videos(
        retriever, Frames(videos), videos.keys, progress=lambda *done: told.append(done)
    )
    assert told == [(3, 7), (6, 7), (7, 7)]
    assert len(got) == 7
    assert got.candidates_V.tolist() == list(COUNTS)
    whole = retriever.embed_videos(
        videos.frames_BNCHW, videos.valid_BN, videos.times_BN, videos.keys
    )
    assert got.features.kept() == whole.kept()
    torch.testing.assert_close(got.features.features_VFD, whole.features_VFD, rtol=0, atol=1e-5)
    # Frame i is shown at i / 2 seconds.
    assert got.kept_times() == {
        key: [place / 2 for place in kept]
        for key, kept in zip(videos.keys, whole.kept(), strict=True)
    }


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_two_processes_have_the_features_of_one(batch_size: int) -> None:
    retriever, videos = shared_retriever_of("topk"), trial(COUNTS)
    alone = embed_videos(retriever, Frames(videos, batch_size), videos.keys)
    second, first = Frames(videos, batch_size), Frames(videos, batch_size)
    world = OneOfTwo(1)
    if len(second) > 1:
        embed_videos(retriever, second, videos.keys, cast(World, world))
    else:
        world.parts = [None] * 7
    both = embed_videos(retriever, first, videos.keys, cast(World, OneOfTwo(0, world.parts)))
    assert_same(both, alone)
    # Neither has done the other's work.
    assert (first.picked, second.picked) == ((len(first) + 1) // 2, len(first) // 2)


def test_captions_in_batches_and_in_two_processes() -> None:
    retriever = retriever_of()
    words = [f"a thing of number {number}" for number in range(CAPTIONS + 3)]
    words[7] = "a very long story " * 30
    alone = embed_texts(retriever, words)
    assert alone.cut == pytest.approx(1 / (CAPTIONS + 3))
    wanted = retriever.embed_texts(retriever.backbone.tokenize(words).ids_TL)
    torch.testing.assert_close(alone.features_UD, wanted, rtol=0, atol=1e-5)
    world = OneOfTwo(1)
    embed_texts(retriever, words, cast(World, world))
    both = embed_texts(retriever, words, cast(World, OneOfTwo(0, world.parts)))
    assert torch.equal(both.features_UD, alone.features_UD)
    assert both.cut == alone.cut
