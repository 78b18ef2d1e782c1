"""`tmass` against loops over texts, videos and trials."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from tests.heads import reference as ref
from tests.heads.batches import FRAMES, WIDTH, batch, make
from vidsampler.errors import ConfigError, UsageError
from vidsampler.heads.tmass import TMass, TMassConfig
from vidsampler.heads.xpool import PoolingConfig
from vidsampler.losses.retrieval import retrieval_loss
from vidsampler.losses.support import support_loss

Variant = Literal["none", "exp-mean", "exp-theta-mean", "linear"]
VARIANTS: list[Variant] = ["none", "exp-mean", "exp-theta-mean", "linear"]
PLAIN = PoolingConfig(dropout=0.0)


def scrambled(config: TMassConfig) -> TMass:
    head = make("tmass", config)
    assert isinstance(head, TMass)
    ref.scramble(head, size=0.1)
    return head


def radius(head: TMass, text: ref.Array, frames: ref.Array, keep: ref.Array) -> ref.Array:
    """The radius of one text beside one video."""
    cosines = ref.unit(frames) @ ref.unit(text) * keep
    match head.config.radius:
        case "none":
            return np.ones(len(text))
        case "exp-mean":
            return np.full(len(text), np.exp(cosines.sum() / keep.sum()))
        case "exp-theta-mean":
            theta = float(head.radius.theta.detach())
            assert theta != 1
            return np.full(len(text), np.exp(theta * cosines.sum() / keep.sum()))
    return np.exp(ref.linear(head.radius.linear_proj, cosines))


@pytest.mark.parametrize("noise", ["uniform", "normal"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_inference_is_the_best_of_all_trials(
    variant: Variant, noise: Literal["uniform", "normal"]
) -> None:
    head = scrambled(TMassConfig(radius=variant, noise=noise, trials=6, std=0.5))
    texts, frames, keep = batch(texts=3, seed=7)
    scores = head.similarity(texts, frames, keep, text_ids_T=torch.tensor([5, 0, 9]))
    points = ref.numbers(head.points([5, 0, 9], texts))
    for t, text in enumerate(ref.numbers(texts)):
        for v in range(len(frames)):
            f, m = ref.numbers(frames[v]), ref.numbers(keep[v])
            pooled = ref.text_pooling(head.pool_frames, text, f[m == 1])
            r = radius(head, text, f, m)
            best = max(ref.unit(text + eps * r) @ ref.unit(pooled) for eps in points[t])
            assert scores[t, v].item() == pytest.approx(best, abs=1e-5)


def test_more_trials_never_score_less() -> None:
    inputs = batch(texts=6, videos=6)
    few, many = make("tmass", TMassConfig(trials=5)), make("tmass", TMassConfig(trials=20))
    # The first 5 points of a text are the same.
    gain = many.similarity(*inputs) - few.similarity(*inputs)
    assert gain.min() > -1e-6
    assert gain.max() > 1e-3


def test_points_are_a_texts_own() -> None:
    head, like = make("tmass"), torch.empty(1)
    assert isinstance(head, TMass)
    points = head.points([4, 1], like)
    assert points.shape == (2, 20, WIDTH)
    assert torch.equal(head.points([1], like)[0], points[1])
    assert not torch.equal(points[0], points[1])
    other = make("tmass", TMassConfig(seed=1))
    assert isinstance(other, TMass)
    assert not torch.equal(other.points([4, 1], like), points)
    assert 0 <= points.min() < points.max() < 1
    # An id may be any integer, and there is one for each text.
    assert not torch.equal(head.points([-1], like), head.points([1], like))
    texts, frames, keep = batch()
    with pytest.raises(ValueError, match=rf"\(1,\) text ids for {len(texts)} texts"):
        head.similarity(texts, frames, keep, text_ids_T=torch.tensor([3]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_terms_and_their_loss(variant: Variant) -> None:
    head = scrambled(TMassConfig(radius=variant, pooling=PLAIN)).train()
    texts, frames, keep = batch(seed=8)
    eps = torch.rand(4, WIDTH, generator=torch.Generator().manual_seed(0))
    terms = head.training_terms(texts, frames, keep, noise_TD=eps)
    assert terms.support_TV is not None
    t, f, m, e = (ref.numbers(x) for x in (texts, frames, keep, eps))
    pooled = np.array(
        [
            [ref.text_pooling(head.pool_frames, t[i], f[j][m[j] == 1]) for j in range(4)]
            for i in range(4)
        ]
    )
    main, support = np.zeros((4, 4)), np.zeros((4, 4))
    for i in range(4):
        r = radius(head, t[i], f[i], m[i])
        towards = ref.unit(pooled[:, i].mean(0) - t[i])
        for j in range(4):
            main[i, j] = ref.unit(t[i] + e[i] * r) @ ref.unit(pooled[i, j])
            support[i, j] = ref.unit(t[i] + towards * r) @ ref.unit(pooled[i, j])
    np.testing.assert_allclose(ref.numbers(terms.similarity_TV), main, atol=1e-5)
    np.testing.assert_allclose(ref.numbers(terms.support_TV), support, atol=1e-5)

    def symmetric(s: ref.Array) -> float:
        rows = np.log(np.diagonal(ref.softmax(20 * s)))
        columns = np.log(np.diagonal(ref.softmax(20 * s.T)))
        return float(-(rows.mean() + columns.mean()) / 2)

    assert terms.support_weight == 0.8
    got = support_loss(terms.support_TV, 20.0, weight=terms.support_weight)
    assert got.item() == pytest.approx(0.8 * symmetric(support), rel=1e-4)
    loss = retrieval_loss(terms.similarity_TV, 20.0) + got
    assert loss.item() == pytest.approx(symmetric(main) + 0.8 * symmetric(support), rel=1e-4)


def test_nothing_of_the_support_loss_is_detached() -> None:
    head, (texts, frames, keep) = scrambled(TMassConfig(pooling=PLAIN)).train(), batch()
    texts.requires_grad_(True)
    terms = head.training_terms(texts, frames, keep)
    assert terms.support_TV is not None
    # Row 0 alone: the direction towards video 0 holds all texts of the batch.
    terms.support_TV[0].sum().backward()
    assert texts.grad is not None
    assert (texts.grad.abs().amax(1) > 0).all()


def test_several_texts_of_one_video() -> None:
    head = make("tmass", TMassConfig(radius="exp-mean", pooling=PLAIN))
    texts, frames, keep = batch(texts=3, videos=2)
    eps = torch.zeros(3, WIDTH)
    own = torch.tensor([0, 1, 1])
    assert isinstance(head, TMass)
    terms = head.training_terms(texts, frames, keep, own_T=own, noise_TD=eps)
    assert terms.similarity_TV.shape == (3, 2)
    with pytest.raises(ValueError, match="3 texts and 2 videos"):
        head.training_terms(texts, frames, keep)


def test_without_support_weight_there_is_no_support_term() -> None:
    terms = make("tmass", TMassConfig(support_weight=0.0)).training_terms(*batch())
    assert terms.support_TV is None


def test_radius_starts_as_published() -> None:
    head = make("tmass", width=8)
    assert isinstance(head, TMass)
    assert torch.equal(head.radius.linear_proj.weight, torch.eye(8)[:, :FRAMES])
    assert not head.radius.linear_proj.bias.any()
    theta = make("tmass", TMassConfig(radius="exp-theta-mean"))
    assert isinstance(theta, TMass)
    assert theta.radius.theta.item() == 1.0


def test_another_number_of_frames_is_an_error_with_both() -> None:
    texts, frames, _ = batch()
    shorter = (texts, frames[:, :3], torch.ones(4, 3))
    with pytest.raises(UsageError, match="made for 5 frames and got 3") as caught:
        make("tmass").similarity(*shorter)
    assert caught.value.hint == "keep 5 frames, or train it with 3"
    with pytest.raises(UsageError, match="made for 5 frames and got 3"):
        make("tmass").training_terms(*shorter)
    assert make("tmass", TMassConfig(radius="exp-mean")).similarity(*shorter).shape == (4, 4)


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="trials must be at least 1, not 0"):
        TMassConfig(trials=0)
    with pytest.raises(ConfigError, match="std must not be below 0, not -1"):
        TMassConfig(std=-1.0)
