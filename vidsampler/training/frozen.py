"""Parts of a retriever that keep their values, and batch norms that several ranks share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from vidsampler.retriever import Retriever
from vidsampler.world import World


def freeze(retriever: Retriever, groups: Iterable[str]) -> None:
    """Turns gradients of groups of the backbone's weights off.

    Raises:
        UsageError: There is no such group.
    """
    retriever.backbone.freeze(groups)


def training_mode(retriever: Retriever) -> None:
    """Training mode, except for what is frozen: its dropout and batch norms stay as they are."""
    retriever.train()
    if not any(each.requires_grad for each in retriever.backbone.parameters()):
        retriever.backbone.eval()


def share_batch_norms(module: nn.Module, world: World) -> None:
    """Makes batch norms use the statistics of all ranks' batches, as one rank would.

    torch's own SyncBatchNorm works on GPUs alone. Weights and their names stay as they are.
    """
    if world.size == 1:
        return
    from timm.layers.norm_act import BatchNormAct2d

    for part in module.modules():
        if type(part) in (nn.BatchNorm2d, BatchNormAct2d):
            part.__class__ = SharedBatchNorm
            cast(Any, part).world = world


class SharedBatchNorm(nn.BatchNorm2d):
    """A batch norm over the batches of all ranks; made by `share_batch_norms`."""

    world: World

    def forward(self, maps_MCHW: Tensor) -> Tensor:
        """As BatchNorm2d's, or BatchNormAct2d's of timm with its dropout and activation."""
        maps_MCHW = self._normal(maps_MCHW)
        for name in ("drop", "act"):
            if name in self._modules:
                maps_MCHW = cast(Any, self._modules[name])(maps_MCHW)
        return maps_MCHW

    def _normal(self, maps_MCHW: Tensor) -> Tensor:
        if not self.training:
            return super().forward(maps_MCHW)
        shape = (1, -1, 1, 1)
        # Sums of thousands of numbers: in double precision, so that it does not matter how they
        # are divided among the ranks.
        exact = torch.float64
        own = torch.tensor([maps_MCHW.numel() / maps_MCHW.shape[1]], dtype=exact)
        count = self.world.add(own.to(maps_MCHW.device))
        sum_C = self.world.add(maps_MCHW.sum((0, 2, 3), dtype=exact))
        # As one rank would: the statistics in the weights' precision, whatever autocast made of
        # the maps.
        mean_C = (sum_C / count).to(self.weight.dtype)
        centred = maps_MCHW - mean_C.view(shape)
        squares_C = self.world.add(centred.square().sum((0, 2, 3), dtype=exact))
        variance_C = (squares_C / count).to(self.weight.dtype)
        normal = centred * (variance_C + self.eps).rsqrt().view(shape)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            share = self.momentum
            if share is None:
                share = 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean_C, share)
            self.running_var.lerp_((squares_C / (count - 1)).to(variance_C), share)
        result = normal * self.weight.view(shape) + self.bias.view(shape)
        return result.to(maps_MCHW.dtype)
