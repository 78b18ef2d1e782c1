"""Features of the kept frames of videos, as a gallery holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """V videos in F frame slots.

    Attributes:
        features_VFD: (V, F, D) float32, not normalised; 0 where no frame is kept.
        keep_VF: (V, F) 1 for kept frames, 0 for other slots.
        indices_VF: (V, F) long, the kept candidates, ascending, in the first `counts_V` places.
        counts_V: (V,) long, how many frames are kept.
    """

    features_VFD: Tensor
    keep_VF: Tensor
    indices_VF: Tensor
    counts_V: Tensor

    def __len__(self) -> int:
        """V."""
        return len(self.counts_V)

    def __getitem__(self, videos: slice | Tensor) -> VideoFeatures:
        """Some of the videos."""
        return VideoFeatures(*(getattr(self, each.name)[videos] for each in fields(self)))

    def to(self, device: torch.device | str) -> VideoFeatures:
        """The same on a device."""
        return VideoFeatures(*(getattr(self, each.name).to(device) for each in fields(self)))

    def kept(self) -> list[list[int]]:
        """The kept candidates of each video, ascending."""
        rows = zip(self.indices_VF.tolist(), self.counts_V.tolist(), strict=True)
        return [row[:count] for row, count in rows]

    @staticmethod
    def join(parts: Sequence[VideoFeatures]) -> VideoFeatures:
        """The videos of several batches, one after the other."""
        return VideoFeatures(
            *(
                torch.cat([getattr(part, each.name) for part in parts])
                for each in fields(VideoFeatures)
            )
        )
