"""The gradient of a choice from what several draws of it were worth: no relaxation of the choice.

A straight-through gradient is linear in which frames are kept: of two frames that show the same, it
cannot tell that one of them is enough. The score-function gradient asks of whole draws what they
are worth, and so can.

Letters in names of tensors: B videos, N candidates, M draws of each video, K picks.
"""

from __future__ import annotations

import torch
from torch import Tensor


def order_log_probability(
    logits_BN: Tensor, order_BMN: Tensor, valid_BN: Tensor, picks: int
) -> Tensor:
    """The log probability of the first picks of an order (Plackett-Luce).

    A pick is drawn by the softmax of the logits of what is left; Gumbel-top-k draws so (Kool, van
    Hoof and Welling, Stochastic Beams and Where to Find Them, 2019).

    Args:
        logits_BN: (B, N).
        order_BMN: (B, M, N) long, all candidates: the picks first, in the order of picking, and
            those that are not valid last.
        valid_BN: (B, N) bool; others cannot be picked.
        picks: How many of an order are picked; of a video with fewer candidates, all.

    Returns:
        (B, M) with gradient.
    """
    # Not -inf, whose difference to itself is no number, nor is its gradient.
    nothing = torch.finfo(logits_BN.dtype).min / 4
    ranked_BMN = logits_BN.masked_fill(~valid_BN, nothing)[:, None]
    ranked_BMN = ranked_BMN.expand(-1, order_BMN.shape[1], -1).gather(2, order_BMN)
    left_BMN = ranked_BMN.flip(-1).logcumsumexp(-1).flip(-1)
    used_B1N = torch.arange(valid_BN.shape[1], device=valid_BN.device) < valid_BN.sum(
        1, keepdim=True
    ).unsqueeze(2).clamp(max=picks)
    return ((ranked_BMN - left_BMN) * used_B1N).sum(-1)


def leave_one_out_loss(worth_BM: Tensor, log_probability_BM: Tensor) -> Tensor:
    """A scalar whose gradient is that of the expected worth, negated.

    Each draw is held against the mean of the video's others (Kool, van Hoof and Welling, Buy 4
    REINFORCE Samples, Get a Baseline for Free!, 2019). Its value says nothing.

    Args:
        worth_BM: (B, M) of each draw, more is better; M at least 2. No gradient goes there.
        log_probability_BM: (B, M) of each draw.
    """
    draws = worth_BM.shape[1]
    worth_BM = worth_BM.detach()
    others_BM = (worth_BM.sum(1, keepdim=True) - worth_BM) / (draws - 1)
    return -((worth_BM - others_BM) * log_probability_BM).mean()


def entropy(logits_BN: Tensor, valid_BN: Tensor) -> Tensor:
    """(B,) of the first pick, in nats."""
    log_BN = logits_BN.masked_fill(~valid_BN, -torch.inf).log_softmax(-1)
    log_BN = log_BN.masked_fill(~valid_BN, 0)
    return -(log_BN.exp() * log_BN).sum(-1)
