"""`transformer`: frames look at each other before they are scored (AdaCLIP's transformer score)."""

from __future__ import annotations

from torch import Tensor, nn

from vidsampler.heads.base import VectorHead, kept, masked_softmax, weighted_sum
from vidsampler.heads.block import FrameBlock
from vidsampler.heads.mlp import ScoreConfig


class TransformerScore(VectorHead):
    """One block over the kept frames, without positions, then a linear score for each.

    The softmax of the scores weights the frames as they came in.
    """

    name = "transformer"
    Config = ScoreConfig

    def __init__(self, config: ScoreConfig | None = None, *, width: int, frames: int) -> None:
        super().__init__()
        self.config = config or ScoreConfig()
        self.block = FrameBlock(width)
        self.score = nn.Linear(width, 1)

    def pool(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """See `VectorHead.pool`."""
        seen_VFD = self.block(frames_VFD, ~kept(keep_VF))
        scores_VF = self.score(seen_VFD).squeeze(-1) / self.config.temperature
        return weighted_sum(masked_softmax(scores_VF, keep_VF), frames_VFD)
