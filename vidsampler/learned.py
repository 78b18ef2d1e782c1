"""`select` by a trained sampler: that of a checkpoint, or the one that is shipped."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vidsampler.errors import UsageError
from vidsampler.samplers.base import Candidates, Choice

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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

    def choose(self, frames_NHWC: npt.NDArray[np.uint8], k: int) -> Choice:
        """Chooses frames.

        Args:
            frames_NHWC: (N, H, W, 3), in time order.
            k: How many to keep. `gate` keeps as many as it wants, of these the k surest at most.

        Returns:
            The kept frames; the score of each is its probability of being kept (`gate`), or of
            being the first pick (`topk`).
        """
        import numpy as np
        import torch

        from vidsampler.samplers.topk import TopKSampler, highest

        sampler = self.retriever.sampler
        assert sampler is not None
        frames_1NCHW = torch.from_numpy(frames_NHWC).permute(0, 3, 1, 2)[None]
        valid_1N = torch.ones(frames_1NCHW.shape[:2], dtype=torch.bool)
        with torch.inference_mode(), warnings.catch_warnings():
            # Positions are interpolated: that is how it looks at any number of candidates.
            warnings.simplefilter("ignore", UserWarning)
            if sampler.extractor is None:
                features_1ND = self.retriever.encode_candidates(frames_1NCHW, valid_1N)
            else:
                features_1ND = sampler.extract(frames_1NCHW, valid_1N)
            logits_1NA = sampler.policy(features_1ND, valid_1N)
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
        """Billions of multiply-adds for so many candidates."""
        import torch

        from vidsampler.flops import count, count_extractor, count_policy

        retriever, policy = self.retriever, self.retriever.config.sampler.policy
        assert retriever.sampler is not None
        if retriever.sampler.extractor is None:
            size = retriever.backbone.pixel_input
            pixels = torch.zeros(1, 3, size.height, size.width)
            each = count(lambda: retriever.backbone.encode_frames(pixels))
        else:
            each = count_extractor(policy)
        temporal, head = count_policy(
            policy, frames, retriever.backbone.width, retriever.sampler.actions
        )
        return frames * each + temporal + head


def trained_sampler(checkpoint: str | Path | None) -> TrainedSampler:
    """Loads a sampler; the same again costs nothing.

    Args:
        checkpoint: A checkpoint or run; None: the one that is shipped.

    Raises:
        InputError: It is none.
        UsageError: It has no learned sampler.
    """
    if checkpoint is None:
        return _load(LEARNED.folder, LEARNED.name)
    return _load(Path(checkpoint))


@lru_cache(maxsize=1)
def _load(folder: Path, name: str | None = None) -> TrainedSampler:
    from vidsampler.retriever import Retriever

    retriever = Retriever.from_pretrained(folder)
    own = retriever.config.sampler.name
    if retriever.sampler is None:
        raise UsageError(
            f"the checkpoint {folder} has no learned sampler; it keeps frames by {own}",
            hint=f"vidsampler select --sampler {own}",
        )
    return TrainedSampler(name or own, retriever, retriever.frame_size)
