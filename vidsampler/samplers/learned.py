"""What `gate` and `topk` have in common: extractor, policy network, noise, temperature."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from vidsampler.errors import UsageError
from vidsampler.samplers.extractors import build_extractor
from vidsampler.samplers.kept import Kept, check_valid, keep_all
from vidsampler.samplers.policy import PolicyNetwork
from vidsampler.samplers.policy_config import PolicyConfig

LEAST_PROBABILITY = 1e-8
"""Probabilities are raised to this before their logarithm is taken."""


def temperature(epoch: float, least: float = 0.0) -> float:
    """tau(e) = max(5 exp(-0.045 e), least), the epoch e counted from 0 (mmSampler, AdaCLIP)."""
    return max(5.0 * math.exp(-0.045 * epoch), least)


def gumbel_noise(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Gumbel(0, 1) noise, -log(-log U), of the dtype and on the device of `like`.

    It is drawn in float32 on the generator's device: the same seed gives the same noise wherever
    the network runs.
    """
    device = like.device if generator is None else generator.device
    draws = torch.empty(shape, dtype=torch.float32, device=device).exponential_(generator=generator)
    return -draws.clamp_(min=torch.finfo(torch.float32).tiny).log_().to(like)


def log_probabilities(logits: Tensor) -> Tensor:
    """log(max(softmax(logits), 1e-8)) over the last axis."""
    return torch.softmax(logits, -1).clamp(min=LEAST_PROBABILITY).log()


class LearnedSampler(nn.Module, ABC):
    """A policy network that chooses frames; `gate` and `topk` say how.

    In training mode it draws noise and returns what carries the gradient of the choice; in eval
    mode it is deterministic.

    Args:
        config: The policy network and its extractor.
        hold_epochs: In so many first epochs of training every frame is kept and the policy gets no
            gradient: who chooses by features that say nothing yet soon shows the towers nothing
            but what they cannot learn from. The temperature falls from their end on. 0, as
            published: the policy learns from the first step.
        clip_width: Channels of the backbone's frame features, for the extractor `clip`.

    Attributes:
        epoch: From 0.
        extractor: None for `clip`.
    """

    name: ClassVar[str]
    actions: ClassVar[int]

    def __init__(
        self, config: PolicyConfig, *, hold_epochs: int = 0, clip_width: int | None = None
    ) -> None:
        if hold_epochs < 0:
            raise UsageError(f"hold epochs must be at least 0, not {hold_epochs}")
        super().__init__()
        self.hold_epochs = hold_epochs
        self.extractor = build_extractor(config.extractor)
        width = clip_width if self.extractor is None else self.extractor.width
        if width is None:
            raise ValueError("the extractor clip needs the width of the backbone's features")
        self.policy = PolicyNetwork(config, width, self.actions)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch from 0; to be called before each."""
        self.epoch = epoch

    @property
    def held(self) -> bool:
        """Whether this epoch's training keeps every frame."""
        return self.epoch < self.hold_epochs

    @property
    def policy_epoch(self) -> int:
        """Epochs, from 0, in which the policy has learned; schedules follow it."""
        return max(0, self.epoch - self.hold_epochs)

    def extract(self, frames_BN: Tensor, valid_BN: Tensor) -> Tensor:
        """Frame features for `forward`.

        Args:
            frames_BN: (B, N, 3, H, W) uint8 candidate frames.
            valid_BN: (B, N) bool; only real candidates are looked at.

        Returns:
            (B, N, D) float32, 0 for padding.

        Raises:
            ValueError: The extractor is `clip`, whose features the backbone gives.
        """
        if self.extractor is None:
            raise ValueError("the extractor clip takes the backbone's features, not frames")
        features_MD: Tensor = self.extractor(frames_BN[valid_BN])
        empty_BND = features_MD.new_zeros(*valid_BN.shape, self.extractor.width)
        return empty_BND.masked_scatter(valid_BN[..., None], features_MD)

    def forward(
        self,
        features_BND: Tensor,
        valid_BN: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        candidates: int | None = None,
    ) -> Kept:
        """Chooses frames.

        Args:
            features_BND: (B, N, D) from `extract`, or the backbone's for `clip`.
            valid_BN: (B, N) bool, the real candidates; they come first.
            noise: Gumbel noise for training, of the shape of `noise_shape`; drawn where it is None.
            generator: What it is drawn from; None: torch's own for the device.
            candidates: As for `PolicyNetwork`.

        Returns:
            The kept frames, in time order.

        Raises:
            ValueError: A video has no valid frame, or padding between its frames.
            UsageError: `topk` is to keep more frames in training than there are.
        """
        logits_BNA = self.policy(features_BND, valid_BN, candidates=candidates)
        return self.choose(logits_BNA, valid_BN, noise=noise, generator=generator)

    def choose(
        self,
        logits_BNA: Tensor,
        valid_BN: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Kept:
        """As `forward`, from the policy network's logits."""
        check_valid(valid_BN)
        with torch.autocast(logits_BNA.device.type, enabled=False):
            if not self.training:
                return self._infer(logits_BNA, valid_BN)
            if self.held:
                return keep_all(valid_BN)
            if noise is None:
                shape = self.noise_shape(*valid_BN.shape)
                noise = gumbel_noise(shape, logits_BNA, generator)
            return self._train(logits_BNA, valid_BN, noise)

    @abstractmethod
    def noise_shape(self, videos: int, candidates: int) -> tuple[int, ...]:
        """Shape of the noise for a batch."""

    @abstractmethod
    def _train(self, logits_BNA: Tensor, valid_BN: Tensor, noise: Tensor) -> Kept: ...

    @abstractmethod
    def _infer(self, logits_BNA: Tensor, valid_BN: Tensor) -> Kept: ...
