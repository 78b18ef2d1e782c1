"""`select` by a trained sampler: that of a checkpoint, or the one that is shipped."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vidsampler.errors import UsageError
from vidsampler.samplers.base import Candidates, Choice

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor
    from torch.nn import Module

    from vidsampler.retriever import Retriever


class ShippedSampler(NamedTuple):
    """A sampler whose weights come with the package.

    Attributes:
        name: As it is registered.
        folder: Its checkpoint; README.md in it is the model card.
    """

    name: str
    folder: Path


LEARNED = ShippedSampler("learned", Path(__file__).parent / "shipped" / "learned")


@dataclass(frozen=True)
class TrainedSampler:
    """Chooses among candidates of any number by the policy network of a retriever.

    Attributes:
        name: Of the sampler, such as `topk`, or `learned` for the shipped one.
        retriever: In eval mode.
        size: Pixels of the shorter side of the candidates.
        candidates: Which frames it chooses from.
    """

    name: str
    retriever: Retriever
    size: int
    candidates: Candidates = "uniform"

    @property
    def k(self) -> int | None:
        """How many frames the run keeps; None: `gate` decides for itself."""
        settings = self.retriever.config.sampler
        return None if settings.name == "gate" else settings.k

    @property
    def frames(self) -> int:
        """How many candidates the run chooses from."""
        return self.retriever.config.frames

    def choose(
        self, frames_NHWC: npt.NDArray[np.uint8], k: int, candidates: int | None = None
    ) -> Choice:
        """Chooses frames, as the retriever does.

        Args:
            frames_NHWC: (N, H, W, 3), in time order; their central squares are looked at.
            k: How many to keep. `gate` keeps as many as it wants, of these the k surest at most.
            candidates: How many there are of a video that is long enough: a frame's position is
                one among so many. None: as many as the run has, or N where that is more.

        Returns:
            The kept frames; the score of each is its probability of being kept (`gate`), or of
            being the first pick (`topk`).
        """
        import numpy as np
        import torch

        from vidsampler.samplers.topk import TopKSampler, highest

        sampler = self.retriever.sampler
        assert sampler is not None
        whole = max(candidates or self.frames, len(frames_NHWC))
        with torch.inference_mode():
            frames_NCHW = torch.from_numpy(_squares(frames_NHWC)).permute(0, 3, 1, 2)
            logits_1NA = self._logits(self._features(frames_NCHW[None]), whole)
            valid_1N = torch.ones(logits_1NA.shape[:2], dtype=torch.bool)
            if isinstance(sampler, TopKSampler):
                scores_N = logits_1NA[0, :, 0].softmax(0).double().numpy()
                indices = highest(logits_1NA[..., 0], k, valid_1N)[0][0].numpy()
            else:
                scores_N = logits_1NA[0].softmax(1)[:, 0].double().numpy()
                indices = np.flatnonzero(sampler.choose(logits_1NA, valid_1N).hard_BN[0].numpy())
                surest = np.argsort(-scores_N[indices], kind="stable")[:k]
                indices = np.sort(indices[surest])
        return Choice(indices.astype(np.int64), scores_N[indices])

    def gmacs(self, frames: int) -> float:
        """Billions of multiply-adds for so many candidates, as `flops` counts them."""
        import torch

        sampler = self.retriever.sampler
        assert sampler is not None
        extractor = sampler.extractor
        width = self.retriever.backbone.width if extractor is None else extractor.width
        with torch.inference_mode(), _counting(sampler.policy) as counted:
            self._logits(torch.zeros(1, frames, width), frames)
        return sum(counted) / 1e9 + frames * self._gmacs_frame

    @cached_property
    def _gmacs_frame(self) -> float:
        """Of what the policy network is given of a frame."""
        import torch

        size = self.retriever.frame_size
        one = torch.zeros(1, 1, 3, size, size, dtype=torch.uint8)
        with torch.inference_mode():
            sampler = self.retriever.sampler
            assert sampler is not None
            if sampler.extractor is None and self.retriever.backbone.has_texts:
                from vidsampler.flops import count

                # Not all of its layers are modules.
                return count(lambda: self._features(one))
            with _counting(self.retriever) as counted:
                self._features(one)
        return sum(counted) / 1e9

    def _features(self, frames_1NCHW: Tensor) -> Tensor:
        """(1, N, D) what the policy network is given."""
        import torch

        sampler = self.retriever.sampler
        assert sampler is not None
        valid_1N = torch.ones(frames_1NCHW.shape[:2], dtype=torch.bool)
        if sampler.extractor is None:
            return self.retriever.encode_candidates(frames_1NCHW, valid_1N)
        return sampler.extract(frames_1NCHW, valid_1N)

    def _logits(self, features_1ND: Tensor, candidates: int) -> Tensor:
        """(1, N, A) of the policy network."""
        import torch

        sampler = self.retriever.sampler
        assert sampler is not None
        valid_1N = torch.ones(features_1ND.shape[:2], dtype=torch.bool)
        with warnings.catch_warnings():
            # Positions are interpolated: that is how it looks at any number of candidates.
            warnings.simplefilter("ignore", UserWarning)
            logits_1NA: Tensor = sampler.policy(features_1ND, valid_1N, candidates=candidates)
        return logits_1NA


def _squares(frames_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The middles of frames, which are all that a retriever sees."""
    height, width = frames_NHWC.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames_NHWC[:, top : top + side, left : left + side]


@contextmanager
def _counting(module: Module) -> Iterator[list[int]]:
    """Multiply-adds of all layers while they run.

    By their shapes: torch's own counter, which `flops` takes, costs a second to import.
    """
    from torch import nn
    from torch.nn.utils.rnn import PackedSequence

    counted: list[int] = []

    def add(layer: Any, inputs: Any, output: Any) -> None:
        if isinstance(layer, nn.Conv2d):
            counted.append(output.numel() * layer.weight[0].numel())
        elif isinstance(layer, nn.Linear):
            counted.append(output.numel() * layer.in_features)
        elif isinstance(layer, nn.MultiheadAttention):
            videos, count, width = inputs[0].shape
            counted.append(videos * (4 * count * width**2 + 2 * count**2 * width))
        elif isinstance(layer, nn.LSTM):
            gates = sum(each.numel() for name, each in layer.named_parameters() if "weight" in name)
            given = inputs[0]
            packed = isinstance(given, PackedSequence)
            counted.append((len(given.data) if packed else given.shape[:2].numel()) * gates)

    hooks = [each.register_forward_hook(add) for each in module.modules()]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def trained_sampler(checkpoint: str | Path | None) -> TrainedSampler:
    """Loads a sampler; the same files again cost nothing.

    Args:
        checkpoint: A checkpoint or run; None: the one that is shipped.

    Raises:
        InputError: It is none.
        UsageError: It has no learned sampler.
    """
    if checkpoint is None:
        return _load(LEARNED.folder, LEARNED.name, _stamps(LEARNED.folder))
    return _load(Path(checkpoint), None, _stamps(Path(checkpoint)))


def _stamps(checkpoint: Path) -> tuple[tuple[int, ...], ...]:
    """What tells the files of a checkpoint from others of the same names."""
    from vidsampler.retriever_files import CONFIG, WEIGHTS
    from vidsampler.run_folder import weights_folder

    try:
        found = [(weights_folder(checkpoint) / name).stat() for name in (CONFIG, WEIGHTS)]
    except OSError:
        return ()  # whatever is wrong, loading has the words for it
    return tuple((each.st_dev, each.st_ino, each.st_mtime_ns, each.st_size) for each in found)


@lru_cache(maxsize=1)
def _load(folder: Path, name: str | None, stamps: tuple[tuple[int, ...], ...]) -> TrainedSampler:
    from vidsampler.retriever import Retriever

    retriever = Retriever.from_pretrained(folder)
    own = retriever.config.sampler.name
    if retriever.sampler is None:
        raise UsageError(
            f"the checkpoint {folder} has no learned sampler; it keeps frames by {own}",
            hint=f"vidsampler select --sampler {own}",
        )
    return TrainedSampler(name or own, retriever, retriever.frame_size)
