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
        ValueError: A video has no valid frame, or padding between its frames, or times of another
            shape.
    """
    check_valid(valid_BN)
    if times_BN is not None and times_BN.shape != valid_BN.shape:
        raise ValueError(
            f"times must be {tuple(valid_BN.shape)} for these frames, {tuple(times_BN.shape)}"
        )
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


def checked_candidates(frames_BNCHW: Tensor, valid_BN: Tensor | None, most: int) -> Tensor:
    """Which candidates of a batch are real.

    Args:
        frames_BNCHW: (B, n, 3, H, W) uint8.
        valid_BN: (B, n) bool, the real ones, which come first; None: all.
        most: N, how many a video may have.

    Returns:
        (B, n) bool.

    Raises:
        ValueError: Shapes or types do not fit, or a video has no candidate.
    """
    shape = tuple(frames_BNCHW.shape)
    if len(shape) != 5 or shape[2] != 3 or frames_BNCHW.dtype != torch.uint8:
        raise ValueError(f"frames must be (B, N, 3, H, W) uint8, got {shape} {frames_BNCHW.dtype}")
    if shape[1] > most:
        raise ValueError(f"the retriever looks at {most} candidate frames a video, got {shape[1]}")
    if valid_BN is None:
        valid_BN = torch.ones(shape[:2], dtype=torch.bool, device=frames_BNCHW.device)
    if tuple(valid_BN.shape) != shape[:2]:
        raise ValueError(f"valid must be {shape[:2]} for these frames, {tuple(valid_BN.shape)}")
    check_valid(valid_BN)
    return valid_BN


def seeds_of(
    seed: int, ids: Sequence[str] | None, videos: int, epoch: int | None = None
) -> list[int]:
    """`seed_of` for each of so many videos.

    Raises:
        ValueError: There are not as many ids.
    """
    if ids is None or len(ids) != videos:
        raise ValueError(
            f"the sampler random draws by the ids of {videos} videos, got "
            f"{'none' if ids is None else len(ids)}"
        )
    return [seed_of(seed, each, epoch) for each in ids]


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
