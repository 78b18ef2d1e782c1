"""One pre-LN transformer block over frames, with the names of open_clip's blocks."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from vidsampler.quick_gelu import QuickGELU


class FrameBlock(nn.Module):
    """x + attention(LN(x)), then x + mlp(LN(x)); the MLP is 4 times as wide.

    Parameters are called as in open_clip's `ResidualAttentionBlock`, so that CLIP's text blocks
    and published checkpoints load as they are.

    Args:
        width: D, channels.
        heads: attention heads, a divisor of D; None: the most that are at least 64 wide.
        eps: of the layer norms.
    """

    def __init__(self, width: int, heads: int | None = None, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.attn = nn.MultiheadAttention(
            width, attention_heads(width) if heads is None else heads, batch_first=True
        )
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=QuickGELU(),
                c_proj=nn.Linear(4 * width, width),
            )
        )

    def forward(self, frames_VFD: Tensor, skip_VF: Tensor | None = None) -> Tensor:
        """(V, F, D); frames where `skip_VF` is true are nobody's keys."""
        x_VFD = self.ln_1(frames_VFD)
        mixed_VFD, _ = self.attn(x_VFD, x_VFD, x_VFD, key_padding_mask=skip_VF, need_weights=False)
        frames_VFD = frames_VFD + mixed_VFD
        out: Tensor = frames_VFD + self.mlp(self.ln_2(frames_VFD))
        return out


def attention_heads(width: int) -> int:
    """The most heads of at least 64 channels into which a width divides (512: 8, 1000: 10)."""
    return max(heads for heads in range(1, max(1, width // 64) + 1) if width % heads == 0)
