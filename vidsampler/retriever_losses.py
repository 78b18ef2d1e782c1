"""The losses of a batch: what a retriever is trained with.

Letters in names of tensors: B videos, each with one caption; N candidates, F frame slots, L ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from vidsampler.heads.base import masked_mean
from vidsampler.losses.choice import (
    entropy,
    leave_one_out_loss,
    order_log_probability,
)
from vidsampler.losses.retrieval import positives, retrieval_loss, retrieval_losses
from vidsampler.losses.support import support_loss
from vidsampler.losses.uniform import uniform_loss
from vidsampler.samplers.kept import Kept

if TYPE_CHECKING:
    from vidsampler.retriever import Retriever


class TrainingBatch(Protocol):
    """What `losses` needs of a batch; the loader's `Batch` has it.

    Attributes:
        frames_BNCHW: (B, N, 3, S, S) uint8.
        valid_BN: (B, N) bool, the real candidates, which come first.
        times_BN: (B, N) seconds.
        tokens_BL: (B, L) token ids of one caption a video.
        keys: The videos' ids.
        videos_B: (B,) a number for each video, the same for the same video.
        wordings_B: (B,) a number for each caption, the same for the same words; or None.
        whole_BN: (B, N) what each candidate counts in the whole video, which is then found in place
            of a caption; or None.
    """

    @property
    def frames_BNCHW(self) -> Tensor: ...
    @property
    def valid_BN(self) -> Tensor: ...
    @property
    def times_BN(self) -> Tensor: ...
    @property
    def tokens_BL(self) -> Tensor | None: ...
    @property
    def keys(self) -> Sequence[str]: ...
    @property
    def videos_B(self) -> Tensor: ...
    @property
    def wordings_B(self) -> Tensor | None: ...
    @property
    def whole_BN(self) -> Tensor | None: ...


class World(Protocol):
    """The processes of a distributed run. Each gives equally many items.

    Attributes:
        rank: Of this process, from 0.
    """

    rank: int

    def gather(self, local: Tensor) -> Tensor:
        """The tensors of all ranks in their order, joined along axis 0, with gradients."""
        ...

    def add(self, local: Tensor) -> Tensor:
        """The sum over all ranks, with gradients."""
        ...


class Losses(NamedTuple):
    """The losses of a batch.

    Attributes:
        terms: Each with its weight: `retrieval`, and `uniform`, `choice` and `support` where the
            sampler and the head have them. Their sum is what to minimise. Of `choice` only the
            gradient means something.
        kept: What the sampler chose.
    """

    terms: dict[str, Tensor]
    kept: Kept

    @property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return torch.stack(list(self.terms.values())).sum()


def batch_losses(
    retriever: Retriever,
    batch: TrainingBatch,
    *,
    world: World | None = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Losses:
    """The losses of a batch of pairs: caption i belongs to video i.

    Where there are no captions, what the frames of the whole video show is in their place: kept
    frames are to find their own video among those of the batch, and the other way round.

    Kept frames are encoded with gradient. Where a straight-through gradient, or a policy on the
    backbone's own features, needs those of skipped frames, these are encoded without; the gradients
    are the same. With whole videos or several draws, by a tower with batch norms, and where that
    would cost more, all candidates are encoded with gradient.

    Args:
        retriever: In training mode, to learn.
        batch: From the loader.
        world: The processes of a distributed run. All losses are of the batch of all ranks, each
            rank taking the rows and columns of its own items: the mean over the ranks is the loss
            of the whole batch, and so are gradients that are averaged over them.
        noise: Gumbel noise, of the sampler's `noise_shape`; None: drawn.
        generator: What it is drawn from; None: torch's own.

    Raises:
        ValueError: The batch has neither captions nor whole videos.
        UsageError: More frames are to be kept than there are.
    """
    if batch.tokens_BL is None and batch.whole_BN is None:
        raise ValueError("a batch without captions or whole videos has no loss")
    retriever.check_trainable()
    settings = retriever.config.sampler
    encoded_BND = None
    if batch.whole_BN is not None or (settings.name == "topk" and settings.draws):
        encoded_BND = retriever.encode_candidates(batch.frames_BNCHW, batch.valid_BN)
    kept, features_BFD, keep_BF = retriever.encode_kept(
        batch.frames_BNCHW,
        batch.valid_BN,
        batch.times_BN,
        batch.keys,
        noise=noise,
        generator=generator,
        encoded_BND=encoded_BND,
    )
    if batch.whole_BN is not None:
        assert encoded_BND is not None
        texts_BD = masked_mean(encoded_BND, batch.whole_BN)
    else:
        assert batch.tokens_BL is not None
        texts_BD = retriever.backbone.encode_texts(batch.tokens_BL)
    owners_B, wordings_B = batch.videos_B, batch.wordings_B
    own: slice | None = None
    if world is not None:
        own = slice(world.rank * len(texts_BD), (world.rank + 1) * len(texts_BD))
        texts_BD, features_BFD, keep_BF = map(world.gather, (texts_BD, features_BFD, keep_BF))
        owners_B = world.gather(owners_B)
        wordings_B = None if wordings_B is None else world.gather(wordings_B)
    pairs_BB = None
    if retriever.config.targets == "multi":
        pairs_BB = positives(owners_B, owners_B, wordings_B)
    scored = retriever.head.training_terms(texts_BD, features_BFD, keep_BF)
    scale = retriever.backbone.scale()
    terms = {
        "retrieval": retrieval_loss(scored.similarity_TV, scale, pairs_BB, rows=own, columns=own)
    }
    if kept.draws is not None:
        assert encoded_BND is not None
        worth_BM = _worth(retriever, kept, encoded_BND, texts_BD, scale, pairs_BB, world, own)
        terms["choice"] = _choice_loss(kept, worth_BM, settings.entropy_weight)
    if kept.actions_BN is not None and settings.uniform_weight > 0:
        terms["uniform"] = settings.uniform_weight * uniform_loss(
            kept.actions_BN,
            kept.valid_BN,
            keep_target=retriever.keep_share,
            sum_over_ranks=None if world is None else world.add,
        )
    if scored.support_TV is not None:
        terms["support"] = support_loss(
            scored.support_TV,
            scale,
            pairs_BB,
            weight=scored.support_weight,
            rows=own,
            columns=own,
        )
    return Losses(terms, kept)


def _choice_loss(kept: Kept, worth_BM: Tensor, entropy_weight: float) -> Tensor:
    """What teaches the policy which draws were worth more than others of the same video."""
    draws = kept.draws
    assert draws is not None
    assert kept.logits_BNA is not None
    logits_BN = kept.logits_BNA[..., 0].float()
    log_BM = order_log_probability(
        logits_BN, draws.order_BMN, kept.valid_BN, draws.indices_BMK.shape[2]
    )
    loss = leave_one_out_loss(worth_BM, log_BM)
    return loss - entropy_weight * entropy(logits_BN, kept.valid_BN).mean()


@torch.no_grad()
def _worth(
    retriever: Retriever,
    kept: Kept,
    encoded_BND: Tensor,
    texts_TD: Tensor,
    scale: Tensor,
    pairs_TV: Tensor | None,
    world: World | None,
    own: slice | None,
) -> Tensor:
    """(B, M) minus the retrieval loss of each draw, of its text and its video, of own videos.

    The m-th draws of all videos are held against each other.
    """
    draws = kept.draws
    assert draws is not None
    slots = max(retriever.config.head_frames, draws.mask_BK.shape[1])
    missing = slots - draws.mask_BK.shape[1]
    mask_BF = functional.pad(draws.mask_BK, (0, missing)).to(encoded_BND.dtype)
    mask_VF = mask_BF if world is None else world.gather(mask_BF)
    worth = []
    # Scoring must leave no trace: EM moves its bases whenever it trains.
    before = [each.clone() for each in retriever.head.buffers()]
    for indices_BK in draws.indices_BMK.unbind(1):
        rows_BKD = indices_BK[..., None].expand(-1, -1, encoded_BND.shape[2])
        features_BFD = functional.pad(encoded_BND.gather(1, rows_BKD), (0, 0, 0, missing))
        features_BFD = features_BFD * mask_BF[..., None]
        features_VFD = features_BFD if world is None else world.gather(features_BFD)
        scored = retriever.head.training_terms(texts_TD, features_VFD, mask_VF)
        texts_B, videos_B = retrieval_losses(
            scored.similarity_TV, scale, pairs_TV, rows=own, columns=own
        )
        worth.append(-(texts_B + videos_B) / 2)
    for buffer, value in zip(retriever.head.buffers(), before, strict=True):
        buffer.copy_(value)
    return torch.stack(worth, 1)
