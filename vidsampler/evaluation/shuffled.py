"""Candidates in another order: what a sampler that looks at frames keeps, and one by place loses.

A sampler can learn where in a video frames matter in place of what they show. In an order at random
no place is better than another: a sampler whose figures stay has looked.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from vidsampler.loading.batch import Batch
from vidsampler.samplers.candidates import seed_of


def shuffle_candidates(batch: Batch, seed: int = 0) -> Batch:
    """Permutes the real candidates of each video; their times go with them, padding stays last.

    A video's order depends on the seed and its key alone, not on its batch.

    Args:
        batch: From a loader; it stays as it is.
        seed: Of the orders.

    Example:
        >>> measure(retriever, loader, world, shuffle_candidates)         # doctest: +SKIP
    """
    order_BN = torch.arange(batch.valid_BN.shape[1]).repeat(len(batch), 1)
    counts = batch.valid_BN.sum(1).tolist()
    for row, (key, count) in enumerate(zip(batch.keys, counts, strict=True)):
        # Generators take seeds of 63 bits.
        generator = torch.Generator().manual_seed(seed_of(seed, key) >> 1)
        order_BN[row, :count] = torch.randperm(count, generator=generator)
    order_BN = order_BN.to(batch.valid_BN.device)
    rows_B1 = torch.arange(len(batch), device=order_BN.device)[:, None]
    return replace(
        batch,
        frames_BNCHW=batch.frames_BNCHW[rows_B1, order_BN],
        times_BN=batch.times_BN[rows_B1, order_BN],
    )
