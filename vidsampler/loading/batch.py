"""What the loader gives, and the memory that frames of batches live in."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidsampler.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Batch:
    """What a rank sees in one step. B items, N candidates, S x S pixels, L token ids.

    Attributes:
        frames_BNCHW: (B, N, 3, S, S) uint8 RGB, 0 where there is no candidate. Colours are last in
            memory, as decoders write them: a GPU turns them around faster.
        valid_BN: (B, N) bool, the real candidates; they come first, at least one a video.
        times_BN: (B, N) float64, when each is shown, in seconds (the number of the frame, where the
            shards know no times); 0 where there is none.
        tokens_BL: (B, L) int64, or None where there are no captions.
        keys: (B) of the videos.
        videos_B: (B,) int64, their numbers in the split.
        captions_B: (B,) int64, the numbers of the captions in the split, or None.
        wordings_B: (B,) int64, the same for captions of the same words, or None.
        epoch, step: Which step this is.
        whole_BN: (B, N) float32 or None: what each candidate counts in the whole video, the target
            where there are no captions; 0 for what is no part of it, 1 in all.
    """

    frames_BNCHW: Tensor
    valid_BN: Tensor
    times_BN: Tensor
    tokens_BL: Tensor | None
    keys: list[str]
    videos_B: Tensor
    captions_B: Tensor | None
    wordings_B: Tensor | None
    epoch: int
    step: int
    whole_BN: Tensor | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.keys)

    def to(self, device: torch.device | str) -> Batch:
        """The same with its tensors on a device; from pinned memory it does not wait."""
        # Other memory may be used for the next batch as soon as nobody holds it.
        pinned = self.frames_BNCHW.is_pinned()
        moved: dict[str, Any] = {
            each.name: value.to(device, non_blocking=pinned)
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class TextBatch:
    """Some of a split's texts, for evaluation.

    Attributes:
        tokens_TL: (T, L) int64.
        wordings_T: (T,) int64, their numbers among `Split.texts`.
    """

    tokens_TL: Tensor
    wordings_T: Tensor


class FrameMemory:
    """Memory for the frames of batches, used again when nobody holds a batch any more.

    New memory has to be mapped page by page while it is written to, which takes as long as a fifth
    of the decoding. And so the memory of an epoch does not grow.

    Args:
        pin: Memory that a GPU can fetch from by itself.

    Raises:
        ConfigError: There is no GPU to pin memory for.
    """

    def __init__(self, *, pin: bool = False) -> None:
        if pin and not torch.cuda.is_available():
            raise ConfigError("pin_memory needs a GPU, and PyTorch finds none")
        self._pin = pin
        self._free: list[npt.NDArray[np.uint8]] = []

    def take(self, items: int, frames: int, size: int) -> Tensor:
        """(items, frames, size, size, 3) uint8, with anything in it."""
        shape = (items, frames, size, size, 3)
        if self._pin:
            # PyTorch keeps pinned memory for reuse itself, once the GPU has fetched it.
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        count = int(np.prod(shape))
        place = next((i for i, each in enumerate(self._free) if each.size >= count), None)
        memory = np.empty(count, np.uint8) if place is None else self._free.pop(place)
        # All tensors of this memory keep the view alive; when it goes, the memory is free again.
        view = memory[:count].reshape(shape)
        weakref.finalize(view, self._free.append, memory).atexit = False
        return torch.from_numpy(view)
