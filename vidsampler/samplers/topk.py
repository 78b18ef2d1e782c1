"""`topk`: keeps the K best candidate frames of a video (AdaCLIP's Hard-Top-k).

Training draws K frames without replacement with Gumbel noise: the picks are hard, their gradient is
that of K softmaxes, each with less left of what was picked before. Or it draws several choices, and
what each is worth is the gradient (`losses.choice`). Inference takes the K highest logits.
Kept frames are in time order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from vidsampler.errors import UsageError
from vidsampler.samplers.kept import Draws, Kept
from vidsampler.samplers.learned import LearnedSampler, log_probabilities, temperature
from vidsampler.samplers.policy_config import PolicyConfig

LEAST_TAU = 0.5
"""The forward pass equals Gumbel-top-k down to here; below, near ties may come in other orders."""


class Picks(NamedTuple):
    """K picks for each video.

    Attributes:
        selection_BKN: (B, K, N), one row a pick: 0/1 forward, soft backward.
        indices_BK: (B, K) long, the picked candidate; 0 in unused slots.
        mask_BK: (B, K) bool, the used slots: all but those beyond a video's real candidates.
    """

    selection_BKN: Tensor
    indices_BK: Tensor
    mask_BK: Tensor


def annealed_k(epoch: int, k: int, candidates: int, warmup_epochs: int) -> int:
    """K_e = floor(N - 1 - (N - 1 - K) e / w) in the first w epochs, then K (AdaCLIP).

    Args:
        epoch: e, from 0.
        k: K.
        candidates: N.
        warmup_epochs: w; 0 for no annealing.
    """
    if epoch >= warmup_epochs:
        return k
    most = candidates - 1
    return (most * warmup_epochs - (most - k) * epoch) // warmup_epochs


def hard_topk(
    logits_BN: Tensor, noise_BN: Tensor, tau: float, k: int, valid_BN: Tensor | None = None
) -> Picks:
    """Draws k frames of each video without replacement, in the order of picking.

    AdaCLIP: y = log p + G; for each slot p_k = softmax(y / tau), the pick is the argmax among those
    not picked yet, then y += log(1 - p_k). S = onehot - stopgrad(p) + p.

    Args:
        logits_BN: (B, N), one a frame.
        noise_BN: (B, N) Gumbel(0, 1).
        tau: Temperature, more than 0.
        k: Frames to pick, at most N.
        valid_BN: (B, N) bool; others are never picked. A video with fewer than k of them gets these
            and unused slots, whose rows are 0. None: all are real.

    Returns:
        The picks before `sort_by_time`.

    Raises:
        UsageError: k is less than 1 or more than N.
    """
    candidates = logits_BN.shape[1]
    if not 1 <= k <= candidates:
        raise UsageError(
            f"top-k sampling cannot pick {k} of {candidates} candidate frames in training",
            hint=f"take a top-k from 1 to {candidates}, or more candidate frames",
        )
    if valid_BN is None:
        valid_BN = torch.ones_like(logits_BN, dtype=torch.bool)
    # Padding is excluded again after the floor of the probabilities has raised it.
    y_BN = log_probabilities(logits_BN.masked_fill(~valid_BN, -torch.inf)) + noise_BN
    y_BN = y_BN.masked_fill(~valid_BN, -torch.inf)
    # The paper's 1e-40 is subnormal in float32, and 0 where subnormals are flushed.
    least = max(1e-40, torch.finfo(y_BN.dtype).tiny)
    free_BN = valid_BN
    rows, picks = [], []
    for _ in range(k):
        soft_BN = torch.softmax(y_BN / tau, -1)
        # The argmax of y, which is that of p, and does not tie where p rounds to 0.
        pick_B1 = y_BN.detach().masked_fill(~free_BN, -torch.inf).argmax(-1, keepdim=True)
        rows.append(torch.zeros_like(soft_BN).scatter(1, pick_B1, 1) + (soft_BN - soft_BN.detach()))
        picks.append(pick_B1)
        free_BN = free_BN.scatter(1, pick_B1, False)
        y_BN = y_BN + (1 - soft_BN).clamp(min=least).log()
    mask_BK = _used(k, valid_BN)
    return Picks(
        torch.stack(rows, 1).masked_fill(~mask_BK[..., None], 0),
        torch.cat(picks, 1).masked_fill(~mask_BK, 0),
        mask_BK,
    )


def sort_by_time(picks: Picks) -> Picks:
    """Whole rows of the picks in the order of their frames; unused slots stay last."""
    candidates = picks.selection_BKN.shape[-1]
    key_BK = picks.indices_BK.masked_fill(~picks.mask_BK, candidates)
    order_BK = torch.sort(key_BK, dim=1, stable=True).indices
    rows_BKN = order_BK[..., None].expand_as(picks.selection_BKN)
    return Picks(
        picks.selection_BKN.gather(1, rows_BKN),
        picks.indices_BK.gather(1, order_BK),
        picks.mask_BK.gather(1, order_BK),
    )


def draw_choices(logits_BN: Tensor, noise_BMN: Tensor, k: int, valid_BN: Tensor) -> Draws:
    """Draws M times k frames of each video without replacement (Gumbel-top-k), no gradient.

    Args:
        logits_BN: (B, N), one a frame.
        noise_BMN: (B, M, N) Gumbel(0, 1).
        k: Frames to pick, at least 1; a video with fewer candidates gets these.
        valid_BN: (B, N) bool; others are never picked.
    """
    ranked_BMN = logits_BN.detach()[:, None] + noise_BMN
    ranked_BMN = ranked_BMN.masked_fill(~valid_BN[:, None], -torch.inf)
    order_BMN = torch.sort(ranked_BMN, dim=2, descending=True, stable=True).indices
    mask_BK = _used(min(k, order_BMN.shape[2]), valid_BN)
    indices_BMK = _in_time(order_BMN[..., :k], mask_BK[:, None], logits_BN.shape[1])
    return Draws(indices_BMK, mask_BK, order_BMN)


def highest(logits_BN: Tensor, k: int, valid_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Inference: the frames of the k highest logits; of equal ones the earlier.

    Args:
        logits_BN: (B, N).
        k: Frames to keep, at least 1.
        valid_BN: (B, N) bool; others are never kept.

    Returns:
        (B, min(k, N)) long, ascending, 0 in unused slots, which come last; and the used slots,
        bool: min(k, valid frames) of each video.
    """
    k = min(k, logits_BN.shape[1])
    ranked_BN = logits_BN.masked_fill(~valid_BN, -torch.inf)
    best_BK = torch.sort(ranked_BN, dim=1, descending=True, stable=True).indices[:, :k]
    used_BK = _used(k, valid_BN)
    return _in_time(best_BK, used_BK, logits_BN.shape[1]), used_BK


def _used(k: int, valid_BN: Tensor) -> Tensor:
    """(B, k) bool, the slots that are used: all but those beyond a video's real candidates."""
    return torch.arange(k, device=valid_BN.device) < valid_BN.sum(1, keepdim=True)


def _in_time(picks_K: Tensor, used_K: Tensor, candidates: int) -> Tensor:
    """(..., K) picked candidates, ascending; 0 in unused slots, which come last."""
    last_K = picks_K.masked_fill(~used_K, candidates).sort(dim=-1).values
    return last_K.masked_fill(~used_K, 0)


class TopKSampler(LearnedSampler):
    """The policy network with one logit a frame; see `LearnedSampler`.

    Args:
        config: The policy network and its extractor.
        k: K, frames to keep, at least 1.
        warmup_epochs: In so many first epochs K falls from N - 1 to its value; 0: it does not.
        hold_epochs: As of `LearnedSampler`; those of the warm-up come after them.
        clip_width: Channels of the backbone's frame features, for the extractor `clip`.
        draws: Choices of each video that training draws, for a gradient from what each is worth;
            0: one, with the straight-through gradient.
        straight_through: With draws: the first of them has that gradient too.
    """

    name: ClassVar[str] = "topk"
    actions: ClassVar[int] = 1

    def __init__(
        self,
        config: PolicyConfig,
        k: int,
        *,
        warmup_epochs: int = 0,
        hold_epochs: int = 0,
        clip_width: int | None = None,
        draws: int = 0,
        straight_through: bool = False,
    ) -> None:
        if k < 1:
            raise UsageError(f"top-k must be at least 1, not {k}")
        if warmup_epochs < 0:
            raise UsageError(f"warmup epochs must be at least 0, not {warmup_epochs}")
        super().__init__(config, hold_epochs=hold_epochs, clip_width=clip_width)
        self.k = k
        self.warmup_epochs = warmup_epochs
        self.draws = draws
        self.straight_through = straight_through

    @property
    def tau(self) -> float:
        """This epoch's temperature."""
        return temperature(self.policy_epoch, LEAST_TAU)

    def k_of(self, candidates: int) -> int:
        """How many of N candidates this epoch's training keeps."""
        if self.held:
            return candidates
        # Annealing would hide a K that does not fit until it ends.
        if self.k > candidates:
            return self.k
        return annealed_k(self.policy_epoch, self.k, candidates, self.warmup_epochs)

    def noise_shape(self, videos: int, candidates: int) -> tuple[int, ...]:
        """(B, N), or (B, M, N) where M choices are drawn."""
        return (videos, self.draws, candidates) if self.draws else (videos, candidates)

    def _train(self, logits_BNA: Tensor, valid_BN: Tensor, noise: Tensor) -> Kept:
        k, logits_BN = max(self.k_of(valid_BN.shape[1]), 1), logits_BNA[..., 0]
        if not self.draws:
            picks = sort_by_time(hard_topk(logits_BN, noise, self.tau, k, valid_BN))
            return self._kept(picks.indices_BK, picks.mask_BK, logits_BNA, valid_BN, picks)
        draws = draw_choices(logits_BN, noise, k, valid_BN)
        if self.straight_through:
            # The same noise: the same frames as the first draw.
            picks = sort_by_time(hard_topk(logits_BN, noise[:, 0], self.tau, k, valid_BN))
            kept = self._kept(picks.indices_BK, picks.mask_BK, logits_BNA, valid_BN, picks)
        else:
            kept = self._kept(draws.indices_BMK[:, 0], draws.mask_BK, logits_BNA, valid_BN)
        return replace(kept, draws=draws)

    def _infer(self, logits_BNA: Tensor, valid_BN: Tensor) -> Kept:
        indices_BK, mask_BK = highest(logits_BNA[..., 0], self.k, valid_BN)
        return self._kept(indices_BK, mask_BK, logits_BNA, valid_BN)

    def _kept(
        self,
        indices_BK: Tensor,
        mask_BK: Tensor,
        logits_BNA: Tensor,
        valid_BN: Tensor,
        picks: Picks | None = None,
    ) -> Kept:
        logits_BN = logits_BNA.detach()[..., 0].masked_fill(~valid_BN, -torch.inf)
        return Kept(
            indices_BK,
            mask_BK,
            valid_BN,
            selection_BKN=None if picks is None else picks.selection_BKN,
            logits_BNA=logits_BNA,
            probabilities_BN=torch.softmax(logits_BN, -1),
        )
