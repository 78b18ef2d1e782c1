"""A retriever at work for an index: frames of one video to its vectors.

Axes: K kept frames, D channels.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidsampler.errors import InputError, UsageError, VidsamplerError
from vidsampler.files import no_folder
from vidsampler.heads.base import VectorHead, masked_mean, unit
from vidsampler.retriever import Retriever
from vidsampler.retriever_config import RetrieverConfig
from vidsampler.retriever_files import CONFIG, WEIGHTS
from vidsampler.search.entry import Entry
from vidsampler.search.reading import Frames


def load_retriever(config: RetrieverConfig, weights: Path | None) -> Retriever:
    """A retriever with its weights, on the CPU.

    Args:
        config: Its settings.
        weights: The folder that it was saved in; None: the backbone's own weights.

    Raises:
        InputError, UsageError, VidsamplerError: See `Retriever.from_pretrained`, `from_config`.
    """
    from vidsampler.config import Layer

    if weights is None:
        return Retriever.from_config(config.retriever())
    return Retriever.from_pretrained(weights, [Layer("{key}", config.retriever().to_plain())])


def fingerprint(retriever: Retriever, weights: Path | None) -> str:
    """16 hexadecimal digits that tell weights from others."""
    if weights is None:
        return retriever.backbone.fingerprint()
    return checkpoint_fingerprint(weights)


def checkpoint_fingerprint(weights: Path) -> str:
    """The same of a saved retriever, from its file.

    Raises:
        InputError: It is not there, or cannot be read.
    """
    path = weights / WEIGHTS
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except FileNotFoundError:
        hint = f"give the folder that holds {CONFIG} and {WEIGHTS}"
        if not weights.is_dir():
            raise no_folder(weights, hint=hint) from None
        raise InputError(
            f"{weights} is no checkpoint: there is no {WEIGHTS} in it",
            hint=hint,
            code="missing",
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", code="unreadable") from error


def device_of(name: str | None) -> torch.device:
    """The device to compute on.

    Args:
        name: `cpu` or `cuda`; None: cuda where there is one.

    Raises:
        UsageError: There is no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no GPU that torch can use", hint="run with --device cpu")
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


class Encoder:
    """Makes entries of frames.

    A video is encoded by itself: its batch mates would change the last bits of its vectors, and
    an index that was begun again would not end in the same bytes.

    Args:
        retriever: In eval mode; it is moved to the device.
        device: What it computes on.
    """

    def __init__(self, retriever: Retriever, device: torch.device) -> None:
        self.retriever = retriever.to(device).eval()
        if device.type == "cpu":
            self.retriever.backbone.cast_for_inference()
        self._device = device

    @torch.inference_mode()
    def __call__(self, source: str, key: str, frames: Frames) -> Entry:
        """The entry of a video.

        Args:
            source: Its path.
            key: What `random` draws by.
            frames: The candidates.

        Raises:
            VidsamplerError: The model gave what is no number.
        """
        pixels_NCHW = torch.from_numpy(frames.rgb_NHWC).permute(0, 3, 1, 2).to(self._device)
        times_1N = torch.from_numpy(frames.times_N)[None].to(self._device)
        videos = self.retriever.embed_videos(pixels_NCHW[None], None, times_1N, [key])
        if isinstance(self.retriever.head, VectorHead):
            video_1D = self.retriever.vectors(videos)
        else:
            # For such heads a video is another vector for each text. This one is for --like.
            video_1D = unit(masked_mean(videos.features_VFD, videos.keep_VF.float()))
        slots_K = videos.keep_VF[0].nonzero().ravel()
        frames_KD = videos.features_VFD[0, slots_K]
        kept = np.array(videos.kept()[0], np.int64)
        entry = Entry(
            source,
            frames.stamp,
            frames.duration,
            _half(video_1D[0]),
            _half(unit(frames_KD)),
            frames_KD.norm(dim=1).cpu().numpy(),
            frames.times_N[kept],
            frames.numbers_N[kept],
            slots_K.cpu().numpy(),
        )
        if not (np.isfinite(entry.video_D).all() and np.isfinite(entry.frames_KD).all()):
            raise VidsamplerError(
                f"{source}: the model's vector is not a number",
                hint="its weights are damaged, or they need --set backbone.precision=fp32",
            )
        return entry


def _half(vectors: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    return vectors.to(torch.float16).cpu().numpy()
