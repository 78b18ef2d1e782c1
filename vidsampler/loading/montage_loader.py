"""Batches of montages, made while they are wanted from the stored frames of a folder of videos."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter

from vidsampler.errors import InputError, VidsamplerError
from vidsampler.loading.augment import Region, central_square
from vidsampler.loading.batch import Batch
from vidsampler.loading.loader import Loader, LoaderConfig, Waiting
from vidsampler.loading.montage import (
    DRAWS,
    LEAST_VIDEOS,
    Look,
    MontageSettings,
    Piece,
    plan_montage,
    whole_weights,
)
from vidsampler.loading.order import Purpose, random_bits, uniforms
from vidsampler.loading.split import Split
from vidsampler.loading.threads import submit

RGB = npt.NDArray[np.uint8]
_KEPT_SAMPLES = 512
"""Coded samples that are held in memory, of some 0.3 MB each."""
_BRIGHTEST_BLACK = 12
_LEAST_BLUR, _MOST_BLUR = 0.02, 0.06
"""Of a frame's side; 6 of 180 pixels is 0.033."""


class MontageLoader(Loader):
    """As `Loader`, but an item is a montage, its number the only thing that is known of it.

    Candidates are one second apart, and `Batch.whole_BN` is set in place of captions.

    Args:
        split: Of videos that montages are made from; captions are not looked at.
        config: `captions` and `augment` must be `none`; items come in their order.
        settings: Of the montages.
        count: Montages of an epoch.
        rank: As of `Loader`.
        ranks: Likewise.

    Raises:
        InputError: There are fewer than `LEAST_VIDEOS` videos.
    """

    def __init__(
        self,
        split: Split | str | Path,
        config: LoaderConfig,
        settings: MontageSettings,
        count: int,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._montages = count
        self.settings = settings
        # Numbers that follow each other are a pair; and there is nothing to shuffle.
        super().__init__(split, replace(config, shuffle=False), rank=rank, ranks=ranks)
        if len(self.split) < LEAST_VIDEOS:
            raise InputError(
                f"{self.split.reader.folder}: {len(self.split)} videos are too few for montages, "
                f"which need {LEAST_VIDEOS}",
                code="too-few",
            )
        entries = [each for one in self.split.reader.manifests for each in one.entries]
        self._stored = [entry.frames for entry in entries]
        if 0 in self._stored:
            raise InputError(
                f"{self.split.reader.folder}: {entries[self._stored.index(0)].key} has no pictures "
                "to make montages of",
                hint="store frames: vidsampler extract --store jpeg",
                code="no-pictures",
            )
        # A sample is read whole, header by header, and a montage wants few frames of many.
        self._sample = lru_cache(_KEPT_SAMPLES)(self.split.reader.__getitem__)
        self.plan(0, 0)  # whether the candidates are enough

    @property
    def keys(self) -> list[str]:
        """The names of the montages."""
        return [_name(item) for item in range(self._montages)]

    def plan(self, epoch: int, item: int) -> list[Piece]:
        """The pieces of a montage."""
        seed = self.config.seed
        return plan_montage(
            self._stored,
            self.config.frames,
            self.settings,
            uniforms(seed, epoch, item // 2, Purpose.MONTAGE_PAIR, DRAWS),
            uniforms(seed, epoch, item, Purpose.MONTAGE, DRAWS),
        )

    def left_out(self, epoch: int) -> list[str]:
        """See `Loader.left_out`."""
        return [_name(item) for item in self._order.left_out(epoch).tolist()]

    def keys_of(self, epoch: int, step: int) -> list[str]:
        """The videos that a step's montages are made of."""
        items = self._order.whole_batch(epoch, step).tolist()
        videos = {piece.video for item in items for piece in self.plan(epoch, item)}
        return [self.split.keys[video] for video in sorted(videos - {-1})]

    # ---------------------------------------------------------------- one batch

    def _items(self) -> int:
        return self._montages

    def _identity(self) -> dict[str, Any]:
        montages = {"montages": self._montages, **asdict(self.settings)}
        return {**super()._identity(), "frames": self.config.frames, "montage": montages}

    def _begin(self, pool: ThreadPoolExecutor | None, epoch: int, step: int) -> Waiting:
        items = self._order.batch(epoch, step).tolist()
        count, frames = len(items), self.config.frames
        frames_BNHWC = self._memory.take(count, frames, self.config.size)
        pixels = frames_BNHWC.numpy()
        plans = [self.plan(epoch, item) for item in items]
        rows = [
            submit(pool, self._render, plan, epoch, item, pixels[row])
            for row, (item, plan) in enumerate(zip(items, plans, strict=True))
        ]
        weights = [whole_weights(plan) for plan in plans]
        batch = Batch(
            frames_BNCHW=frames_BNHWC.permute(0, 1, 4, 2, 3),
            valid_BN=torch.ones(count, frames, dtype=torch.bool),
            times_BN=torch.arange(frames, dtype=torch.float64).repeat(count, 1),
            tokens_BL=None,
            keys=[_name(item) for item in items],
            videos_B=torch.tensor(items, dtype=torch.int64),
            captions_B=None,
            wordings_B=None,
            epoch=epoch,
            step=step,
            whole_BN=torch.tensor(weights, dtype=torch.float32).reshape(count, frames),
        )
        return Waiting(batch, rows, None)

    def _render(self, pieces: Sequence[Piece], epoch: int, item: int, frames_NHWC: RGB) -> None:
        at = 0
        for number, piece in enumerate(pieces):
            self._render_piece(piece, epoch, item, number, frames_NHWC[at : at + len(piece)])
            at += len(piece)

    def _render_piece(
        self, piece: Piece, epoch: int, item: int, number: int, frames_LHWC: RGB
    ) -> None:
        if piece.kind == "black":
            frames_LHWC[...] = round(_BRIGHTEST_BLACK * piece.strength)
            return
        if piece.kind == "noise":
            # One picture's noise for the piece: snow on a screen stands still or not, no matter.
            words = frames_LHWC.size // 4 + 1
            bits = random_bits(self.config.seed, epoch, item * 64 + number, Purpose.NOISE, words)
            snow = bits.astype(np.uint32).view(np.uint8)[: frames_LHWC.size]
            frames_LHWC[...] = snow.reshape(frames_LHWC.shape)
            return
        self._decode(piece, frames_LHWC)
        if piece.kind == "blur":
            sigma = _LEAST_BLUR + (_MOST_BLUR - _LEAST_BLUR) * piece.strength
            blur = ImageFilter.GaussianBlur(sigma * self.config.size)
            for frame_HWC in frames_LHWC:
                frame_HWC[...] = np.asarray(Image.fromarray(frame_HWC).filter(blur))

    def _decode(self, piece: Piece, frames_LHWC: RGB) -> None:
        places = np.array(sorted(set(piece.places)), np.int64)

        def region(height: int, width: int) -> Region:
            return central_square(height, width)._replace(mirrored=piece.look.mirrored)

        try:
            self._decoder.decode(self._sample(piece.video), lambda _: places, region, frames_LHWC)
        except VidsamplerError as error:
            raise InputError(
                f"{self.split.reader.tar(piece.video)}: {error.message}",
                hint=f"remove {self.split.reader.folder.parent}: it is made again",
                code=error.code,
            ) from error
        if len(places) < len(piece):
            # Places that are there more than once, from the last on: none is overwritten too soon.
            rows = np.searchsorted(places, piece.places)
            frames_LHWC[...] = frames_LHWC[rows]
        _recolour(frames_LHWC, piece.look)


def _recolour(frames_LHWC: RGB, look: Look) -> None:
    for colour, gain in enumerate(look.gains):
        if gain != 1:
            table = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
            frames_LHWC[..., colour] = table[frames_LHWC[..., colour]]


def _name(item: int) -> str:
    return f"montage {item}"
