"""Backbone + sampler + head: only the kept frames of a video pass the image tower.

(All candidates do where the policy looks at the tower's own features, the extractor `clip`.)

Any sampler works with any head. Letters in names of tensors: B videos of a batch, N candidates,
F frame slots of a head, V videos, T texts, D channels, M packed frames, L token ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from vidsampler import registry
from vidsampler.backbones.model import Backbone, load_backbone
from vidsampler.config import Layer
from vidsampler.errors import UsageError
from vidsampler.heads.base import Gallery, Head, VectorHead, masked_mean
from vidsampler.retriever_config import RetrieverConfig
from vidsampler.retriever_files import load_weights, pixels_of, save, saved_config
from vidsampler.retriever_losses import Losses, TrainingBatch, World, batch_losses
from vidsampler.run_folder import weights_folder
from vidsampler.samplers.candidates import checked_candidates, choose_candidates, seeds_of
from vidsampler.samplers.gate import GateSampler, annealed_share
from vidsampler.samplers.kept import Kept, kept_features
from vidsampler.samplers.learned import LearnedSampler
from vidsampler.samplers.policy_config import EXTRACTORS
from vidsampler.samplers.topk import TopKSampler
from vidsampler.video_features import VideoFeatures


class Retriever(nn.Module):
    """Finds videos by texts, and texts by videos.

    Its state has the parts `backbone.clip.*`, `sampler.*` (of learned samplers) and `head.*`.

    Args:
        config: All settings.
        backbone: Encodes frames and texts.
        sampler: The learned one that the config names, or None.
        head: Turns kept frames and texts into scores.

    Example:
        >>> retriever = Retriever.from_config(config).eval()              # doctest: +SKIP
        >>> videos = retriever.embed_videos(frames_BNCHW, valid_BN)       # doctest: +SKIP
        >>> texts_TD = retriever.embed_texts(tokens_TL)                   # doctest: +SKIP
        >>> scores_TV = retriever.similarity(texts_TD, videos)            # doctest: +SKIP
    """

    def __init__(
        self,
        config: RetrieverConfig,
        backbone: Backbone,
        sampler: LearnedSampler | None,
        head: Head,
    ) -> None:
        super().__init__()
        self.config = config.retriever()
        self.backbone = backbone
        self.sampler = sampler
        self.head = head
        self.epoch = 0
        self.pixels = pixels_of(backbone.pixel_input, config.backbone.name)

    @classmethod
    def from_config(cls, config: RetrieverConfig) -> Retriever:
        """A retriever with the backbone's weights and new ones for sampler and head, in eval mode.

        Heads that start from the backbone's weights do. torch's own generator is left as it was.

        Raises:
            UsageError: An unknown name, or parts that do not fit together.
            ConfigError: Weights that do not fit.
            VidsamplerError: A hub cannot be reached.
        """
        return cls.with_backbone(config, load_backbone(config.backbone))

    @classmethod
    def with_backbone(cls, config: RetrieverConfig, backbone: Backbone) -> Retriever:
        """As `from_config`, around a backbone that is there already and may be shared."""
        retriever = cls._build(config, backbone)
        retriever.head.start_from(backbone)
        return retriever

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, layers: Iterable[Layer] = (), *, which: str = "best"
    ) -> Retriever:
        """The retriever that `save` wrote, in eval mode; nothing is fetched for its weights.

        Args:
            folder: Holds config.yaml and model.safetensors; or a run of `train`.
            layers: Other settings than the saved ones, such as `set_layer("sampler.k=6")`. Another
                N: the policy network's positions are interpolated. A training-free sampler may
                take the place of a learned one.
            which: The checkpoint of a run: `best` or `last`.

        Raises:
            InputError: The folder is no checkpoint.
            UsageError: The weights are those of another backbone, sampler, head or number of
                frames than the settings say.
        """
        folder = weights_folder(Path(folder), which)
        config = saved_config(folder, layers)
        # The weights come from the folder, so nothing has to be fetched first.
        bare = replace(config.backbone, pretrained="none")
        policy = config.sampler.policy
        plain = replace(policy, extractor=replace(policy.extractor, pretrained=None))
        without = replace(config, backbone=bare, sampler=replace(config.sampler, policy=plain))
        return load_weights(folder, config, lambda: cls._build(without, load_backbone(bare)))

    @classmethod
    def _build(cls, config: RetrieverConfig, backbone: Backbone) -> Retriever:
        policy = config.sampler.policy
        if policy.frames is None:
            policy = replace(policy, frames=config.frames)
            config = replace(config, sampler=replace(config.sampler, policy=policy))
        meta = backbone.logit_scale.is_meta
        with torch.random.fork_rng(devices=[]), torch.device("meta") if meta else nullcontext():
            torch.manual_seed(config.seed)
            sampler: LearnedSampler | None = None
            hold = config.sampler.hold_epochs
            if config.sampler.name == "gate":
                sampler = GateSampler(policy, hold_epochs=hold, clip_width=backbone.width)
            elif config.sampler.name == "topk":
                assert config.sampler.k is not None
                sampler = TopKSampler(
                    policy,
                    config.sampler.k,
                    warmup_epochs=config.sampler.warmup_epochs,
                    hold_epochs=hold,
                    clip_width=backbone.width,
                    draws=config.sampler.draws,
                    straight_through=config.sampler.straight_through,
                )
            kind: type[Head] = registry.load("heads", config.head.name)
            # A head's own signature has the width and the frames; the base class has neither.
            make: Any = kind
            head: Head = make(config.head.settings, width=backbone.width, frames=config.head_frames)
        return cls(config, backbone, sampler, head).eval()

    def save(self, folder: str | Path) -> None:
        """Writes config.yaml and model.safetensors; each is whole or not there.

        Raises:
            VidsamplerError: The folder cannot be written.
        """
        save(self, Path(folder))

    @property
    def frame_size(self) -> int:
        """Pixels of the square frames that it is given: what its hungriest part wants."""
        size = self.pixels.size
        if self.sampler is None or self.sampler.extractor is None:
            return size
        extractor = self.config.sampler.policy.extractor
        if EXTRACTORS[extractor.name].architecture is None and extractor.name != "small":
            return size
        return max(size, extractor.input_size)

    def set_epoch(self, epoch: int) -> None:
        """The epoch from 0; to be called before each."""
        self.epoch = epoch
        if self.sampler is not None:
            self.sampler.set_epoch(epoch)

    @property
    def keep_share(self) -> float:
        """Of the candidates, what `gate` is to keep in this epoch."""
        settings = self.config.sampler
        epoch = self.epoch - settings.hold_epochs
        return annealed_share(epoch, settings.keep_target, settings.warmup_epochs)

    # ---------------------------------------------------------------- inference

    @torch.no_grad()
    def embed_videos(
        self,
        frames_BNCHW: Tensor,
        valid_BN: Tensor | None = None,
        times_BN: Tensor | None = None,
        ids: Sequence[str] | None = None,
    ) -> VideoFeatures:
        """Chooses frames and encodes these alone.

        A video's result does not depend on the others in the batch, beyond rounding.

        Args:
            frames_BNCHW: (B, n, 3, H, W) uint8 candidate frames, n at most N.
            valid_BN: (B, n) bool, the real candidates, which come first; None: all.
            times_BN: (B, n) seconds, for samplers that look at them; None: one a second.
            ids: The videos' ids, which `random` draws by.

        Raises:
            ValueError: The retriever is in training mode, or shapes do not fit.
        """
        self._need_eval("embed_videos")
        kept, features_BFD, mask_BF = self.encode_kept(frames_BNCHW, valid_BN, times_BN, ids)
        slots = features_BFD.shape[1] - kept.indices_BK.shape[1]
        return VideoFeatures(
            features_VFD=features_BFD,
            keep_VF=mask_BF,
            indices_VF=functional.pad(kept.indices_BK, (0, slots)),
            counts_V=kept.counts_B,
        )

    @torch.no_grad()
    def embed_texts(self, tokens_TL: Tensor) -> Tensor:
        """(T, D) float32 features of captions, not normalised; `backbone.tokenize` gives the ids.

        The same caption gives the same feature only up to rounding when its batch mates change:
        encode each wording once.
        """
        return self.backbone.encode_texts(tokens_TL)

    @torch.no_grad()
    def embed_wholes(self, frames_BNCHW: Tensor, valid_BN: Tensor, whole_BN: Tensor) -> Tensor:
        """(B, D) what whole videos show, to be found in place of captions; see `Batch`."""
        return masked_mean(self.encode_candidates(frames_BNCHW, valid_BN), whole_BN)

    @torch.no_grad()
    def similarity(
        self,
        texts_TD: Tensor,
        videos: VideoFeatures,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Tensor:
        """(T, V) cosines of all pairs.

        Heads that do not look at the text make one vector a video; the others work on blocks.

        Args:
            texts_TD: From `embed_texts`.
            videos: From `embed_videos`; the whole gallery where the head is transductive.
            text_ids_T: See `Head.similarity`.
            block: See `Head.similarity`.

        Raises:
            ValueError: The retriever is in training mode, or shapes do not fit.
        """
        return self.scores(texts_TD, self.prepare(videos), text_ids_T=text_ids_T, block=block)

    @torch.no_grad()
    def prepare(self, videos: VideoFeatures) -> Gallery:
        """All of a gallery that no text changes; who searches it often prepares it once.

        Args:
            videos: As of `similarity`.

        Raises:
            ValueError: The retriever is in training mode, or a video has no kept frame.
        """
        self._need_eval("similarity")
        return self.head.prepare(videos.features_VFD, videos.keep_VF)

    @torch.no_grad()
    def scores(
        self,
        texts_TD: Tensor,
        gallery: Gallery,
        *,
        text_ids_T: Tensor | None = None,
        block: int = 64,
    ) -> Tensor:
        """(T, V) cosines with a gallery from `prepare`; else as `similarity`."""
        self._need_eval("similarity")
        return self.head.scores(texts_TD, gallery, text_ids_T=text_ids_T, block=block)

    @torch.no_grad()
    def vectors(self, videos: VideoFeatures) -> Tensor:
        """(V, D) one vector of length 1 a video, whose products with unit texts are the scores.

        Raises:
            ValueError: The head gives a video another vector for each text.
        """
        if not isinstance(self.head, VectorHead):
            raise ValueError(
                f"the head {self.config.head.name} gives a video another vector for each text"
            )
        return self.head.embed(videos.features_VFD, videos.keep_VF)

    def choose(
        self,
        frames_BNCHW: Tensor,
        valid_BN: Tensor | None = None,
        times_BN: Tensor | None = None,
        ids: Sequence[str] | None = None,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Kept:
        """The frames to keep; arguments as of `embed_videos`.

        Args:
            frames_BNCHW: As of `embed_videos`.
            valid_BN: Likewise.
            times_BN: Likewise.
            ids: Likewise.
            noise: Gumbel noise for training, of the sampler's `noise_shape`; None: drawn.
            generator: What it is drawn from; None: torch's own.

        Raises:
            ValueError: Shapes do not fit, or `random` has no ids.
            UsageError: More frames are to be kept in training than there are.
        """
        valid_BN = checked_candidates(frames_BNCHW, valid_BN, self.config.frames)
        if self.sampler is None:
            return self._choose_untrained(frames_BNCHW, valid_BN, times_BN, ids)
        if self.sampler.extractor is None:
            features_BND = self.encode_candidates(frames_BNCHW, valid_BN)
        else:
            features_BND = self.sampler.extract(frames_BNCHW, valid_BN)
        return self._decide(features_BND, valid_BN, noise, generator)

    # ---------------------------------------------------------------- training

    def forward(self, batch: TrainingBatch, **draws: Any) -> Losses:
        """As `losses`, for wrappers that call a module."""
        return self.losses(batch, **draws)

    def losses(
        self,
        batch: TrainingBatch,
        *,
        world: World | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Losses:
        """The losses of a batch of pairs: caption i belongs to video i; see `batch_losses`."""
        return batch_losses(self, batch, world=world, noise=noise, generator=generator)

    def check_trainable(self) -> None:
        """Whether the settings can be trained with.

        Raises:
            UsageError: More frames are to be kept than there are.
        """
        k, frames = self.config.sampler.k, self.config.frames
        if k is not None and k > frames and self.config.sampler.name != "gate":
            raise UsageError(
                f"the sampler {self.config.sampler.name} cannot keep {k} of {frames} candidate "
                "frames in training",
                hint=f"take a --top-k from 1 to {frames}, or --frames {k} or more",
            )

    # ---------------------------------------------------------------- the way of frames

    def encode_kept(
        self,
        frames_BNCHW: Tensor,
        valid_BN: Tensor | None,
        times_BN: Tensor | None,
        ids: Sequence[str] | None,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        encoded_BND: Tensor | None = None,
    ) -> tuple[Kept, Tensor, Tensor]:
        """Chooses frames and encodes them, with gradients where these are enabled.

        Args:
            frames_BNCHW: As of `embed_videos`.
            valid_BN: Likewise.
            times_BN: Likewise.
            ids: Likewise.
            noise: As of `choose`.
            generator: Likewise.
            encoded_BND: From `encode_candidates`, if it was called already.

        Returns:
            What was kept, its features (B, F, D) and their mask (B, F), 0/1 with the gradient of
            the choice in training.
        """
        valid_BN = checked_candidates(frames_BNCHW, valid_BN, self.config.frames)
        if self.sampler is not None and self.sampler.extractor is None:
            # The policy looks at the backbone's own features: all are there before it chooses.
            again = encoded_BND is None and self._encodes_kept_again(valid_BN)
            all_BND = encoded_BND
            if all_BND is None:
                with torch.no_grad() if again else nullcontext():
                    all_BND = self.encode_candidates(frames_BNCHW, valid_BN)
            seen_BND = all_BND
            if self.config.sampler.policy.extractor.freeze:
                seen_BND = all_BND.detach()
            kept = self._decide(seen_BND, valid_BN, noise, generator)
            if again:
                features_BFD, mask_BF = kept_features(frames_BNCHW, kept, self._encode, all_BND)
            else:
                features_BFD, mask_BF = kept_features(all_BND, kept, lambda features: features)
        else:
            kept = self.choose(
                frames_BNCHW, valid_BN, times_BN, ids, noise=noise, generator=generator
            )
            if encoded_BND is None and self._encodes_all_at_once():
                encoded_BND = self.encode_candidates(frames_BNCHW, valid_BN)
            if encoded_BND is None:
                features_BFD, mask_BF = kept_features(frames_BNCHW, kept, self._encode)
            else:
                features_BFD, mask_BF = kept_features(encoded_BND, kept, lambda features: features)
        # The same number of slots for every batch, whatever its longest video: heads may have a
        # weight for each, and batches are joined.
        missing = max(0, self.config.head_frames - mask_BF.shape[1])
        features_BFD = functional.pad(features_BFD, (0, 0, 0, missing))
        return kept, features_BFD, functional.pad(mask_BF, (0, missing))

    def _encodes_kept_again(self, valid_BN: Tensor) -> bool:
        """Whether kept frames are encoded once more, with gradient, rather than all with gradient.

        Gradients reach the image tower through kept frames alone, and the way back takes twice the
        time of the way there: encoding all, then a share s of them again and back, costs 1 + 3 s
        times what encoding them does; all there and back 3.
        """
        sampler, settings = self.sampler, self.config.sampler
        assert sampler is not None
        tower = self.backbone.image_tower
        learns = self.training and any(each.requires_grad for each in tower.parameters())
        seen_as_numbers = settings.policy.extractor.freeze
        if not (learns and seen_as_numbers and torch.is_grad_enabled()) or sampler.held:
            return False
        if not _frame_by_frame(tower):
            return False
        counts_B = valid_BN.sum(1)
        if isinstance(sampler, TopKSampler):
            kept = float(counts_B.clamp(max=sampler.k_of(valid_BN.shape[1])).sum())
        else:
            kept = self.keep_share * float(counts_B.sum())
        return 3 * kept < 2 * float(counts_B.sum())

    def _encodes_all_at_once(self) -> bool:
        """Whether the features of frames hang on which others are encoded with them.

        Skipped frames, whose features a choice learns from, are then no batch of their own: it
        would have other statistics, and those of a rank that skips nothing would be missing.
        """
        if self.sampler is None or self.sampler.held or not torch.is_grad_enabled():
            return False
        tower = self.backbone.image_tower
        return self.training and tower.training and _has_batch_norms(tower)

    def _encode(self, frames_MCHW: Tensor) -> Tensor:
        return self.backbone.encode_frames(self.pixels(frames_MCHW))

    def encode_candidates(self, frames_BNCHW: Tensor, valid_BN: Tensor) -> Tensor:
        """(B, N, D) the backbone's features of all real candidates, 0 for padding."""
        packed_MD = self._encode(frames_BNCHW[valid_BN])
        empty_BND = packed_MD.new_zeros(*valid_BN.shape, packed_MD.shape[1])
        return empty_BND.masked_scatter(valid_BN[..., None], packed_MD)

    def _decide(
        self,
        features_BND: Tensor,
        valid_BN: Tensor,
        noise: Tensor | None,
        generator: torch.Generator | None,
    ) -> Kept:
        assert self.sampler is not None
        kept: Kept = self.sampler(
            features_BND,
            valid_BN,
            noise=noise,
            generator=generator,
            candidates=self.config.frames,
        )
        return kept

    def _choose_untrained(
        self,
        frames_BNCHW: Tensor,
        valid_BN: Tensor,
        times_BN: Tensor | None,
        ids: Sequence[str] | None,
    ) -> Kept:
        settings = self.config.sampler
        seeds = [settings.seed] * len(valid_BN)
        if settings.name == "random":
            epoch = self.epoch if self.training else None
            seeds = seeds_of(settings.seed, ids, len(valid_BN), epoch)
        return choose_candidates(
            registry.load("samplers", settings.name),
            frames_BNCHW,
            valid_BN,
            times_BN,
            settings.k or self.config.frames,
            seeds,
        )

    def _need_eval(self, what: str) -> None:
        if self.training:
            raise ValueError(f"{what} is for a retriever in eval mode: call eval() first")


def _frame_by_frame(tower: nn.Module) -> bool:
    """Whether a tower in training gives a frame the same features twice, whatever is beside it.

    Batch norms do not, nor what draws: dropout, and dropped paths of timm's and open_clip's models.
    """
    rates = ("p", "drop_prob", "prob", "dropout")
    return not _has_batch_norms(tower) and not any(
        isinstance(getattr(each, rate, 0), float) and getattr(each, rate)
        for each in tower.modules()
        for rate in rates
    )


def _has_batch_norms(tower: nn.Module) -> bool:
    return any(isinstance(each, _BatchNorm) for each in tower.modules())
