"""`mean`, `mlp` and `transformer` against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.heads import reference as ref
from tests.heads.batches import batch, make
from vidsampler.errors import ConfigError
from vidsampler.heads.base import Head, masked_softmax
from vidsampler.heads.block import attention_heads
from vidsampler.heads.mlp import MLPScore, ScoreConfig
from vidsampler.heads.transformer import TransformerScore


def embedded(head: Head, frames: torch.Tensor, keep: torch.Tensor) -> ref.Array:
    return ref.numbers(head.embed(frames, keep))  # type: ignore[operator]


def test_mean_by_hand() -> None:
    frames = torch.tensor([[[3.0, 0.0], [0.0, 5.0], [9.0, 9.0]]])
    keep = torch.tensor([[1.0, 1.0, 0.0]])
    head = make("mean", width=2)
    # Both kept frames count alike, whatever their length.
    np.testing.assert_allclose(embedded(head, frames, keep), [[0.5**0.5, 0.5**0.5]], atol=1e-7)
    texts = torch.tensor([[2.0, 0.0], [-1.0, -1.0]])
    scores = head.similarity(texts, frames, keep)
    np.testing.assert_allclose(scores.numpy(), [[0.5**0.5], [-1.0]], atol=1e-6)


def test_mean_gradient_with_respect_to_the_mask_by_hand() -> None:
    frames = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    keep = torch.tensor([[1.0, 0.0]], requires_grad=True)
    head = make("mean", width=2)
    head.similarity(torch.tensor([[0.0, 1.0]]), frames, keep).sum().backward()
    # v = (m0, m1) / |(m0, m1)|, and the score is its second part: the slope at (1, 0) is (0, 1).
    assert keep.grad is not None
    np.testing.assert_allclose(keep.grad.numpy(), [[0.0, 1.0]], atol=1e-6)


def test_masked_softmax_is_the_formula_and_so_is_its_gradient() -> None:
    scores = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    keep = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    values = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    (masked_softmax(scores, keep) * values).sum().backward()
    e, v = np.exp(ref.numbers(scores)), ref.numbers(values)
    total = e[0] + e[2]
    mean = (e[0] * v[0] + e[2] * v[2]) / total
    assert scores.grad is not None
    assert keep.grad is not None
    np.testing.assert_allclose(keep.grad, e * (v - mean) / total, atol=1e-12)
    expected = ref.numbers(keep) * e * (v - mean) / total
    np.testing.assert_allclose(scores.grad, expected, atol=1e-12)


@pytest.mark.parametrize("skipped", [1e4, 200.0, -1e4])
def test_masked_softmax_with_a_far_score_in_a_skipped_slot(skipped: float) -> None:
    scores = torch.tensor([0.0, skipped, 0.0], requires_grad=True)
    keep = torch.tensor([1.0, 0.0, 1.0], requires_grad=True)
    weights = masked_softmax(scores, keep)
    assert weights.tolist() == [0.5, 0.0, 0.5]
    weights[0].backward()
    assert scores.grad is not None
    assert keep.grad is not None
    assert scores.grad.isfinite().all()
    assert keep.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_mlp_score(temperature: float) -> None:
    head = make("mlp", ScoreConfig(temperature))
    assert isinstance(head, MLPScore)
    ref.scramble(head)
    _, frames, keep = batch(seed=1)
    weights = ref.numbers(head.weights(frames, keep))
    vectors = embedded(head, frames, keep)
    for v in range(len(frames)):
        used = keep[v].numpy() == 1
        f = ref.numbers(frames[v])[used]
        hidden = ref.quick_gelu(ref.linear(head.mlp[0], f))
        hidden = ref.quick_gelu(ref.linear(head.mlp[2], hidden))
        expected = ref.softmax(ref.linear(head.mlp[4], hidden)[:, 0] / temperature)
        np.testing.assert_allclose(weights[v][used], expected, atol=1e-5)
        assert (weights[v][~used] == 0).all()
        np.testing.assert_allclose(vectors[v], ref.unit(expected @ f), atol=1e-5)


@pytest.mark.parametrize("shift", [1e3, -1e3])
def test_masked_softmax_of_scores_far_from_0(shift: float) -> None:
    weights = masked_softmax(torch.tensor([0.0, 1.0, 5.0]) + shift, torch.tensor([1.0, 1.0, 0.0]))
    e = np.exp(1)
    np.testing.assert_allclose(weights, [1 / (1 + e), e / (1 + e), 0], rtol=1e-4)


def test_mlp_score_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in make("mlp", width=512).parameters()) == 1_050_625


def test_transformer_score() -> None:
    head = make("transformer")
    assert isinstance(head, TransformerScore)
    ref.scramble(head, size=0.1)
    _, frames, keep = batch(seed=2)
    vectors = embedded(head, frames, keep)
    for v in range(len(frames)):
        used, f = keep[v].numpy() == 1, ref.numbers(frames[v])
        seen = ref.attention_block(head.block, f, used)
        weights = ref.softmax(ref.linear(head.score, seen)[used, 0])
        np.testing.assert_allclose(vectors[v], ref.unit(weights @ f[used]), atol=1e-5)


def test_attention_heads_divide_the_width() -> None:
    assert [attention_heads(width) for width in (512, 1000, 128, 64, 30)] == [8, 10, 2, 1, 1]


def test_a_temperature_must_be_above_0() -> None:
    with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
        ScoreConfig(0.0)
