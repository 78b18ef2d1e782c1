"""The gate's draw and its gradient beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.samplers.learning import WIDTH, chosen, lengths, tiny_policy, videos
from vidsampler.samplers.gate import (
    GateSampler,
    annealed_share,
    force_first,
    gumbel_keep,
    keep_likely,
)
from vidsampler.samplers.learned import gumbel_noise, temperature


def soft_keep(logits: np.ndarray, noise: np.ndarray, tau: float) -> np.ndarray:
    """Column 0 of softmax((log p + G) / tau)."""
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    y = np.exp((np.log(np.maximum(p, 1e-8)) + noise) / tau)
    return np.asarray((y / y.sum(-1, keepdims=True))[..., 0])


@pytest.mark.parametrize("tau", [5.0, 1.0, 0.5, 0.1])
def test_forward_is_the_argmax_and_the_gradient_that_of_the_softmax(tau: float) -> None:
    generator = np.random.default_rng(0)
    z = generator.normal(size=(3, 5, 2))
    z[0, 0] = [30.0, 0.0]  # p(skip) = 9e-14, raised to 1e-8
    noise = generator.gumbel(size=(3, 5, 2)) * 0.3
    weights = generator.normal(size=(3, 5))
    logits = torch.tensor(z, requires_grad=True)
    actions = gumbel_keep(logits, torch.tensor(noise), tau)
    soft = soft_keep(z, noise, tau)
    assert actions.tolist() == (soft >= 0.5).astype(float).tolist()
    assert 0 < actions.sum() < 15
    (actions * torch.tensor(weights)).sum().backward()
    step = 1e-6
    expected = np.zeros_like(z)
    for place in np.ndindex(z.shape):
        moved = np.zeros_like(z)
        moved[place] = step
        change = soft_keep(z + moved, noise, tau) - soft_keep(z - moved, noise, tau)
        expected[place] = (weights * change).sum() / (2 * step)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-5, atol=1e-8)
    assert np.abs(expected).max() > 1e-2


def test_a_probability_counts_as_1e_minus_8_at_least() -> None:
    # log 1e-8 = -18.42: noise of 18 against skipping is not enough, noise of 19 is.
    logits = torch.tensor([[[30.0, 0.0], [30.0, 0.0]]])
    noise = torch.tensor([[[-18.0, 0.0], [-19.0, 0.0]]])
    assert gumbel_keep(logits, noise, 1.0).tolist() == [[1.0, 0.0]]


def test_first_frame_is_forced_without_gradient_and_padding_skipped() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 2, dtype=torch.float64)
    logits[:, 0] = torch.tensor([-9.0, 9.0])
    logits[1, 3] = torch.tensor([9.0, -9.0])
    logits.requires_grad_()
    valid = lengths(4, 3, frames=4)
    drawn = gumbel_keep(logits, torch.zeros(2, 4, 2, dtype=torch.float64), 1.0)
    assert drawn[:, 0].tolist() == [0, 0]
    actions = force_first(drawn, valid)
    assert actions[:, 0].tolist() == [1, 1]
    assert actions[1, 3] == 0
    actions.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[:, 0].any()
    assert not logits.grad[1, 3].any()
    assert logits.grad[0, 1:].all()
    assert logits.grad[1, 1:3].all()


def test_inference_keeps_what_is_more_likely_than_not() -> None:
    logits = torch.tensor([[[0.0, 5.0], [1.0, 0.9], [2.0, 2.0], [-3.0, -2.9], [4.0, 0.0]]])
    # Frame 0 is forced; exactly one half is not more than one half.
    assert keep_likely(logits, lengths(5, frames=5)).tolist() == [[True, True, False, False, True]]
    assert keep_likely(logits, lengths(4, frames=5)).tolist() == [[True, True, False, False, False]]


def test_temperature() -> None:
    # exp(-0.45) = 0.637628, exp(-4.5) = 0.011109: no floor of its own.
    values = [temperature(e) for e in (0, 10, 100)]
    assert values == pytest.approx([5, 3.188141, 0.0555450], abs=1e-6)
    assert temperature(100, 0.5) == 0.5
    sampler = GateSampler(tiny_policy(), clip_width=WIDTH)
    sampler.set_epoch(10)
    assert sampler.tau == values[1]


def test_noise_is_gumbel() -> None:
    like = torch.empty(0, dtype=torch.float64)
    noise = gumbel_noise((200_000,), like, torch.Generator().manual_seed(0))
    assert noise.dtype == torch.float64
    assert torch.isfinite(noise).all()
    # Mean Euler's constant, variance pi^2 / 6, P(G < 0) = 1 / e.
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.var().item() == pytest.approx(1.6449, abs=0.03)
    assert (noise < 0).double().mean().item() == pytest.approx(0.3679, abs=0.005)


def sampler_of(seed: int = 0) -> GateSampler:
    torch.manual_seed(seed)
    return GateSampler(tiny_policy(), clip_width=WIDTH).double()


def test_decisions_do_not_depend_on_batch_mates_or_their_order() -> None:
    sampler = sampler_of().eval()
    features, valid = videos(), lengths(7, 7, 5, 2, 7)
    kept = sampler(features, valid)
    together = chosen(kept)
    assert len({tuple(each) for each in together}) > 2
    assert all(each[0] == 0 and each == sorted(each) for each in together)
    assert all(i < n for each, n in zip(together, (7, 7, 5, 2, 7), strict=True) for i in each)
    for video in range(5):
        alone = sampler(features[video : video + 1], valid[video : video + 1])
        assert chosen(alone) == [together[video]]
    order = [3, 0, 4, 2, 1]
    assert chosen(sampler(features[order], valid[order])) == [together[i] for i in order]
    assert kept.actions_BN is None
    # What is logged is p(keep).
    likely = (kept.probabilities_BN > 0.5) & valid
    likely[:, 0] = True
    assert torch.equal(likely, kept.hard_BN)


def test_training_decisions_follow_the_noise_given() -> None:
    sampler = sampler_of().train()
    features, valid = videos(), lengths(7, 7, 5, 2, 7)
    noise = torch.randn(sampler.noise_shape(5, 7), dtype=torch.float64)
    kept = sampler(features, valid, noise=noise)
    noisy = kept.logits_BNA.detach() + noise
    wanted = (noisy[..., 0] > noisy[..., 1]) & valid
    wanted[:, 0] = True
    assert torch.equal(kept.hard_BN, wanted)
    assert kept.actions_BN.tolist() == wanted.double().tolist()
    order = [3, 0, 4, 2, 1]
    again = sampler(features[order], valid[order], noise=noise[order])
    assert torch.equal(again.actions_BN, kept.actions_BN[order])
    generator = torch.Generator()
    draws = [sampler(features, valid, generator=generator.manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0].actions_BN, draws[1].actions_BN)
    assert not torch.equal(draws[0].actions_BN, draws[2].actions_BN)


def test_the_share_falls_from_all_to_the_target() -> None:
    shares = [annealed_share(epoch, 0.25, 3) for epoch in range(5)]
    assert shares == pytest.approx([1, 0.75, 0.5, 0.25, 0.25])
    assert annealed_share(0, 0.25, 0) == 0.25


@pytest.mark.parametrize(("bias", "kept"), [(0.0, 0.5), (3.0, 0.9526)])
def test_how_many_frames_are_kept_at_first(bias: float, kept: float) -> None:
    policy = tiny_policy(start_even=True, start_bias=bias)
    sampler = GateSampler(policy, clip_width=WIDTH).double().eval()
    logits = sampler(videos(), lengths(*[7] * 5)).logits_BNA
    p = torch.softmax(logits, -1)[..., 0]
    assert p.flatten().tolist() == pytest.approx([kept] * 35, abs=1e-4)


def test_float32_under_autocast() -> None:
    sampler = sampler_of().float().train()
    features, valid = videos().float(), lengths(*[7] * 5)
    noise = torch.randn(5, 7, 2)
    plain = sampler(features, valid, noise=noise)
    with torch.autocast("cpu", torch.bfloat16):
        cast = sampler(features, valid, noise=noise)
    assert cast.logits_BNA.dtype == cast.actions_BN.dtype == torch.float32
    assert torch.equal(cast.logits_BNA, plain.logits_BNA)
    assert torch.equal(cast.actions_BN, plain.actions_BN)
