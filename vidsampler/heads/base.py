"""What every head is, and the masked means that heads share.

Axes of tensors: T texts, V videos, F frame slots of a video, D channels, M trials. A keep mask
`keep_VF` is 0 or 1 going forward; a learned sampler's gradient may flow through it. A slot with 0
(skipped or padded) never gets weight, whatever it holds, as long as that is finite.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

# Skipped frames may score higher than every kept one. exp() of more than this is never needed for
# their gradient, and garbage in padding must not become infinity times zero.
_MOST_ABOVE_KEPT = 30.0

_GALLERY = 256
"""Videos that become vectors at once."""


class TrainingTerms(NamedTuple):
    """What a head gives to the losses.

    Attributes:
        similarity_TV: (T, V) cosines for the retrieval loss.
        support_TV: (T, V) cosines for the support-text loss, of heads that have one.
        support_weight: the weight of that loss beside the first.
    """

    similarity_TV: Tensor
    support_TV: Tensor | None = None
    support_weight: float = 0.0


class Head(nn.Module):
    """From features of kept frames and of texts to their similarity.

    A subclass is built as `Class(config, width=D, frames=F)`, where `config` is its own `Config`
    (None: the defaults), D the joint width of the backbone and F the number of frame slots.

    Attributes:
        name: as it is registered.
        Config: the dataclass of its settings.
        query_dependent: a video's vector depends on the text.
        transductive: a score depends on the other videos of the gallery.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    query_dependent: ClassVar[bool]
    transductive: ClassVar[bool] = False

    def similarity(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Tensor:
        """(T, V) cosines of all pairs, in fp32, as evaluation and search use them.

        Args:
            texts_TD: (T, D) text features, not normalised.
            frames_VFD: (V, F, D) frame features, not normalised.
            keep_VF: (V, F) 1 for kept frames, 0 for all other slots.
            text_ids_T: (T,) integers that name the texts wherever they stand; heads that draw
                noise key it by them, so identical captions should share one. None: the position.
            block: query-dependent heads work on `block` texts x `block` videos at a time. It
                bounds the memory and does not change scores beyond rounding.

        Raises:
            ValueError: Shapes do not fit, or a video has no kept frame.
        """
        rows = self.rows(texts_TD, frames_VFD, keep_VF, text_ids_T=text_ids_T, block=block)
        return torch.cat(list(rows))

    @abstractmethod
    def rows(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Iterator[Tensor]:
        """The rows of `similarity`, `block` texts at a time, so that the whole need not be held.

        What is done to the gallery is done once. Arguments and errors are those of `similarity`.

        Yields:
            (block, V) consecutive rows; the last block may have fewer.
        """

    @abstractmethod
    def training_terms(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        own_T: Tensor | None = None,
    ) -> TrainingTerms:
        """What the losses need of a batch; arguments as of `similarity`.

        Args:
            texts_TD: as of `similarity`.
            frames_VFD: as of `similarity`.
            keep_VF: as of `similarity`.
            own_T: (T,) column of each text's own video; None: text i belongs to video i.
        """

    def start_from(self, backbone: Any) -> bool:
        """Takes weights over from the backbone where the head is meant to; whether it did."""
        return False


class VectorHead(Head):
    """A head for which a video is one vector, whatever the text."""

    query_dependent = False

    @abstractmethod
    def pool(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(V, D) one vector a video, not yet of length 1; inputs are checked and in fp32."""

    def embed(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(V, D) one vector of length 1 a video, in fp32; arguments as of `similarity`."""
        with full_precision(frames_VFD):
            frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
            return unit(self.pool(frames_VFD, keep_VF))

    def similarity(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Tensor:
        """(T, V) cosines; see `Head.similarity`. Texts need no ids here, and no blocks."""
        videos_VD = self.embed(frames_VFD, keep_VF)
        return self._cosines(texts_TD, videos_VD)

    def rows(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Iterator[Tensor]:
        """See `Head.rows`; videos become vectors some at a time."""
        frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
        texts_TD = checked_texts(texts_TD, frames_VFD)
        gallery = blocks(len(frames_VFD), _GALLERY)
        videos_VD = torch.cat([self.embed(frames_VFD[v], keep_VF[v]) for v in gallery])
        for r in blocks(len(texts_TD), block):
            yield self._cosines(texts_TD[r], videos_VD)

    def _cosines(self, texts_TD: Tensor, videos_VD: Tensor) -> Tensor:
        with full_precision(videos_VD):
            return unit(checked_texts(texts_TD, videos_VD)) @ videos_VD.T

    def training_terms(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        own_T: Tensor | None = None,
    ) -> TrainingTerms:
        """The cosines; see `Head.training_terms`."""
        return TrainingTerms(self.similarity(texts_TD, frames_VFD, keep_VF))


class PairHead(Head):
    """A head for which a video is another vector for each text."""

    query_dependent = True

    @abstractmethod
    def pair_scores(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(T, V) cosines of all pairs at once; inputs are prepared, checked and in fp32."""

    def prepare(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(V, F, D) what is done to the frames once, before they meet texts: nothing."""
        return frames_VFD

    def scorer(
        self, texts_TD: Tensor, ids_T: Tensor | None, first: int
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The function that scores a block of texts against blocks of videos.

        Args:
            texts_TD: the block.
            ids_T: their ids, if there are any.
            first: the position of the block's first text among all.
        """
        return lambda frames_VFD, keep_VF: self.pair_scores(texts_TD, frames_VFD, keep_VF)

    def rows(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Iterator[Tensor]:
        """See `Head.rows`. Memory is about block^2 * D numbers."""
        with full_precision(frames_VFD):
            frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
            texts_TD = checked_texts(texts_TD, frames_VFD)
            frames_VFD = self.prepare(frames_VFD, keep_VF)
        for r in blocks(len(texts_TD), block):
            ids = None if text_ids_T is None else text_ids_T[r]
            # Not round the loop: whoever takes the rows has a precision of their own.
            with full_precision(frames_VFD):
                score = self.scorer(texts_TD[r], ids, r.start)
                columns = [score(frames_VFD[c], keep_VF[c]) for c in blocks(len(frames_VFD), block)]
                row = torch.cat(columns, 1)
            yield row

    def training_terms(
        self,
        texts_TD: Tensor,
        frames_VFD: Tensor,
        keep_VF: Tensor,
        *,
        own_T: Tensor | None = None,
    ) -> TrainingTerms:
        """The cosines of all pairs; see `Head.training_terms`."""
        with full_precision(frames_VFD):
            frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
            texts_TD = checked_texts(texts_TD, frames_VFD)
            return TrainingTerms(
                self.pair_scores(texts_TD, self.prepare(frames_VFD, keep_VF), keep_VF)
            )


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast: softmax, EM and losses are computed in fp32."""
    # The meta device (counting operations without weights) has no autocast of its own.
    return torch.autocast("cpu" if like.is_meta else like.device.type, enabled=False)


def checked_frames(frames_VFD: Tensor, keep_VF: Tensor) -> tuple[Tensor, Tensor]:
    """Both in fp32.

    Raises:
        ValueError: Shapes do not fit, or a video has no kept frame.
    """
    if frames_VFD.ndim != 3 or keep_VF.shape != frames_VFD.shape[:2]:
        raise ValueError(
            f"frames must be (V, F, D) and their mask (V, F), got {tuple(frames_VFD.shape)} "
            f"and {tuple(keep_VF.shape)}"
        )
    if not keep_VF.is_meta:
        empty = (~kept(keep_VF).any(1)).nonzero().ravel().tolist()
        if empty:
            raise ValueError(
                f"{len(empty)} of {len(keep_VF)} videos have no kept frame, the first is "
                f"number {empty[0]}"
            )
    return frames_VFD.float(), keep_VF.float()


def checked_texts(texts_TD: Tensor, videos: Tensor) -> Tensor:
    """The texts in fp32; `videos` (..., D) are their frames or vectors.

    Raises:
        ValueError: They are not as wide as the frames.
    """
    if texts_TD.ndim != 2 or texts_TD.shape[1] != videos.shape[-1]:
        raise ValueError(
            f"texts must be (T, {videos.shape[-1]}) for these frames, got {tuple(texts_TD.shape)}"
        )
    return texts_TD.float()


def own_columns(own_T: Tensor | None, texts: int, frames_VFD: Tensor) -> Tensor:
    """(T,) the column of each text's own video.

    Raises:
        ValueError: It is not given, and texts and videos differ in number.
    """
    if own_T is not None:
        return own_T
    if texts != len(frames_VFD):
        raise ValueError(
            f"{texts} texts and {len(frames_VFD)} videos: own_T must say whose is whose"
        )
    return torch.arange(texts, device=frames_VFD.device)


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `count`; an empty one for 0.

    Raises:
        ValueError: size is below 1.
    """
    if size < 1:
        raise ValueError(f"block must be at least 1, got {size}")
    return (slice(start, min(start + size, count)) for start in range(0, max(count, 1), size))


def kept(keep: Tensor) -> Tensor:
    """The mask as booleans, without a gradient."""
    return keep.detach() > 0.5


def unit(vectors: Tensor) -> Tensor:
    """The vectors of the last axis with length 1 (a zero vector stays as it is)."""
    return functional.normalize(vectors, dim=-1)


def cosine_to_pooled(texts_TD: Tensor, pooled_TVD: Tensor) -> Tensor:
    """(T, V) cosine of each text with the vectors that were pooled for it."""
    return torch.einsum("td,tvd->tv", unit(texts_TD), unit(pooled_TVD))


def masked_softmax(scores: Tensor, keep: Tensor) -> Tensor:
    """Weights over the last axis: keep * exp(score) / sum of keep * exp(score).

    A skipped frame has weight 0 exactly; the gradient with respect to its `keep` is that of the
    formula.

    Args:
        scores: (..., F).
        keep: broadcasts to `scores`, 0 or 1, at least one 1 in each row.
    """
    is_kept = kept(keep)
    top = scores.detach().masked_fill(~is_kept, -torch.inf).amax(-1, keepdim=True)
    above = scores - top
    above = torch.where(is_kept, above, above.clamp(max=_MOST_ABOVE_KEPT))
    weights = keep * above.exp()
    return weights / weights.sum(-1, keepdim=True)


def masked_mean(frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
    """(V, D) sum of keep * f / |f| over the sum of keep."""
    kept_sum_VD = torch.einsum("vf,vfd->vd", keep_VF, unit(frames_VFD))
    return kept_sum_VD / keep_VF.sum(1, keepdim=True)


def weighted_sum(weights_VF: Tensor, frames_VFD: Tensor) -> Tensor:
    """(V, D) the frames of each video, weighted."""
    return torch.einsum("vf,vfd->vd", weights_VF, frames_VFD)
