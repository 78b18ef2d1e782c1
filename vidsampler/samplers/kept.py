"""What any sampler gives a retriever, and encoding only the frames it keeps.

Letters in names of tensors: B videos, N candidates, K kept frames, F frames that a head sees
(K or N), D channels, M packed frames of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Draws(NamedTuple):
    """M choices for each video, drawn independently, without a gradient of their own.

    Attributes:
        indices_BMK: (B, M, K) long, ascending in time; 0 in unused slots, which come last. The
            first draw is what is kept.
        mask_BK: (B, K) bool, the used slots, the same for all draws of a video.
        order_BMN: (B, M, N) long, all candidates in the order of picking.
    """

    indices_BMK: Tensor
    mask_BK: Tensor
    order_BMN: Tensor


@dataclass(frozen=True, eq=False)
class Kept:
    """The kept frames of B videos.

    Attributes:
        indices_BK: (B, K) long, positions among the candidates, ascending; 0 in unused slots, which
            come last.
        mask_BK: (B, K) bool, the used slots.
        valid_BN: (B, N) bool, the real candidates.
        in_place: A head sees kept frames at their places among the candidates (F = N, as `gate` is
            trained) rather than side by side (F = K).
        selection_BKN: Training of `topk`: rows are 0/1 forward, soft backward.
        actions_BN: Training of `gate`: 1 where a frame is kept, soft backward.
        logits_BNA: The policy network's, for logs.
        probabilities_BN: Of keeping a frame (`gate`) or of the first pick (`topk`), without
            gradient.
        draws: Training of `topk` by the worth of several draws.
    """

    indices_BK: Tensor
    mask_BK: Tensor
    valid_BN: Tensor
    in_place: bool = False
    selection_BKN: Tensor | None = None
    actions_BN: Tensor | None = None
    logits_BNA: Tensor | None = None
    probabilities_BN: Tensor | None = None
    draws: Draws | None = None

    @property
    def counts_B(self) -> Tensor:
        """(B,) long, kept frames of each video."""
        return self.mask_BK.sum(1)

    @property
    def hard_BN(self) -> Tensor:
        """(B, N) bool, the candidates that are kept."""
        hits_BN = torch.zeros_like(self.valid_BN, dtype=torch.long)
        return hits_BN.scatter_add(1, self.indices_BK, self.mask_BK.long()) > 0

    @property
    def mask_BF(self) -> Tensor:
        """(B, F) bool, the frames that a head sees."""
        return self.hard_BN if self.in_place else self.mask_BK

    def packed_indices(self) -> Tensor:
        """(M,) long, places of all kept frames in (B * N, ...): by video, then by time."""
        videos, candidates = self.valid_BN.shape
        starts_B1 = torch.arange(videos, device=self.indices_BK.device)[:, None] * candidates
        return (self.indices_BK + starts_B1)[self.mask_BK]

    def skipped_indices(self) -> Tensor:
        """(M,) long, places of all real candidates that are not kept."""
        return _places(self.valid_BN & ~self.hard_BN)

    def spread(self, packed_MD: Tensor) -> Tensor:
        """Puts features of the packed frames back into their videos.

        Args:
            packed_MD: (M, D) features in the order of `packed_indices`.

        Returns:
            (B, F, D); 0 where there is no kept frame.
        """
        return _put(packed_MD, self.mask_BF)


def check_valid(valid_BN: Tensor) -> None:
    """Real candidates must come first, at least one a video.

    Args:
        valid_BN: (B, N) bool.

    Raises:
        ValueError: They do not.
    """
    if valid_BN.dim() != 2 or not valid_BN.shape[1]:
        raise ValueError(f"valid must be (B, N) with a candidate, got {tuple(valid_BN.shape)}")
    if valid_BN.dtype != torch.bool:
        raise ValueError(f"valid must be bool, not {valid_BN.dtype}")
    if not bool(valid_BN[:, 0].all()):
        raise ValueError("a video has no valid frame first: no video may be empty")
    if bool((valid_BN[:, 1:] & ~valid_BN[:, :-1]).any()):
        raise ValueError("padding must come after a video's frames, not between them")


def keep_hard(hard_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of kept frames in time order.

    Args:
        hard_BN: (B, N) bool.

    Returns:
        (B, N) long, ascending, 0 in unused slots, and the used slots (B, N) bool, which come first.
    """
    order_BN = torch.sort(~hard_BN, dim=1, stable=True).indices
    mask_BN = hard_BN.gather(1, order_BN)
    return order_BN.masked_fill(~mask_BN, 0), mask_BN


def keep_all(valid_BN: Tensor) -> Kept:
    """No sampler: every real candidate is kept."""
    check_valid(valid_BN)
    indices_BN, mask_BN = keep_hard(valid_BN)
    return Kept(indices_BN, mask_BN, valid_BN)


def keep_these(rows: Sequence[Sequence[int]], valid_BN: Tensor) -> Kept:
    """The choice of a sampler without training.

    Args:
        rows: For each video its kept candidates, ascending, at least one.
        valid_BN: (B, N) bool, the real candidates.

    Raises:
        ValueError: The rows are not such.
    """
    check_valid(valid_BN)
    counts = valid_BN.sum(1).tolist()
    if len(rows) != len(counts):
        raise ValueError(f"there are choices for {len(rows)} videos, not {len(counts)}")
    indices_BK = torch.zeros(len(rows), max(map(len, rows), default=0), dtype=torch.long)
    for row_K, indices, count in zip(indices_BK, rows, counts, strict=True):
        kept = list(indices)
        if not kept or kept != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= count:
            raise ValueError(f"{kept} is no ascending choice from {count} candidates")
        row_K[: len(kept)] = torch.tensor(kept)
    used_B = torch.tensor([len(indices) for indices in rows])
    mask_BK = torch.arange(indices_BK.shape[1]) < used_B[:, None]
    return Kept(indices_BK.to(valid_BN.device), mask_BK.to(valid_BN.device), valid_BN)


def kept_features(
    frames_BN: Tensor,
    kept: Kept,
    encode: Callable[[Tensor], Tensor],
    numbers_BND: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Encodes frames for a head, and no more of them than needed.

    Without a straight-through gradient, only kept frames are encoded, as one batch. With it, the
    choice's gradient needs the features of skipped frames too, but only as numbers: these are
    encoded under no_grad. No gradient would reach the encoder through them, because their weight
    in everything that follows is 0; so all gradients are the same as if every frame had been
    encoded with gradient.

    Args:
        frames_BN: (B, N, ...) candidate frames, on the encoder's device.
        kept: What the sampler chose.
        encode: From (M, ...) frames to (M, D) features, each frame for itself.
        numbers_BND: (B, N, D) the features of all candidates without gradient, where these are
            there already; skipped frames are not encoded then.

    Returns:
        (B, F, D) features, at least float32, and (B, F) mask: 0/1 float, with straight-through
        gradient for `gate`. F is K, or N where `kept.in_place`.
    """
    flat = frames_BN.flatten(0, 1)
    packed_MD = _encode(encode, flat[kept.packed_indices()])
    choice = kept.selection_BKN if kept.actions_BN is None else kept.actions_BN
    if choice is None or not choice.requires_grad:
        return kept.spread(packed_MD), kept.mask_BF.to(packed_MD.dtype)
    all_BND = _put(packed_MD, kept.hard_BN)
    skipped = kept.skipped_indices()
    if len(skipped):
        if numbers_BND is None:
            with torch.no_grad():
                numbers_MD = _encode(encode, flat[skipped])
        else:
            numbers_MD = numbers_BND.detach().flatten(0, 1)[skipped]
        rows_MD = all_BND.flatten(0, 1).index_copy(0, skipped, numbers_MD.to(all_BND.dtype))
        all_BND = rows_MD.view_as(all_BND)
    if kept.selection_BKN is None:
        return all_BND, choice
    with torch.autocast(all_BND.device.type, enabled=False):
        features_BKD = kept.selection_BKN @ all_BND.to(kept.selection_BKN.dtype)
    return features_BKD, kept.mask_BK.to(features_BKD.dtype)


def _encode(encode: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    features_MD = encode(frames)
    return features_MD.to(torch.promote_types(features_MD.dtype, torch.float32))


def _places(mask_BF: Tensor) -> Tensor:
    """(M,) long, the True places of the flattened mask, ascending."""
    return mask_BF.flatten().nonzero().squeeze(1)


def _put(packed_MD: Tensor, mask_BF: Tensor) -> Tensor:
    """(M, D) rows into the True places of (B, F), as (B, F, D); 0 elsewhere."""
    width = packed_MD.shape[1]
    empty = packed_MD.new_zeros(mask_BF.numel(), width)
    return empty.index_copy(0, _places(mask_BF), packed_MD).view(*mask_BF.shape, width)
