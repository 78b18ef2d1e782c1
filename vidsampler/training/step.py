"""One step of training: losses, gradients, new weights."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from vidsampler.errors import VidsamplerError
from vidsampler.loading.batch import Batch
from vidsampler.methods import TrainingConfig
from vidsampler.retriever import Retriever
from vidsampler.retriever_losses import Losses
from vidsampler.samplers.learned import gumbel_noise
from vidsampler.training.frozen import freeze, share_batch_norms, training_mode
from vidsampler.training.optimizer import parameter_groups, schedule, set_rates
from vidsampler.world import World


class Stepped(NamedTuple):
    """What a step did.

    Attributes:
        terms: The losses of the whole batch, each with its weight.
        gradient: Its global norm, before it was clipped.
        rates: Learning rates by group.
        kept_N: (N,) in how many videos of this rank each candidate was kept.
        valid_N: (N,) in how many it was there.
    """

    terms: dict[str, Tensor]
    gradient: Tensor
    rates: dict[str, float]
    kept_N: Tensor
    valid_N: Tensor


class NotFiniteError(VidsamplerError):
    """A loss or gradient is not a number; the weights are as before the step."""

    default_code = "not-finite"


class Stepper:
    """Takes steps.

    Everything random of a step is drawn from (seed, epoch, step): nothing of a generator has to be
    saved, and a run that goes on, or has another number of ranks, draws the same.

    Args:
        retriever: What learns; on its device.
        config: How.
        world: The ranks.
        steps: Of the whole run, for the schedule.
        seed: Of what is drawn.

    Attributes:
        optimizer: AdamW.
    """

    def __init__(
        self, retriever: Retriever, config: TrainingConfig, world: World, steps: int, seed: int
    ) -> None:
        self.retriever = retriever
        self.config = config
        self.world = world
        self.steps = steps
        self.seed = seed
        freeze(retriever, config.freeze)
        share_batch_norms(retriever, world)
        groups = parameter_groups(
            retriever,
            new_rate=config.lr,
            backbone_rate=config.lr_clip,
            decay=config.weight_decay,
        )
        if not groups:
            raise VidsamplerError(
                "nothing is left to train: the backbone is frozen, and neither the sampler nor the "
                "head has weights",
                hint="leave --freeze-backbone out, or take a learned sampler or another head",
                code="nothing-to-train",
            )
        self.optimizer = torch.optim.AdamW(groups, betas=config.betas, eps=config.eps)
        self._learning = [each for group in groups for each in group["params"]]

    def step(self, batch: Batch, number: int) -> Stepped:
        """Takes one.

        Args:
            batch: Of this rank.
            number: Of the step in the whole run, from 0.

        Raises:
            NotFiniteError: The loss or its gradient is not a number, on any rank.
        """
        training_mode(self.retriever)
        rates = set_rates(self.optimizer, schedule(number, self.steps, self.config.warmup))
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.losses(batch)
        total = losses.total
        # Asked together: a rank that stops alone leaves the others waiting for it.
        if self.world.agree(not bool(torch.isfinite(total))):
            raise NotFiniteError(f"the loss is {total.item():g}")
        total.backward()
        self.world.average_gradients(self._learning)
        gradient = torch.nn.utils.clip_grad_norm_(
            self._learning, self.config.clip_norm or float("inf")
        )
        if self.world.agree(not bool(torch.isfinite(gradient))):
            raise NotFiniteError(f"the gradient of the loss has the norm {gradient.item():g}")
        self.optimizer.step()
        self.retriever.backbone.clamp_logit_scale()
        return Stepped(
            {name: self._mean(term.detach()) for name, term in losses.terms.items()},
            gradient.detach(),
            rates,
            losses.kept.hard_BN.sum(0),
            losses.kept.valid_BN.sum(0),
        )

    def losses(self, batch: Batch) -> Losses:
        """The losses of a batch, with this step's own draws."""
        key = step_seed(self.seed, batch.epoch, batch.step)
        noise = None
        if self.retriever.sampler is not None:
            # Of all ranks' videos, then this rank's part: the same for any number of ranks.
            count, candidates = batch.valid_BN.shape
            shape = self.retriever.sampler.noise_shape(count * self.world.size, candidates)
            generator = torch.Generator().manual_seed(key)
            whole = gumbel_noise(shape, torch.empty(0), generator)
            own = slice(self.world.rank * count, (self.world.rank + 1) * count)
            noise = whole[own].to(batch.frames_BNCHW.device)
        # For dropout and noise in heads, which work on the features of all ranks: each rank draws
        # the same there.
        torch.manual_seed(key)
        return self.retriever.losses(batch, world=self.world, noise=noise)

    def _mean(self, local: Tensor) -> Tensor:
        return self.world.add(local) / self.world.size


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A seed of 63 bits for what a step draws, another one for each step of each epoch."""
    digest = hashlib.sha256(f"{seed} {epoch} {step}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
