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

Gallery = tuple[Tensor, ...]
"""What a head needs of V videos, made once for all texts; the first axis of each tensor is V, and
the last one of the first tensor D."""

_PREPARED_AT_ONCE = 256
"""Videos that are prepared at a time, so that memory beside the gallery stays bounded."""


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

    @abstractmethod
    def prepare(self, frames_VFD: Tensor, keep_VF: Tensor) -> Gallery:
        """All of a gallery that no text changes, to be made once and searched often, in fp32.

        Args:
            frames_VFD: (V, F, D) frame features, not normalised.
            keep_VF: (V, F) 1 for kept frames, 0 for all other slots.

        Raises:
            ValueError: Shapes do not fit, or a video has no kept frame.
        """

    @abstractmethod
    def scores(
        self,
        texts_TD: Tensor,
        gallery: Gallery,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Tensor:
        """(T, V) cosines of all pairs, in fp32; see `similarity`.

        Args:
            texts_TD: (T, D) text features, not normalised.
            gallery: From `prepare`.
            text_ids_T: As of `similarity`.
            block: As of `similarity`.

        Raises:
            ValueError: Texts and gallery do not fit.
        """

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
        gallery = self.prepare(frames_VFD, keep_VF)
        return self.scores(texts_TD, gallery, text_ids_T=text_ids_T, block=block)

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

        The gallery is prepared once. Arguments and errors are those of `similarity`.

        Yields:
            (block, V) consecutive rows; the last block may have fewer.
        """
        gallery = self.prepare(frames_VFD, keep_VF)
        if text_ids_T is None:
            text_ids_T = torch.arange(len(texts_TD), device=texts_TD.device)
        for r in blocks(len(texts_TD), block):
            yield self.scores(texts_TD[r], gallery, text_ids_T=text_ids_T[r], block=block)

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
            parts = blocks(len(frames_VFD), _PREPARED_AT_ONCE)
            return torch.cat([unit(self.pool(frames_VFD[v], keep_VF[v])) for v in parts])

    def prepare(self, frames_VFD: Tensor, keep_VF: Tensor) -> Gallery:
        """See `Head.prepare`: the vectors."""
        return (self.embed(frames_VFD, keep_VF),)

    def scores(
        self,
        texts_TD: Tensor,
        gallery: Gallery,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Tensor:
        """(T, V) cosines; see `Head.scores`. Texts need no ids here, and no blocks."""
        (videos_VD,) = gallery
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
    """A head for which a video is another vector for each text.

    `pair_scores` is the head's formula as it stands, which training needs. A head whose formula
    can be had with fewer operations at inference says how in `index` and `scorer`.
    """

    query_dependent = True

    @abstractmethod
    def pair_scores(self, texts_TD: Tensor, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(T, V) cosines of all pairs at once; inputs are encoded, checked and in fp32."""

    def encode(self, frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
        """(V, F, D) what is done to the frames once, before they meet texts: nothing."""
        return frames_VFD

    def index(self, frames_VFD: Tensor, keep_VF: Tensor) -> Gallery:
        """What `scorer` takes of some videos; frames are encoded, and those skipped are 0."""
        return frames_VFD, keep_VF

    def scorer(self, texts_TD: Tensor, ids_T: Tensor | None, first: int) -> Callable[..., Tensor]:
        """The function that scores a block of texts against blocks of a gallery.

        Args:
            texts_TD: the block.
            ids_T: their ids, if there are any.
            first: the position of the block's first text among all.

        Returns:
            From the tensors of `index` to (T, V) cosines.
        """
        return lambda frames_VFD, keep_VF: self.pair_scores(texts_TD, frames_VFD, keep_VF)

    @torch.no_grad()
    def prepare(self, frames_VFD: Tensor, keep_VF: Tensor) -> Gallery:
        """See `Head.prepare`; without gradients."""
        with full_precision(frames_VFD):
            frames_VFD, keep_VF = checked_frames(frames_VFD, keep_VF)
            whole: list[Tensor] = []
            for v in blocks(len(frames_VFD), _PREPARED_AT_ONCE):
                encoded_VFD = self.encode(frames_VFD[v], keep_VF[v])
                encoded_VFD = encoded_VFD.masked_fill(~kept(keep_VF[v])[..., None], 0)
                parts = self.index(encoded_VFD, keep_VF[v])
                whole = whole or [each.new_empty(len(keep_VF), *each.shape[1:]) for each in parts]
                for each, part in zip(whole, parts, strict=True):
                    each[v] = part
            return tuple(whole)

    @torch.no_grad()
    def scores(
        self,
        texts_TD: Tensor,
        gallery: Gallery,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Tensor:
        """(T, V) cosines in blocks, without gradients; see `Head.scores`.

        Memory beside the gallery is about block^2 * D numbers.
        """
        with full_precision(gallery[0]):
            texts_TD = checked_texts(texts_TD, gallery[0])
            if text_ids_T is not None and text_ids_T.shape != texts_TD.shape[:1]:
                raise ValueError(f"{tuple(text_ids_T.shape)} text ids for {len(texts_TD)} texts")
            scores_TV = texts_TD.new_empty(len(texts_TD), len(gallery[0]))
            for r in blocks(len(texts_TD), block):
                score = self.scorer(
                    texts_TD[r], None if text_ids_T is None else text_ids_T[r], r.start
                )
                for c in blocks(len(gallery[0]), block):
                    scores_TV[r, c] = score(*(each[c] for each in gallery))
            return scores_TV

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
                self.pair_scores(texts_TD, self.encode(frames_VFD, keep_VF), keep_VF)
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


def checked_texts(texts_TD: Tensor, frames_XD: Tensor) -> Tensor:
    """The texts in fp32.

    Raises:
        ValueError: They are not as wide as the frames, or vectors of videos.
    """
    if texts_TD.ndim != 2 or texts_TD.shape[1] != frames_XD.shape[-1]:
        raise ValueError(
            f"texts must be (T, {frames_XD.shape[-1]}) for these frames, "
            f"got {tuple(texts_TD.shape)}"
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


def softmax_over_kept(scores_XFT: Tensor, keep_XF: Tensor) -> Tensor:
    """(..., F, T) `masked_softmax` over the axis of frames; no gradient reaches the mask."""
    return scores_XFT.masked_fill(~kept(keep_XF)[..., None], -torch.inf).softmax(-2)


def squared_lengths(products_VNN: Tensor, weights_VNT: Tensor) -> Tensor:
    """(V, 1, T) squared length of N rows weighted, from the products of the rows.

    Args:
        products_VNN: each row of a video with each other one.
        weights_VNT: the weights that each text gives them.
    """
    return ((products_VNN @ weights_VNT) * weights_VNT).sum(1, keepdim=True).clamp_min(0)


def masked_mean(frames_VFD: Tensor, keep_VF: Tensor) -> Tensor:
    """(V, D) sum of keep * f / |f| over the sum of keep."""
    kept_sum_VD = torch.einsum("vf,vfd->vd", keep_VF, unit(frames_VFD))
    return kept_sum_VD / keep_VF.sum(1, keepdim=True)


def weighted_sum(weights_VF: Tensor, frames_VFD: Tensor) -> Tensor:
    """(V, D) the frames of each video, weighted."""
    return torch.einsum("vf,vfd->vd", weights_VF, frames_VFD)
