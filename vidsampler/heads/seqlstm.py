"""`seqlstm`: an LSTM over the frames in time (CLIP4Clip's seqLSTM)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidsampler.heads.base import VectorHead, kept, masked_mean


@dataclass(frozen=True)
class SeqLSTMConfig:
    """The LSTM has no settings."""


class SequenceLSTM(VectorHead):
    """The mean over kept frames of f + LSTM(kept frames), without positions.

    Luo et al., CLIP4Clip, 2021. Frames get length 1 before the mean, as in `mean`.
    """

    name = "seqlstm"
    Config = SeqLSTMConfig

    def __init__(self, config: SeqLSTMConfig | None = None, *, width: int, frames: int) -> None:
        super().__init__()
        self.lstm_visual = nn.LSTM(width, width, batch_first=True)

    def pool(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """See `VectorHead.pool`."""
        # The kept frames move to the front, in order. What comes behind them cannot change them,
        # because an LSTM only looks back; so there is no need to pack.
        order_VF = torch.argsort((~kept(keep_VF)).long(), dim=1, stable=True)
        to_VFD = order_VF[..., None].expand_as(frames_VFD)
        read_VFD, _ = self.lstm_visual(frames_VFD.gather(1, to_VFD))
        back_VFD = torch.zeros_like(read_VFD).scatter(1, to_VFD, read_VFD)
        return masked_mean(frames_VFD + back_VFD, keep_VF)
