"""The gradient from what whole draws are worth."""

from __future__ import annotations

import itertools
import math

import torch

from vidsampler.losses.choice import (
    entropy,
    leave_one_out_loss,
    order_log_probability,
)
from vidsampler.samplers.topk import draw_choices

LOGITS = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64)


def orders(picks: int) -> torch.Tensor:
    """(M, 4) every ordered choice of so many of four, what is left behind it."""
    rows = [
        [*first, *(i for i in range(4) if i not in first)]
        for first in itertools.permutations(range(4), picks)
    ]
    return torch.tensor(rows)


def test_the_probability_of_two_picks_by_hand() -> None:
    p = LOGITS.softmax(0).tolist()
    log_11 = order_log_probability(
        LOGITS[None], torch.tensor([[[2, 0, 1, 3]]]), torch.ones(1, 4, dtype=torch.bool), 2
    )
    assert math.isclose(log_11.item(), math.log(p[2] * p[0] / (1 - p[2])), abs_tol=1e-12)


def test_probabilities_of_all_choices_add_up_to_one() -> None:
    valid = torch.ones(1, 4, dtype=torch.bool)
    for picks in (1, 2, 3, 4):
        log_1M = order_log_probability(LOGITS[None], orders(picks)[None], valid, picks)
        assert math.isclose(log_1M.exp().sum().item(), 1, abs_tol=1e-12)


def test_padding_has_no_part_in_it() -> None:
    padded = torch.cat([LOGITS, torch.tensor([9.0, torch.nan])])[None].requires_grad_()
    valid = torch.tensor([[True] * 4 + [False] * 2])
    order = torch.tensor([[[3, 1, 0, 2, 4, 5]]])
    # More picks than there are: all four are picked.
    for picks in (2, 5):
        found = order_log_probability(padded, order, valid, picks)
        plain = order_log_probability(LOGITS[None], order[..., :4], valid[:, :4], min(picks, 4))
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(found.sum(), padded)
    assert gradient.isfinite().all()
    assert gradient[0, 4:].tolist() == [0, 0]


def test_the_gradient_is_that_of_the_expected_worth() -> None:
    all_orders = orders(2)
    worth = torch.rand(
        len(all_orders), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    logits = LOGITS.clone().requires_grad_()
    valid = torch.ones(1, 4, dtype=torch.bool)
    log_M = order_log_probability(logits[None], all_orders[None], valid, 2)[0]
    (expected,) = torch.autograd.grad((log_M.exp() * worth).sum(), logits)
    # Every pair of draws, each by its probability: the mean of the estimate itself.
    chance = order_log_probability(LOGITS[None], all_orders[None], valid, 2)[0].exp()
    log_M = order_log_probability(logits[None], all_orders[None], valid, 2)[0]
    total = torch.zeros((), dtype=torch.float64)
    for i, j in itertools.product(range(len(all_orders)), repeat=2):
        pair = [i, j]
        total = total + chance[i] * chance[j] * leave_one_out_loss(
            worth[None, pair], log_M[None, pair]
        )
    (found,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(-found, expected, rtol=0, atol=1e-12)


def test_one_of_two_like_frames_is_enough() -> None:
    """Frames 0 and 1 show one thing, 2 and 3 another; a straight-through gradient is at rest."""
    torch.manual_seed(0)
    logits = torch.tensor([[0.02, 0.0, 0.0, 0.01]], requires_grad=True)
    valid = torch.ones(1, 4, dtype=torch.bool)
    optimizer = torch.optim.SGD([logits], 2.0)
    for _ in range(300):
        noise = -torch.empty(1, 16, 4).exponential_().log()
        draws = draw_choices(logits, noise, 2, valid)
        shown = (draws.indices_BMK < 2).any(2) & (draws.indices_BMK > 1).any(2)
        log_BM = order_log_probability(logits, draws.order_BMN, valid, 2)
        optimizer.zero_grad()
        leave_one_out_loss(shown.float(), log_BM).backward()
        optimizer.step()
    best = set(logits[0].topk(2).indices.tolist())
    assert len(best & {0, 1}) == len(best & {2, 3}) == 1
    assert logits.softmax(1).sort().values[0, 2:].sum() > 0.98


def test_entropy_of_the_first_pick() -> None:
    logits = torch.tensor([[0.0, 0.0, 5.0], [1.0, 1.0, 1.0]])
    valid = torch.tensor([[True, True, False], [True, True, True]])
    torch.testing.assert_close(entropy(logits, valid), torch.tensor([math.log(2), math.log(3)]))
