"""`gate`: keeps or skips each candidate frame for itself (mmSampler).

The first frame is always kept. Training draws with Gumbel noise and passes gradients straight
through the draw; inference keeps what is more likely kept than skipped.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vidsampler.samplers.kept import Kept, keep_hard
from vidsampler.samplers.learned import LearnedSampler, log_probabilities, temperature


def gumbel_keep(logits_BN2: Tensor, noise_BN2: Tensor, tau: float) -> Tensor:
    """Draws keep or skip for each frame, with a straight-through gradient.

    mmSampler: y = softmax((log p + G) / tau); forward the one-hot argmax, backward through y.

    Args:
        logits_BN2: (B, N, 2); column 0 is keep.
        noise_BN2: (B, N, 2) Gumbel(0, 1).
        tau: Temperature, more than 0.

    Returns:
        (B, N) exactly 0 or 1 forward; its gradient is that of y's column 0.
    """
    noisy_BN2 = log_probabilities(logits_BN2) + noise_BN2
    soft_BN = torch.softmax(noisy_BN2 / tau, -1)[..., 0]
    # Not by the argmax of y: at a low temperature both its columns may round to 0 and 1.
    hard_BN = (noisy_BN2[..., 0] >= noisy_BN2[..., 1]).to(soft_BN.dtype)
    return hard_BN + (soft_BN - soft_BN.detach())


def force_first(actions_BN: Tensor, valid_BN: Tensor) -> Tensor:
    """The first frame kept, padding skipped, both without gradient.

    Args:
        actions_BN: (B, N) 0/1 with gradient.
        valid_BN: (B, N) bool.

    Returns:
        (B, N).
    """
    first_N = torch.arange(actions_BN.shape[1], device=actions_BN.device) == 0
    return actions_BN.masked_fill(~valid_BN, 0).masked_fill(first_N, 1)


def keep_likely(logits_BN2: Tensor, valid_BN: Tensor) -> Tensor:
    """Inference: frames of p(keep) > 1/2, and the first.

    Args:
        logits_BN2: (B, N, 2); column 0 is keep.
        valid_BN: (B, N) bool.

    Returns:
        (B, N) bool.
    """
    # p(keep) > 1/2 without the rounding of a softmax.
    likely_BN = logits_BN2[..., 0] > logits_BN2[..., 1]
    return force_first(likely_BN, valid_BN)


def annealed_share(epoch: int, share: float, warmup_epochs: int) -> float:
    """1 - (1 - r) e / w in the first w epochs, then r: what AdaCLIP's annealing is to K.

    Who skips frames before anything is known of them skips what the texts speak of, and the
    towers learn the less.

    Args:
        epoch: e, from 0.
        share: r, of the frames to keep.
        warmup_epochs: w; 0 for no annealing.
    """
    if epoch >= warmup_epochs:
        return share
    return 1 - (1 - share) * epoch / warmup_epochs


class GateSampler(LearnedSampler):
    """The policy network with two logits a frame, keep and skip; see `LearnedSampler`."""

    name: ClassVar[str] = "gate"
    actions: ClassVar[int] = 2

    @property
    def tau(self) -> float:
        """This epoch's temperature."""
        return temperature(self.policy_epoch)

    def noise_shape(self, videos: int, candidates: int) -> tuple[int, ...]:
        """(B, N, 2)."""
        return (videos, candidates, 2)

    def _train(self, logits_BNA: Tensor, valid_BN: Tensor, noise: Tensor) -> Kept:
        actions_BN = force_first(gumbel_keep(logits_BNA, noise, self.tau), valid_BN)
        return self._kept(actions_BN.detach() > 0, logits_BNA, valid_BN, actions_BN)

    def _infer(self, logits_BNA: Tensor, valid_BN: Tensor) -> Kept:
        return self._kept(keep_likely(logits_BNA, valid_BN), logits_BNA, valid_BN)

    def _kept(
        self,
        hard_BN: Tensor,
        logits_BNA: Tensor,
        valid_BN: Tensor,
        actions_BN: Tensor | None = None,
    ) -> Kept:
        indices_BN, mask_BN = keep_hard(hard_BN)
        return Kept(
            indices_BN,
            mask_BN,
            valid_BN,
            in_place=True,
            actions_BN=actions_BN,
            logits_BNA=logits_BNA,
            probabilities_BN=torch.softmax(logits_BNA.detach(), -1)[..., 0],
        )
