"""`qscore` and `xpool` against NumPy, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.heads import reference as ref
from tests.heads.batches import batch, make
from vidsampler.errors import ConfigError, UsageError
from vidsampler.heads.mlp import ScoreConfig
from vidsampler.heads.xpool import PoolingConfig, XPool


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_qscore(temperature: float) -> None:
    texts, frames, keep = batch(texts=3)
    scores = make("qscore", ScoreConfig(temperature)).similarity(texts, frames, keep)
    for t, text in enumerate(ref.numbers(texts)):
        for v in range(len(frames)):
            f = ref.numbers(frames[v])[keep[v].numpy() == 1]
            weights = ref.softmax(ref.unit(f) @ ref.unit(text) / temperature)
            expected = ref.unit(weights @ f) @ ref.unit(text)
            assert scores[t, v].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("heads", "temperature"), [(1, 1.0), (4, 1.0), (4, 0.3)])
def test_xpool_with_weights_of_all_kinds(heads: int, temperature: float) -> None:
    head = make("xpool", PoolingConfig(heads=heads, temperature=temperature))
    assert isinstance(head, XPool)
    ref.scramble(head, size=0.2)
    texts, frames, keep = batch(texts=3, seed=6)
    pooled = ref.numbers(head.pool_frames(texts, frames, keep))
    scores = head.similarity(texts, frames, keep)
    for t, text in enumerate(ref.numbers(texts)):
        for v in range(len(frames)):
            f = ref.numbers(frames[v])[keep[v].numpy() == 1]
            expected = ref.text_pooling(head.pool_frames, text, f, temperature)
            np.testing.assert_allclose(pooled[t, v], expected, atol=2e-5)
            cosine = ref.unit(expected) @ ref.unit(text)
            assert scores[t, v].item() == pytest.approx(cosine, abs=1e-5)


def test_xpool_has_the_published_number_of_parameters_and_starts_as_the_identity() -> None:
    head = make("xpool", width=512)
    assert sum(p.numel() for p in head.parameters()) == 1_316_352
    linears = [m for m in head.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linears) == 5
    for linear in linears:
        assert torch.equal(linear.weight, torch.eye(512))
        assert not linear.bias.any()


def test_frames_that_nearly_cancel_lose_no_digits_that_matter() -> None:
    """The length of a sum of opposite frames comes from products that are far larger than it."""
    head, (texts, frames, keep) = make("xpool", PoolingConfig(heads=4)), batch(texts=6, videos=8)
    assert isinstance(head, XPool)
    ref.scramble(head, size=0.2)
    frames[:, 1] = -frames[:, 0] + 0.1 * frames[:, 2]
    keep[:] = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0])
    for each in (head, make("qscore")):
        scores = each.similarity(texts, frames, keep)
        exact = each.double().pair_scores(texts.double(), frames.double(), keep.double())  # type: ignore[operator]
        torch.testing.assert_close(scores.double(), exact, rtol=0, atol=1e-5)


def test_xpool_drops_out_in_training_only() -> None:
    head, inputs = make("xpool", PoolingConfig(dropout=0.5)), batch()
    first = head.train().training_terms(*inputs).similarity_TV
    assert not torch.equal(head.training_terms(*inputs).similarity_TV, first)
    head.eval()
    assert torch.equal(head.similarity(*inputs), head.similarity(*inputs))


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"dropout must be from 0 to below 1, not 1"):
        PoolingConfig(dropout=1.0)
    with pytest.raises(ConfigError, match="heads must be at least 1, not 0"):
        PoolingConfig(heads=0)
    with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
        PoolingConfig(temperature=0)
    with pytest.raises(UsageError, match="7 pooling heads do not divide the width 64"):
        make("xpool", PoolingConfig(heads=7))
