"""The uniform loss of mmSampler: keeps the share of kept frames near a target."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def uniform_loss(
    actions_BN: Tensor,
    valid_BN: Tensor,
    *,
    keep_target: float = 0.5,
    sum_over_ranks: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """||p - (r, 1 - r)||, p the shares of kept and skipped frames in the batch, r the target.

    mmSampler, uniform loss: p_i = sum a_i / sum a with hard actions a and their straight-through
    gradient; for r = 1/2 this is sqrt(2) |kept share - 1/2|. The forced first frames count. At
    exact balance the gradient is 0, where that of a plain norm would be 0/0.

    Args:
        actions_BN: (B, N) 0/1, 1 where a frame is kept, 0 for padding.
        valid_BN: (B, N) bool, the frames that count.
        keep_target: r, the share to keep, 0 to 1.
        sum_over_ranks: Sums a tensor over all processes, with gradient, such as
            `torch.distributed.nn.functional.all_reduce`: the loss is then of the global batch, and
            its gradient, averaged over the processes, that of one process with the whole batch.

    Returns:
        Scalar, float32 at least.

    Raises:
        ValueError: The target is outside 0 to 1.

    Example:
        >>> uniform_loss(torch.tensor([[1.0, 1, 1, 0]]), torch.ones(1, 4, dtype=torch.bool))
        tensor(0.3536)
    """
    if not 0 <= keep_target <= 1:
        raise ValueError(f"the share of frames to keep must be from 0 to 1, not {keep_target:g}")
    with torch.autocast(actions_BN.device.type, enabled=False):
        actions_BN = actions_BN.to(torch.promote_types(actions_BN.dtype, torch.float32))
        sums = torch.stack([actions_BN.sum(), valid_BN.sum().to(actions_BN.dtype)])
        if sum_over_ranks is not None:
            sums = sum_over_ranks(sums)
        return math.sqrt(2) * (sums[0] / sums[1] - keep_target).abs()
