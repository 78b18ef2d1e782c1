"""Hard-Top-k beside a plain NumPy reference and finite differences of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.samplers.learning import WIDTH, chosen, lengths, tiny_policy, videos
from vidsampler.errors import UsageError
from vidsampler.samplers.kept import Kept
from vidsampler.samplers.learned import temperature
from vidsampler.samplers.topk import (
    TopKSampler,
    annealed_k,
    draw_choices,
    hard_topk,
    highest,
    sort_by_time,
)

TAUS = (5.0, 1.0, 0.5, 0.1)


def reference(z: Any, noise: Any, tau: float, k: int) -> tuple[Any, list[int]]:
    """Rows p_k (k, N) and picks of one video, in extended precision and with plain loops."""
    z, noise = np.asarray(z, np.longdouble), np.asarray(noise, np.longdouble)
    probabilities = np.exp(z) / np.exp(z).sum()
    y = np.log(np.maximum(probabilities, 1e-8)) + noise
    rows, picks = [], []
    for _ in range(k):
        p = np.exp(y / tau) / np.exp(y / tau).sum()
        left = [i for i in range(len(z)) if i not in picks]
        picks.append(max(left, key=lambda i: p[i]))
        rows.append(p)
        y = y + np.log(np.maximum(1 - p, 1e-40))
    return np.array(rows), picks


def slope(z: Any, noise: Any, tau: float, weights: Any, order: list[int]) -> Any:
    """d/dz of sum(weights * p[order]) by central differences; the picks are held fixed."""
    k = len(order)
    step = np.longdouble(1e-7)
    found = []
    for i in range(len(z)):
        unit = step * (np.arange(len(z)) == i)
        above, _ = reference(z + unit, noise, tau, k)
        below, _ = reference(z - unit, noise, tau, k)
        found.append((weights * (above - below)[order]).sum() / (2 * step))
    return np.array(found, np.float64)


def case(seed: int, count: int = 6) -> tuple[Any, Any]:
    """Logits and noise, close enough together that no softmax saturates at tau 0.1."""
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.3, 0.3, count), generator.uniform(-0.5, 0.5, count)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("in_time", [False, True], ids=["as picked", "by time"])
@pytest.mark.parametrize("floored", [False, True])
def test_forward_and_gradient(tau: float, in_time: bool, floored: bool) -> None:
    k = 4
    cases = [case(seed) for seed in range(5)]
    if floored:
        # A probability of 1.4e-11, raised to 1e-8.
        for z, _ in cases:
            z[2] = -25.0
    logits = torch.tensor(np.array([z for z, _ in cases]), requires_grad=True)
    noise = torch.tensor(np.array([g for _, g in cases]))
    weights = np.random.default_rng(9).normal(size=(5, k, 6))
    picks = hard_topk(logits, noise, tau, k)
    if in_time:
        picks = sort_by_time(picks)
    (picks.selection_BKN * torch.tensor(weights)).sum().backward()
    assert logits.grad is not None
    for video, (z, g) in enumerate(cases):
        _, wanted = reference(z, g, tau, k)
        order = sorted(range(k), key=lambda slot: wanted[slot]) if in_time else list(range(k))
        wanted = [wanted[slot] for slot in order]
        assert picks.indices_BK[video].tolist() == wanted
        # Exactly 0 and 1: no rounding of the soft part is left in them.
        assert picks.selection_BKN[video].tolist() == np.eye(6)[wanted].tolist()
        expected = slope(z, g, tau, weights[video], order)
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(logits.grad[video].numpy(), expected, rtol=1e-6, atol=1e-9)


def test_one_pick_by_hand() -> None:
    # Two frames, tau 1: p = sigmoid of the difference d of z + G, dp/dz = p (1 - p).
    logits = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    noise = torch.tensor([[0.1, 1.4]], dtype=torch.float64)
    picks = hard_topk(logits, noise, 1.0, 1)
    assert picks.indices_BK.tolist() == [[1]]
    picks.selection_BKN[0, 0, 1].backward()
    p = 1 / (1 + np.exp(-0.8))
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), [[-p * (1 - p), p * (1 - p)]])


@pytest.mark.parametrize("tau", [5.0, 1.0, 0.5])
def test_from_tau_one_half_it_is_gumbel_top_k(tau: float) -> None:
    generator = np.random.default_rng(1)
    z, g = generator.normal(size=(200, 16)), generator.gumbel(size=(200, 16))
    picks = hard_topk(torch.tensor(z), torch.tensor(g), tau, 12)
    # log softmax(z) is z less a constant.
    assert picks.indices_BK.tolist() == np.argsort(-(z + g), axis=1)[:, :12].tolist()


def test_below_tau_one_half_near_ties_change_places() -> None:
    # y = 0, -0.001, -0.3: at tau 0.1 the first pick takes half of the second one too:
    # -0.001 + log(1 - 0.49) is less than -0.3 + log(1 - 0.02).
    y = torch.tensor([[0.0, -0.001, -0.3]], dtype=torch.float64)
    picks = hard_topk(torch.zeros_like(y), y, 0.1, 2)
    assert picks.indices_BK.tolist() == [[0, 2]]
    assert hard_topk(torch.zeros_like(y), y, 0.5, 2).indices_BK.tolist() == [[0, 1]]


def test_far_apart_frames_at_a_low_temperature_in_float32() -> None:
    # p underflows for all but the first; the order is still that of y, all is finite.
    logits = torch.tensor([[0.0, 3.0, 9.0, 6.0]], requires_grad=True)
    picks = hard_topk(logits, torch.zeros(1, 4), 0.02, 3)
    assert picks.indices_BK.tolist() == [[2, 3, 1]]
    picks.selection_BKN.mul(torch.arange(4.0)).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_padding_is_never_picked_and_unused_slots_are_empty() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 7, dtype=torch.float64)
    noise = torch.randn(4, 7, dtype=torch.float64)
    valid = lengths(7, 4, 2, 1)
    logits[~valid] = 50.0
    logits.requires_grad_()
    for picks in (
        hard_topk(logits, noise, 1.0, 4, valid),
        sort_by_time(hard_topk(logits, noise, 1.0, 4, valid)),
    ):
        assert picks.mask_BK.sum(1).tolist() == [4, 4, 2, 1]
        assert picks.mask_BK.tolist() == lengths(4, 4, 2, 1, frames=4).tolist()
        for video, count in enumerate((7, 4, 2, 1)):
            used = picks.indices_BK[video][picks.mask_BK[video]].tolist()
            assert len(set(used)) == len(used)
            assert all(i < count for i in used)
        assert not picks.selection_BKN.masked_select(~picks.mask_BK[..., None]).any()
        assert not picks.selection_BKN.masked_select(~valid[:, None]).any()
        (gradient,) = torch.autograd.grad(
            picks.selection_BKN.mul(torch.randn(7, dtype=torch.float64)).sum(), logits
        )
        assert torch.isfinite(gradient).all()
        assert not gradient[~valid].any()
    # A video's real frames are treated as if there were no padding, also by the gradient.
    alone = hard_topk(logits[1:2, :4], noise[1:2, :4], 5.0, 4)
    padded = hard_topk(logits, noise, 5.0, 4, valid)
    assert torch.equal(padded.selection_BKN[1:2, :, :4], alone.selection_BKN)
    weights = torch.randn(4, 4, dtype=torch.float64)
    expected, found = (
        torch.autograd.grad((picks.selection_BKN[-3:][:1, :, :4] * weights).sum(), logits)[0]
        for picks in (alone, padded)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("k", [0, 8])
def test_more_frames_than_there_are_is_an_error_in_training(k: int) -> None:
    with pytest.raises(UsageError, match=f"cannot pick {k} of 7 candidate frames"):
        hard_topk(torch.zeros(1, 7), torch.zeros(1, 7), 1.0, k)


def test_more_frames_than_there_are_is_one_whatever_the_annealing() -> None:
    sampler = TopKSampler(tiny_policy(), 9, warmup_epochs=3, clip_width=WIDTH)
    with pytest.raises(UsageError, match="cannot pick 9 of 7") as caught:
        sampler(videos().float(), lengths(7, 7, 7, 7, 7))
    assert "from 1 to 7" in str(caught.value.hint)
    kept = sampler.eval()(videos().float(), lengths(7, 7, 7, 3, 1))
    assert kept.counts_B.tolist() == [7, 7, 7, 3, 1]


def test_inference_takes_the_highest_and_of_equal_ones_the_earlier() -> None:
    logits = torch.tensor(
        [
            [0.0, 5.0, 1.0, 5.0, -1.0, 2.0],
            [3.0, 3.0, 3.0, 3.0, 3.0, 3.0],
            [1.0, 2.0, 9.0, 9.0, 9.0, 9.0],
            [-5.0, -4.0, -6.0, -9.0, 0.0, 0.0],
        ]
    )
    valid = lengths(6, 6, 2, 4, frames=6)
    indices, mask = highest(logits, 3, valid)
    assert indices.tolist() == [[1, 3, 5], [0, 1, 2], [0, 1, 0], [0, 1, 2]]
    assert mask.tolist() == [[True] * 3, [True] * 3, [True, True, False], [True] * 3]
    assert highest(logits, 20, valid)[1].sum(1).tolist() == [6, 6, 2, 4]


def test_schedules() -> None:
    # 15 - 3 e / 4, rounded down.
    assert [annealed_k(e, 12, 16, 4) for e in range(6)] == [15, 14, 13, 12, 12, 12]
    # 9 - 7 e / 3: 9, 6.67, 4.33.
    assert [annealed_k(e, 2, 10, 3) for e in range(4)] == [9, 6, 4, 2]
    assert [annealed_k(e, 12, 16, 0) for e in range(2)] == [12, 12]
    sampler = TopKSampler(tiny_policy(), 2, warmup_epochs=2, clip_width=WIDTH)
    taus, counts = [], []
    for epoch in (0, 1, 2, 51, 52, 1000):
        sampler.set_epoch(epoch)
        taus.append(sampler.tau)
        counts.append(sampler(videos().float(), lengths(*[7] * 5)).counts_B.tolist())
    # 5 exp(-0.045 e): by hand exp(-0.045) = 0.955997, exp(-2.295) = 0.100761.
    assert taus == pytest.approx([5, 4.779987, 4.569656, 0.503807, 0.5, 0.5], abs=2e-6)
    assert counts == [[6] * 5, [4] * 5] + [[2] * 5] * 4
    assert sampler.eval()(videos().float(), lengths(*[7] * 5)).counts_B.tolist() == [2] * 5


def test_held_epochs_keep_all_and_teach_the_policy_nothing() -> None:
    sampler = TopKSampler(tiny_policy(), 2, warmup_epochs=2, hold_epochs=3, clip_width=WIDTH)
    features, valid = videos().float(), lengths(7, 7, 5, 2, 7)
    counts, taus = [], []
    for epoch in range(7):
        sampler.set_epoch(epoch)
        counts.append(sampler.k_of(7))
        taus.append(sampler.tau)
        kept = sampler.train()(features, valid)
        least = [min(counts[-1], length) for length in (7, 7, 5, 2, 7)]
        assert kept.counts_B.tolist() == least
        assert (kept.selection_BKN is None) == (epoch < 3)
        # What is seen at test time waits for nothing.
        assert sampler.eval()(features, valid).counts_B.tolist() == [2] * 5
    # 6 - 4 e / 2, the epochs e counted from the end of the held ones.
    assert counts == [7, 7, 7, 6, 4, 2, 2]
    assert taus == [5, 5, 5, *(temperature(e) for e in range(4))]


def sampler_of(k: int, seed: int = 0) -> TopKSampler:
    torch.manual_seed(seed)
    return TopKSampler(tiny_policy(), k, clip_width=WIDTH).double()


def test_decisions_do_not_depend_on_batch_mates_or_their_order() -> None:
    sampler = sampler_of(3).eval()
    features, valid = videos(), lengths(7, 7, 5, 2, 7)
    together = chosen(sampler(features, valid))
    assert [len(each) for each in together] == [3, 3, 3, 2, 3]
    assert len({tuple(each) for each in together}) > 2
    for video in range(5):
        assert chosen(sampler(features[video : video + 1], valid[video : video + 1])) == [
            together[video]
        ]
    order = [3, 0, 4, 2, 1]
    assert chosen(sampler(features[order], valid[order])) == [together[i] for i in order]


def test_training_decisions_follow_the_noise_given() -> None:
    sampler = sampler_of(3).train()
    features, valid = videos(), lengths(7, 7, 5, 2, 7)
    noise = torch.randn(sampler.noise_shape(5, 7), dtype=torch.float64)
    kept = sampler(features, valid, noise=noise)
    logits = kept.logits_BNA[..., 0].detach().numpy()
    for video, count in enumerate((7, 7, 5, 2, 7)):
        noisy = (logits + noise.numpy())[video, :count]
        assert chosen(kept)[video] == sorted(np.argsort(-noisy)[:3].tolist())
    order = [3, 0, 4, 2, 1]
    again = sampler(features[order], valid[order], noise=noise[order])
    torch.testing.assert_close(again.selection_BKN, kept.selection_BKN[order])


def test_drawn_noise_is_that_of_the_generator() -> None:
    sampler = sampler_of(3).train()
    features, valid = videos(), lengths(*[7] * 5)

    def draw(seed: int) -> Tensor:
        kept: Kept = sampler(features, valid, generator=torch.Generator().manual_seed(seed))
        return kept.indices_BK

    assert torch.equal(draw(4), draw(4))
    assert not torch.equal(draw(4), draw(5))


def test_float32_under_autocast() -> None:
    sampler = sampler_of(3).float().train()
    features, valid = videos().float(), lengths(*[7] * 5)
    noise = torch.randn(5, 7)
    plain = sampler(features, valid, noise=noise)
    with torch.autocast("cpu", torch.bfloat16):
        cast = sampler(features, valid, noise=noise)
    assert cast.logits_BNA.dtype == cast.selection_BKN.dtype == torch.float32
    assert torch.equal(cast.selection_BKN, plain.selection_BKN)
    assert torch.equal(cast.logits_BNA, plain.logits_BNA)


def test_k_must_be_positive() -> None:
    with pytest.raises(UsageError, match="at least 1, not 0"):
        TopKSampler(tiny_policy(), 0, clip_width=WIDTH)
    with pytest.raises(UsageError, match="at least 0, not -1"):
        TopKSampler(tiny_policy(), 2, warmup_epochs=-1, clip_width=WIDTH)
    with pytest.raises(UsageError, match="hold epochs must be at least 0, not -1"):
        TopKSampler(tiny_policy(), 2, hold_epochs=-1, clip_width=WIDTH)


def test_choices_are_drawn_as_one_is() -> None:
    torch.manual_seed(0)
    logits, noise = torch.randn(3, 7).double(), torch.randn(3, 5, 7).double()
    valid = torch.arange(7) < torch.tensor([[7], [4], [2]])
    draws = draw_choices(logits, noise, 3, valid)
    for m in range(5):
        picks = sort_by_time(hard_topk(logits, noise[:, m], 1.0, 3, valid))
        assert draws.indices_BMK[:, m].tolist() == picks.indices_BK.tolist()
        assert draws.mask_BK.tolist() == picks.mask_BK.tolist()
    # In the order of picking, then the rest, padding last.
    assert draws.order_BMN.sort(2).values.tolist() == [[list(range(7))] * 5] * 3
    assert (draws.order_BMN[2, :, :2] < 2).all()


def test_the_first_draw_is_what_is_kept() -> None:
    sampler = TopKSampler(tiny_policy(), 2, clip_width=WIDTH, draws=4).train()
    features, valid = videos().float(), lengths(7, 7, 7, 7, 7)
    noise = torch.randn(sampler.noise_shape(5, 7))
    assert noise.shape == (5, 4, 7)
    kept = sampler(features, valid, noise=noise)
    assert kept.draws is not None
    assert kept.selection_BKN is None
    assert kept.indices_BK.tolist() == kept.draws.indices_BMK[:, 0].tolist()


def test_the_first_draw_may_have_the_straight_through_gradient_too() -> None:
    features, valid = videos().float(), lengths(7, 7, 3, 7, 1)
    both, draws, one = (
        TopKSampler(tiny_policy(), 2, clip_width=WIDTH, draws=count, straight_through=through)
        for count, through in ((4, True), (4, False), (0, False))
    )
    for other in (draws, one):
        other.load_state_dict(both.state_dict())
    noise = torch.randn(both.noise_shape(5, 7))
    kept, drawn = (
        both.train()(features, valid, noise=noise),
        draws.train()(features, valid, noise=noise),
    )
    alone = one.train()(features, valid, noise=noise[:, 0])
    assert kept.draws is not None
    assert drawn.draws is not None
    assert torch.equal(kept.draws.order_BMN, drawn.draws.order_BMN)
    assert kept.indices_BK.tolist() == drawn.indices_BK.tolist() == alone.indices_BK.tolist()
    assert torch.equal(kept.selection_BKN, alone.selection_BKN)
    assert kept.selection_BKN.requires_grad
