"""`seq`: a transformer over the frames in time (CLIP4Clip's seqTransf)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidsampler.errors import ConfigError, UsageError
from vidsampler.heads.base import VectorHead, blocks, kept, masked_mean
from vidsampler.heads.block import FrameBlock


@dataclass(frozen=True)
class SeqConfig:
    """Settings of the transformer over frames.

    Attributes:
        layers: blocks, at least 1.
        positions: the longest sequence of frames, at least 1 (CLIP's text table has 77).
        residual: the frames are added to what comes out, as in CLIP4Clip; AdaCLIP's own
            transformer over the kept frames leaves them out.
        eps: of the layer norms; above 0. That of CLIP4Clip's and EMCL-Net's checkpoints.
    """

    layers: int = 4
    positions: int = 77
    residual: bool = True
    eps: float = 1e-12

    def __post_init__(self) -> None:
        for name, value in (("layers", self.layers), ("positions", self.positions)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        if not self.eps > 0:
            raise ConfigError(f"eps must be above 0, not {self.eps:g}")


class SequenceEncoder(nn.Module):
    """f + blocks(f + positions); skipped and padded frames are nobody's keys.

    Without the leading f where the config says that it is not residual.
    """

    def __init__(self, config: SeqConfig, width: int, frames: int) -> None:
        super().__init__()
        if frames > config.positions:
            raise UsageError(
                f"the sequence head has {config.positions} positions, but gets {frames} frames",
                hint=f"give it more positions: --set head.positions={frames}",
            )
        self.frame_position_embeddings = nn.Embedding(config.positions, width)
        nn.init.normal_(self.frame_position_embeddings.weight, std=0.01)
        self.residual = config.residual
        self.resblocks = nn.ModuleList(
            FrameBlock(width, eps=config.eps) for _ in range(config.layers)
        )

    def start_from(self, backbone: Any) -> bool:
        """Copies positions and first blocks of CLIP's text tower; False where they do not fit.

        Args:
            backbone: gives `text_tower()`: None, or its positions (L, W) and its blocks.
        """
        tower = backbone.text_tower()
        if tower is None:
            return False
        positions_LW, blocks = tower
        table = self.frame_position_embeddings.weight
        if positions_LW.shape[1] != table.shape[1] or len(blocks) < len(self.resblocks):
            return False
        rows = min(len(table), len(positions_LW))
        with torch.no_grad():
            table[:rows] = positions_LW[:rows]
        for own, theirs in zip(self.resblocks, blocks, strict=False):
            own.load_state_dict(theirs.state_dict())
        return True

    def forward(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(V, F, D) frames that know of each other.

        Raises:
            UsageError: There are more frames than positions.
        """
        count, most = frames_VFD.shape[1], self.frame_position_embeddings.num_embeddings
        if count > most:
            raise UsageError(f"the sequence head has {most} positions, but got {count} frames")
        x_VFD = frames_VFD + self.frame_position_embeddings.weight[:count]
        skip_VF = ~kept(keep_VF)
        for block in self.resblocks:
            x_VFD = block(x_VFD, skip_VF)
        return frames_VFD + x_VFD if self.residual else x_VFD

    def whole_gallery(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """The same, a few hundred videos at a time, so that memory stays bounded."""
        return torch.cat([self(frames_VFD[v], keep_VF[v]) for v in blocks(len(frames_VFD), 256)])


class Sequence(VectorHead):
    """The mean over kept frames of f + x, x from a transformer over the frames.

    Luo et al., CLIP4Clip, 2021 (sequential type). Frames get length 1 before the mean, as
    in `mean`.
    """

    name = "seq"
    Config = SeqConfig

    def __init__(self, config: SeqConfig | None = None, *, width: int, frames: int) -> None:
        super().__init__()
        self.encoder = SequenceEncoder(config or SeqConfig(), width, frames)

    def start_from(self, backbone: Any) -> bool:
        """See `SequenceEncoder.start_from`."""
        return self.encoder.start_from(backbone)

    def pool(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """See `VectorHead.pool`."""
        return masked_mean(self.encoder(frames_VFD, keep_VF), keep_VF)
