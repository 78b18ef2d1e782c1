"""`mlp`: AdaCLIP's MLP-Score, a learned weight for each frame, whatever the query."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vidsampler.errors import ConfigError
from vidsampler.heads.base import VectorHead, masked_softmax, weighted_sum
from vidsampler.quick_gelu import QuickGELU


@dataclass(frozen=True)
class ScoreConfig:
    """Settings of heads that weight frames by a softmax of scores.

    Attributes:
        temperature: scores are divided by it; above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {self.temperature:g}")


class MLPScore(VectorHead):
    """Scores D -> 2D -> D -> 1 on unnormalised frames; their softmax weights the frames.

    1,050,625 parameters at D = 512. Hu et al., AdaCLIP, 2023.
    """

    name = "mlp"
    Config = ScoreConfig

    def __init__(self, config: ScoreConfig | None = None, *, width: int, frames: int) -> None:
        super().__init__()
        self.config = config or ScoreConfig()
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            QuickGELU(),
            nn.Linear(2 * width, width),
            QuickGELU(),
            nn.Linear(width, 1),
        )

    def weights(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(V, F) the weight of each frame; they add up to 1 over the kept ones."""
        scores_VF = self.mlp(frames_VFD).squeeze(-1)
        return masked_softmax(scores_VF / self.config.temperature, keep_VF)

    def pool(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """See `VectorHead.pool`."""
        return weighted_sum(self.weights(frames_VFD, keep_VF), frames_VFD)
