"""Training-free samplers on the candidate frames of a batch, as a retriever has them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vidsampler.samplers.base import FrameSampler
from vidsampler.samplers.features import CANDIDATE_SIZE, light_features
from vidsampler.samplers.kept import Kept, check_valid, keep_these


def choose_candidates(
    sampler: FrameSampler,
    frames_BNCHW: Tensor,
    valid_BN: Tensor,
    times_BN: Tensor | None,
    k: int,
    seeds: Sequence[int],
) -> Kept:
    """Runs a sampler on each video for itself.

    Args:
        sampler: Such as `registry.load("samplers", "coverage")`.
        frames_BNCHW: (B, N, 3, H, W) uint8; only looked at by samplers that do.
        valid_BN: (B, N) bool, the real candidates, which come first.
        times_BN: (B, N) seconds; None: one a second.
        k: Frames to keep of each video, or all where there are fewer.
        seeds: One a video, for samplers that draw.

    Returns:
        The kept frames.

    Raises:
        ValueError: A video has no valid frame, or padding between its frames.
    """
    check_valid(valid_BN)
    rows = []
    for row, count in enumerate(valid_BN.sum(1).tolist()):
        times = np.arange(count, dtype=np.float64)
        if times_BN is not None:
            times = times_BN[row, :count].double().cpu().numpy()
        features = None
        if sampler.needs_features:
            features = light_features(_small(frames_BNCHW[row, :count]))
        choice = sampler.choose(times, features, k, seed=seeds[row])
        rows.append(choice.indices.tolist())
    return keep_these(rows, valid_BN)


def seed_of(seed: int, video: str, epoch: int | None = None) -> int:
    """A seed for one video that depends on nothing else of its batch.

    Args:
        seed: Of the run.
        video: Its id.
        epoch: In training, so that each epoch draws anew; None: always the same.
    """
    words = f"{seed}\n{video}" if epoch is None else f"{seed}\n{video}\n{epoch}"
    digest = hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _small(frames_NCHW: Tensor) -> npt.NDArray[np.uint8]:
    """(N, h, w, 3) frames whose shorter side has at most as many pixels as the features want."""
    height, width = frames_NCHW.shape[-2:]
    scale = CANDIDATE_SIZE / min(height, width)
    frames = frames_NCHW.cpu()
    if scale < 1:
        size = (round(height * scale), round(width * scale))
        frames = functional.interpolate(frames, size, mode="bilinear", antialias=True)
    array: npt.NDArray[np.uint8] = frames.permute(0, 2, 3, 1).contiguous().numpy()
    assert frames.dtype == torch.uint8
    return array
