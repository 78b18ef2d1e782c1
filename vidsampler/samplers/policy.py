"""The network that scores candidate frames for `gate` and `topk`.

mmSampler (frame features, temporal transformer, MLP) and AdaCLIP share its form. The attention goes
over the frames of one video: a video's scores do not depend on the others in its batch.
"""

from __future__ import annotations

import warnings
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vidsampler.quick_gelu import QuickGELU
from vidsampler.samplers.kept import check_valid
from vidsampler.samplers.policy_config import REACH, ExtractorConfig, Feature, PolicyConfig

__all__ = ["ExtractorConfig", "PolicyConfig", "PolicyNetwork", "TemporalBlock", "process_features"]


_FARTHEST = 3.0


def process_features(
    features_BND: Tensor, kind: Feature, valid_BN: Tensor | None = None, groups: int = 1
) -> Tensor:
    """What the temporal model is given of the frame features.

    Args:
        features_BND: (B, N, D), in time order.
        kind: `frame` f_t; `diff` f_t - f_{t-1} with f_{-1} = 0; `concat` both, in this order;
            `change` f_t and |f_t - f_{t-1}|, how much changes whichever way; `relations`, see
            there.
        valid_BN: (B, N) bool, the real candidates, which come first; None: all.
        groups: Of `relations`.

    Returns:
        (B, N, D), (B, N, 2 D) for `concat` and `change`; for `relations` see there.
    """
    if kind == "relations":
        if valid_BN is None:
            valid_BN = torch.ones_like(features_BND[..., 0], dtype=torch.bool)
        return relations(features_BND, valid_BN, groups)
    if kind == "frame":
        return features_BND
    before_BND = functional.pad(features_BND, (0, 0, 1, 0))[:, :-1]
    diff_BND = features_BND - before_BND
    if kind == "diff":
        return diff_BND
    second_BND = diff_BND.abs() if kind == "change" else diff_BND
    return torch.cat([features_BND, second_BND], dim=-1)


def relations(features_BND: Tensor, valid_BN: Tensor, groups: int = 1) -> Tensor:
    """How each frame relates to the others of its video, and nothing of what it shows.

    A policy that sees this, and not the features, has nothing to learn its videos by heart with.

    Args:
        features_BND: (B, N, D), in time order.
        valid_BN: (B, N) bool, the real candidates, which come first.
        groups: G, equal parts of the channels; D is a multiple of it.

    Returns:
        (B, N, 2 REACH + 2 + 2 G): Euclidean distances to the `REACH` frames before and after (0
        beyond the ends), to the nearest of all earlier frames and of all later ones (at most 3, as
        where there is none), all in units of the mean distance between two frames of the video;
        the means of f_t over each group of channels, then the standard deviations, less those of
        the video, in units of their standard deviation there. 0 in padding.
    """
    count = features_BND.shape[1]
    pairs_BNN = valid_BN[:, :, None] & valid_BN[:, None]
    apart_BNN = torch.cdist(features_BND, features_BND).masked_fill(~pairs_BNN, 0)
    frames_B = valid_BN.sum(1)
    mean_B = apart_BNN.sum((1, 2)) / (frames_B * (frames_B - 1)).clamp(min=1)
    apart_BNN = apart_BNN / mean_B.clamp(min=1e-6)[:, None, None]
    columns = []
    for step in (*range(-REACH, 0), *range(1, REACH + 1)):
        # Row t of the diagonal that is `step` to the right of the main one.
        near_BN = torch.diagonal(apart_BNN, step, 1, 2)
        columns.append(functional.pad(near_BN, (-step, 0) if step < 0 else (0, step))[:, -count:])
    places_N = torch.arange(count, device=valid_BN.device)
    for among_NN in (places_N[:, None] > places_N, places_N[:, None] < places_N):
        least_BN = apart_BNN.masked_fill(~(pairs_BNN & among_NN), _FARTHEST).amin(2)
        columns.append(least_BN.clamp(max=_FARTHEST))
    parts_BNGC = features_BND.unflatten(2, (groups, -1))
    stats_BNS = torch.cat([parts_BNGC.mean(3), parts_BNGC.std(3, correction=0)], 2)
    for each_BN in stats_BNS.unbind(2):
        mean_B1 = (each_BN * valid_BN).sum(1, keepdim=True) / frames_B[:, None]
        off_BN = (each_BN - mean_B1) * valid_BN
        spread_B1 = (off_BN.square().sum(1, keepdim=True) / frames_B[:, None]).sqrt()
        columns.append(off_BN / spread_B1.clamp(min=1e-6))
    return torch.stack(columns, -1) * valid_BN[..., None]


class TemporalBlock(nn.Module):
    """One pre-LN transformer block over the frames of a video: no dropout, no final LN.

    Args:
        width: Channels.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x_BNW: Tensor, valid_BN: Tensor) -> Tensor:
        """Lets frames see the valid frames of their video.

        Args:
            x_BNW: (B, N, W) one row a frame.
            valid_BN: (B, N) bool; the others are not attended to, and their rows mean nothing.

        Returns:
            (B, N, W).
        """
        y_BNW = self.norm1(x_BNW)
        seen_BNW, _ = self.attention(
            y_BNW, y_BNW, y_BNW, key_padding_mask=~valid_BN, need_weights=False
        )
        x_BNW = x_BNW + seen_BNW
        result: Tensor = x_BNW + self.mlp(self.norm2(x_BNW))
        return result


class _Transformer(nn.Module):
    """Projection, learned positions, one block."""

    def __init__(self, width_in: int, config: PolicyConfig) -> None:
        super().__init__()
        if config.frames is None:
            raise ValueError("the policy network needs the number of candidate frames")
        self.projection = _linear(width_in, config.width)
        positions_NW = torch.randn(config.frames, config.width) * config.position_std
        self.positions_NW = nn.Parameter(positions_NW)
        self.block = TemporalBlock(config.width, config.attention_heads)
        self._warned = False

    def forward(self, x_BND: Tensor, valid_BN: Tensor, candidates: int) -> Tensor:
        positions_NW = self._positions(candidates)[: x_BND.shape[1]]
        result: Tensor = self.block(self.projection(x_BND) + positions_NW, valid_BN)
        return result

    def _positions(self, candidates: int) -> Tensor:
        trained = len(self.positions_NW)
        if candidates == trained:
            return self.positions_NW
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"the policy network has positions of {trained} candidate frames; they are "
                f"interpolated for {candidates}",
                stacklevel=2,
            )
        # Candidates are the middles of equal segments, hence not align_corners.
        rows_1WN = functional.interpolate(
            self.positions_NW.T[None], size=candidates, mode="linear", align_corners=False
        )
        return rows_1WN[0].T


class _Recurrent(nn.Module):
    """An LSTM; with both directions, their mean."""

    def __init__(self, width_in: int, config: PolicyConfig) -> None:
        super().__init__()
        both = config.temporal == "bilstm"
        self.lstm = nn.LSTM(width_in, config.width, batch_first=True, bidirectional=both)

    def forward(self, x_BND: Tensor, valid_BN: Tensor, candidates: int) -> Tensor:
        if not self.lstm.bidirectional:
            # Padding comes last, so that no valid frame has seen it.
            result: Tensor = self.lstm(x_BND)[0]
            return result
        packed = pack_padded_sequence(
            x_BND, valid_BN.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        both_BN2W, _ = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=x_BND.shape[1]
        )
        forward_BNW, backward_BNW = both_BN2W.chunk(2, dim=-1)
        return (forward_BNW + backward_BNW) / 2


class PolicyNetwork(nn.Module):
    """Scores the candidate frames of each video.

    Args:
        config: Its form; the extractor in it is not built here.
        width_in: D, numbers a frame that the extractor gives.
        actions: A: 2 for `gate` (column 0 is keep), 1 for `topk`.
    """

    def __init__(self, config: PolicyConfig, width_in: int, actions: int) -> None:
        super().__init__()
        self.config = config
        width = config.width_given(width_in)
        self.temporal: _Transformer | _Recurrent | None = None
        if config.temporal == "transformer":
            self.temporal = _Transformer(width, config)
        elif config.temporal != "none":
            self.temporal = _Recurrent(width, config)
        if self.temporal is not None:
            width = config.width
        self.head: nn.Module
        if config.head == "fc":
            self.head = _linear(width, actions)
        else:
            self.head = nn.Sequential(
                _linear(width, config.hidden), nn.ReLU(), _linear(config.hidden, actions)
            )
        last = cast(nn.Linear, [*self.head.modules()][-1])
        if config.start_even:
            nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias[:1], config.start_bias)

    def forward(
        self, features_BND: Tensor, valid_BN: Tensor, *, candidates: int | None = None
    ) -> Tensor:
        """Scores candidates, in the precision of the weights whatever autocast says.

        Args:
            features_BND: (B, N, D) from the extractor, in time order.
            valid_BN: (B, N) bool, the real candidates; padding comes after them. What stands in
                padded rows changes nothing.
            candidates: How many candidates a video has when it is whole: the positions are those
                of so many frames. None: N. Give it where batches are padded to their own longest
                video, or the others' length would move a video's positions.

        Returns:
            (B, N, A) logits; those of padding mean nothing.

        Raises:
            ValueError: A video has no valid frame or padding amid its frames, or the width of the
                batch exceeds `candidates`.
        """
        check_valid(valid_BN)
        count = features_BND.shape[1]
        candidates = count if candidates is None else candidates
        if count > candidates:
            raise ValueError(f"a batch of {count} frames a video has more than {candidates}")
        with torch.autocast(features_BND.device.type, enabled=False):
            dtype = next(self.parameters()).dtype
            # Zeroed rather than only masked: 0 times a stray infinity is no number.
            x_BND = features_BND.to(dtype).masked_fill(~valid_BN[..., None], 0)
            x_BND = process_features(
                x_BND, self.config.features, valid_BN, self.config.channel_groups
            )
            if self.config.normalise:
                x_BND = functional.layer_norm(x_BND, x_BND.shape[-1:])
            if self.temporal is not None:
                x_BND = self.temporal(x_BND, valid_BN, candidates)
            logits_BNA: Tensor = self.head(x_BND)
        return logits_BNA


def _linear(width_in: int, width_out: int) -> nn.Linear:
    """A linear layer, Kaiming-normal over its inputs (gain sqrt 2), bias 0."""
    layer = nn.Linear(width_in, width_out)
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer
