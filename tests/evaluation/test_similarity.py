"""Scores in blocks, and that no head's scores know which text belongs to which video."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from math import comb
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.evaluation.embedding_trials import OneOfTwo
from tests.evaluation.slow import slow_ranks
from tests.heads.batches import FRAMES, batch, make
from tests.heads.reference import scramble
from vidsampler import registry
from vidsampler.errors import VidsamplerError
from vidsampler.evaluation.ranks import V2T
from vidsampler.evaluation.rerank import Rerank, rank_reranked
from vidsampler.evaluation.rows import MatrixError
from vidsampler.evaluation.similarity import Texts, rank_texts_and_videos, score_rows, text_ids
from vidsampler.heads.base import Head
from vidsampler.video_features import VideoFeatures
from vidsampler.world import World

HEADS = registry.names("heads")
every_head = pytest.mark.parametrize("name", HEADS)


def learned(name: str) -> Head:
    """A head whose weights are others than those it starts from."""
    head = make(name)
    scramble(head, size=0.05)
    return head


def features(texts: int, videos: int, seed: int = 0) -> tuple[Texts, VideoFeatures]:
    """Random texts and videos that know nothing of each other."""
    drawn = batch(texts, videos, seed)
    counts = drawn.keep.sum(1).long()
    slots = torch.zeros(videos, FRAMES, dtype=torch.long)
    words = [f"caption {number}" for number in range(texts)]
    return Texts.of(drawn.texts, words), VideoFeatures(drawn.frames, drawn.keep, slots, counts)


def matrix(*args: Any, **settings: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """All scores at once."""
    with score_rows(*args, **settings) as rows:
        return np.concatenate(list(rows.blocks()))


def interval(queries: int, chance: float, beyond: float = 0.0005) -> tuple[int, int]:
    """The exact binomial interval that holds all but ``beyond`` on either side."""
    shares = [
        comb(queries, hits) * chance**hits * (1 - chance) ** (queries - hits)
        for hits in range(queries + 1)
    ]
    below = np.cumsum(shares)
    return int(np.searchsorted(below, beyond)), int(np.searchsorted(below, 1 - beyond))


def test_the_interval_by_hand() -> None:
    # Of two coins: 1/4, 1/2, 1/4.
    assert interval(2, 0.5, beyond=0.3) == (1, 1)
    assert interval(2, 0.5, beyond=0.2) == (0, 2)


@every_head
def test_noise_scores_at_chance(name: str) -> None:
    texts, videos = features(240, 240, seed=5)
    ranks, _ = rank_texts_and_videos(learned(name), texts, videos)
    for found in (ranks.t2v, ranks.v2t):
        for most in (1, 10, 60):
            low, high = interval(240, most / 240)
            assert low <= np.count_nonzero(found <= most) <= high


@every_head
def test_permuting_the_texts_permutes_the_rows_alone(name: str) -> None:
    head = learned(name)
    texts, videos = features(9, 6)
    order = torch.tensor([4, 0, 8, 2, 7, 1, 6, 3, 5])
    moved = Texts.of(texts.features_UD[order], [f"caption {i}" for i in order.tolist()])
    got, scores = matrix(head, moved, videos), matrix(head, texts, videos)
    np.testing.assert_allclose(got, scores[order.numpy()], rtol=0, atol=1e-5)


@every_head
@pytest.mark.parametrize("block", [1, 7])
def test_blocks_change_no_score(name: str, block: int) -> None:
    head = learned(name)
    texts, videos = features(30, 23)
    scores = matrix(head, texts, videos, block=64)
    assert scores.shape == (30, 23)
    with torch.no_grad():
        whole = head.similarity(
            texts.features_UD, videos.features_VFD, videos.keep_VF, text_ids_T=texts.ids_U
        )
    np.testing.assert_allclose(scores, whole, rtol=0, atol=1e-6)
    np.testing.assert_allclose(matrix(head, texts, videos, block=block), scores, rtol=0, atol=1e-5)


@every_head
@pytest.mark.parametrize("shape", [(13, 5), (5, 13)])
@pytest.mark.parametrize("v2t", ["best", "grouped"])
def test_ranks_of_several_captions_and_other_numbers_of_videos(
    name: str, shape: tuple[int, int], v2t: V2T
) -> None:
    head = learned(name)
    texts, videos = features(*shape)  # T != V
    # Captions 2 and 7, of two videos, have the same words: their scores tie to the bit.
    texts = replace(texts, wordings_T=np.array([0, 1, 2, 3, 4, 1, 0, 2]))
    owners = np.array([0, 0, 1, 2, 4, 3, 3, 2])
    ranks, how = rank_texts_and_videos(head, texts, videos, owners, v2t=v2t, block=4)
    scores = matrix(head, texts, videos, block=4)
    assert (scores[2] == scores[7]).all()
    t2v, by_video = slow_ranks(scores, owners.tolist(), v2t)
    assert (ranks.t2v.tolist(), ranks.v2t.tolist()) == (t2v, by_video)
    assert (how.directions, how.transductive) == ((), False)


def test_reranking_with_a_bank() -> None:
    texts, videos = features(12, 12)
    bank, _ = features(20, 12, seed=8)
    head = learned("xpool")
    scores, of_bank = matrix(head, texts, videos), matrix(head, bank, videos)
    ranks, how = rank_texts_and_videos(head, texts, videos, rerank="qb-norm", bank=bank)
    wanted = rank_reranked(scores, None, Rerank("qb-norm", of_bank))
    np.testing.assert_array_equal(ranks.t2v, wanted.t2v)
    np.testing.assert_array_equal(ranks.v2t, wanted.v2t)
    assert how.directions == ("t2v",)
    ranks, how = rank_texts_and_videos(head, texts, videos, rerank="dsl")
    np.testing.assert_array_equal(ranks.v2t, rank_reranked(scores, None, Rerank("dsl")).v2t)
    assert how.transductive


@every_head
@pytest.mark.parametrize("texts", [64, 41, 8])
def test_two_processes_have_the_scores_of_one(name: str, texts: int) -> None:
    head = learned(name)
    inputs = features(texts, 9)
    second = OneOfTwo(1)
    score_rows(head, *inputs, block=8, world=cast(World, second)).__exit__(None, None, None)
    got = matrix(head, *inputs, block=8, world=cast(World, OneOfTwo(0, second.parts)))
    assert np.array_equal(got, matrix(head, *inputs, block=8))


def test_ids_are_of_the_words_alone() -> None:
    first = text_ids(["a dog", "a cat", ""])
    assert torch.equal(text_ids(["a cat", "a dog"]), first[[1, 0]])
    assert len(set(first.tolist())) == 3
    assert first.min() >= 0
    # 8 bytes of BLAKE2b of no text at all, most significant first, without the last bit.
    assert first[2] == 0xE4A6A0577479B2B4 >> 1


def test_scores_that_are_no_numbers_are_counted() -> None:
    texts, videos = features(4, 5)
    videos.features_VFD[2, videos.keep_VF[2].argmax()] = torch.nan
    with pytest.raises(MatrixError, match="sims of it: 4 of 20 scores are NaN or infinite"):
        rank_texts_and_videos(make("mean"), texts, videos, np.arange(4), name="sims of it")


def test_progress_counts_wordings() -> None:
    texts, videos = features(10, 3)
    told: list[tuple[int, int]] = []
    matrix(make("mean"), texts, videos, block=4, progress=lambda *done: told.append(done))
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_without_room_for_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(VidsamplerError, match="temporary file of the scores cannot be written"):
        matrix(make("mean"), *features(4, 4))
