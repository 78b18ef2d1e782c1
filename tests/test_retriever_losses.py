"""Losses of a batch, and the gradients of frames that are skipped."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vidsampler.retriever
from tests.retrieving import FRAMES, Trial, config_of, retriever_of, shared_retriever_of, trial
from vidsampler.backbones.config import BackboneConfig
from vidsampler.heads.tmass import TMassConfig
from vidsampler.heads.xpool import PoolingConfig
from vidsampler.retriever import Retriever
from vidsampler.retriever_losses import _worth
from vidsampler.samplers.kept import Kept


def noise_for(retriever: Retriever, batch: Trial, seed: int = 5) -> Tensor | None:
    """Gumbel noise for the batch, where the sampler wants any."""
    if retriever.sampler is None:
        return None
    shape = retriever.sampler.noise_shape(*batch.valid_BN.shape)
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return -(-uniform.clamp(1e-6, 1 - 1e-6).log()).log()


class Exact:
    """Gradients of a step in float64, and what was encoded on the way.

    Attributes:
        batch: Of the step.
        frames_seen: Of each call of the image tower, how many frames, and whether with gradient.
    """

    def __init__(self, retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batch = trial()
        self.frames_seen: list[tuple[int, bool]] = []
        self._retriever = retriever.double().train()
        retriever.set_epoch(20)
        noise = noise_for(retriever, self.batch)
        assert noise is not None
        self._noise = noise.double()
        # The whole way asks for float32 in many places; here it gets float64.
        monkeypatch.setattr(Tensor, "float", Tensor.double)
        monkeypatch.setattr(retriever, "_encode", self._encode)

    def _encode(self, frames: Tensor) -> Tensor:
        self.frames_seen.append((len(frames), torch.is_grad_enabled()))
        return self._retriever.backbone.encode_frames(self._retriever.pixels(frames).double())

    def gradients(self) -> tuple[dict[str, Tensor], int]:
        """By parameter, and how many frames were kept."""
        self._retriever.zero_grad()
        torch.manual_seed(0)
        losses = self._retriever.losses(self.batch, noise=self._noise)
        losses.total.backward()
        named = self._retriever.named_parameters()
        found = {name: each.grad.clone() for name, each in named if each.grad is not None}
        return found, int(losses.kept.counts_B.sum())


def assert_same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Up to the rounding of float64."""
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        largest = theirs[name].abs().max().item()
        torch.testing.assert_close(gradient, theirs[name], rtol=0, atol=1e-9 * max(1, largest))


def all_with_gradient(
    frames: Tensor, kept: Kept, encode: Callable[[Tensor], Tensor], numbers: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What `kept_features` must equal: every frame is encoded with gradient."""
    everything = encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    everything = everything * kept.valid_BN[..., None]
    if kept.actions_BN is not None:
        return everything, kept.actions_BN
    assert kept.selection_BKN is not None
    return kept.selection_BKN @ everything, kept.mask_BK.double()


@pytest.mark.parametrize(
    ("sampler", "head", "settings"),
    [
        ("gate", "mean", None),
        ("gate", "seq", None),
        ("gate", "tmass", TMassConfig(pooling=PoolingConfig(dropout=0.0))),
        ("topk", "mean", None),
        ("topk", "mlp", None),
        ("topk", "xpool", PoolingConfig(dropout=0.0)),
    ],
)
def test_skipped_frames_without_gradient_change_no_gradient(
    sampler: str, head: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = retriever_of(sampler, head, k=3, settings=settings)
    exact = Exact(retriever, monkeypatch)
    ours, kept = exact.gradients()
    every = int(exact.batch.valid_BN.sum())
    assert kept < every
    assert exact.frames_seen == [(kept, True), (every - kept, False)]
    monkeypatch.setattr(vidsampler.retriever, "kept_features", all_with_gradient)
    theirs, _ = exact.gradients()
    assert exact.frames_seen[2:] == [(exact.batch.valid_BN.numel(), True)]
    assert any(name.startswith("sampler.policy") for name in ours)
    assert_same_gradients(ours, theirs)
    assert theirs["backbone.clip.visual.conv1.weight"].abs().max() > 1e-6
    assert theirs["sampler.policy.head.2.weight"].abs().max() > 1e-9


@pytest.mark.parametrize("sampler", ["topk", "gate"])
def test_the_backbone_learns_from_kept_frames_as_if_from_all(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = retriever_of(sampler, "mlp", k=3, extractor="clip")
    exact = Exact(retriever, monkeypatch)
    ours, kept = exact.gradients()
    every = int(exact.batch.valid_BN.sum())
    assert 0 < kept < every
    assert exact.frames_seen == [(every, False), (kept, True)]
    monkeypatch.setattr(retriever, "_encodes_kept_again", lambda valid_BN: False)
    monkeypatch.setattr(vidsampler.retriever, "kept_features", all_with_gradient)
    theirs, _ = exact.gradients()
    assert exact.frames_seen[2:] == [(every, True)]
    assert_same_gradients(ours, theirs)
    assert theirs["backbone.clip.visual.conv1.weight"].abs().max() > 1e-6
    assert theirs["sampler.policy.head.2.weight"].abs().max() > 1e-6


def again(retriever: Retriever, batch: Trial) -> bool:
    """Whether a step of training looks at all frames first."""
    return retriever.train()._encodes_kept_again(batch.valid_BN)


def test_all_frames_have_a_gradient_where_that_costs_less() -> None:
    batch = trial()
    for counts, settings, epoch, expected in (
        ((6, 6), {"k": 3}, 0, True),
        ((6, 6), {"k": 4}, 0, False),
        # Both frames of the short video are kept: 3 + 3 + 2 of 14 and 4 of 8.
        ((6, 6, 2), {"k": 3}, 0, True),
        ((4, 2, 2), {"k": 3}, 0, False),
        ((6, 6), {"k": 3, "hold_epochs": 2}, 1, False),
        ((6, 6), {"k": 3, "hold_epochs": 2}, 2, True),
        ((6, 6), {"k": 3, "warmup_epochs": 4}, 0, False),
        ((6, 6), {"k": 3, "warmup_epochs": 4}, 4, True),
    ):
        retriever = retriever_of("topk", extractor="clip", **settings)
        retriever.set_epoch(epoch)
        assert again(retriever, trial(counts)) is expected, (counts, settings, epoch)
        assert not retriever.eval()._encodes_kept_again(trial(counts).valid_BN)
    gate = retriever_of("gate", extractor="clip", keep_target=0.25, warmup_epochs=4)
    assert not again(gate, batch)
    gate.set_epoch(4)
    assert again(gate, batch)
    gate.backbone.requires_grad_(False)
    assert not again(gate, batch)
    assert gate.losses(batch).total.requires_grad


def test_a_policy_that_teaches_the_backbone_has_a_gradient_of_all_frames() -> None:
    batch = trial()
    config = config_of("topk", k=3, extractor="clip")
    policy = config.sampler.policy
    learning = replace(policy, extractor=replace(policy.extractor, freeze=False))
    for chosen, expected in ((policy, True), (learning, False)):
        sampler = replace(config.sampler, policy=chosen)
        retriever = Retriever.from_config(replace(config, sampler=sampler))
        assert again(retriever, batch) is expected


@pytest.mark.parametrize("how", ["batch norm", "dropout", "attention"])
def test_towers_that_give_a_frame_other_features_each_time(how: str) -> None:
    retriever = retriever_of("topk", k=3, extractor="clip")
    batch = trial()
    assert again(retriever, batch)
    tower: Any = retriever.backbone.image_tower
    if how == "batch norm":
        tower.ln_post = nn.BatchNorm1d(8)
    elif how == "dropout":
        tower.ln_post = nn.Sequential(tower.ln_post, nn.Dropout(0.1))
    else:
        tower.transformer.resblocks[0].attn.dropout = 0.1
    assert not again(retriever, batch)


def test_the_cache_of_a_caller_s_autocast_is_not_filled_without_gradient() -> None:
    config = replace(config_of(), backbone=BackboneConfig("tiny", precision="bf16"))
    backbone = Retriever.from_config(config).backbone
    like = torch.zeros(1)
    for wanted in (True, False):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=wanted):
            with backbone._autocast(like):
                assert torch.is_autocast_cache_enabled() is wanted
            with torch.no_grad(), backbone._autocast(like):
                assert not torch.is_autocast_cache_enabled()


def test_the_retrieval_loss_is_that_of_the_scores() -> None:
    batch, retriever = trial(), shared_retriever_of()
    retriever.train()
    loss = retriever.losses(batch).terms["retrieval"].item()
    retriever.eval()
    videos = retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN)
    cosines = retriever.similarity(retriever.embed_texts(batch.tokens_BL), videos)
    logits = (cosines.double() / 0.07).tolist()
    rows = [-row[i] + math.log(sum(map(math.exp, row))) for i, row in enumerate(logits)]
    columns = [
        -column[i] + math.log(sum(map(math.exp, column)))
        for i, column in enumerate(zip(*logits, strict=True))
    ]
    assert loss == pytest.approx((sum(rows) + sum(columns)) / 8, abs=1e-4)


def test_captions_of_one_video_and_equal_captions_are_no_negatives() -> None:
    batch = trial((6, 6, 6, 6))
    # Items 0 and 1 are one video with two captions; item 2 is another, worded as item 1.
    same = replace(
        batch.pick([0, 0, 2]),
        tokens_BL=batch.tokens_BL[[0, 1, 1]],
        videos_B=torch.tensor([7, 7, 2]),
        wordings_B=torch.tensor([0, 1, 1]),
    )
    retriever = shared_retriever_of()
    videos = retriever.embed_videos(same.frames_BNCHW, same.valid_BN)
    cosines = retriever.similarity(retriever.embed_texts(same.tokens_BL), videos)
    logits = (cosines.double() / 0.07).tolist()
    # Text 0 belongs to video 7 alone; texts 1 and 2 fit both.
    pairs = [[0, 1], [0, 1, 2], [0, 1, 2]]
    expected = 0.0
    for table, positives in (
        (logits, pairs),
        (list(zip(*logits, strict=True)), [[0, 1, 2], [0, 1, 2], [1, 2]]),
    ):
        for row, own in zip(table, positives, strict=True):
            whole = math.log(sum(map(math.exp, row)))
            expected -= sum(row[i] - whole for i in own) / len(own) / 6
    retriever.train()
    assert retriever.losses(same).terms["retrieval"].item() == pytest.approx(expected, abs=1e-4)
    config = replace(retriever.config, targets="diagonal")
    diagonal = Retriever.with_backbone(config, retriever.backbone).train()
    plain = diagonal.losses(same).terms["retrieval"].item()
    assert plain != pytest.approx(expected, abs=1e-3)


def test_the_uniform_loss_has_its_weight_and_target() -> None:
    batch = trial()
    retriever = retriever_of("gate", keep_target=0.25, uniform_weight=0.3).train()
    losses = retriever.losses(batch, noise=noise_for(retriever, batch))
    share = losses.kept.counts_B.sum().item() / batch.valid_BN.sum().item()
    expected = 0.3 * math.sqrt(2) * abs(share - 0.25)
    assert losses.terms["uniform"].item() == pytest.approx(expected, abs=1e-6)
    total = sum(term.item() for term in losses.terms.values())
    assert losses.total.item() == pytest.approx(total, abs=1e-5)
    without = retriever_of("gate", uniform_weight=0.0).train()
    assert set(without.losses(batch).terms) == {"retrieval"}


def test_the_target_of_the_uniform_loss_is_annealed() -> None:
    batch = trial()
    retriever = retriever_of("gate", keep_target=0.2, uniform_weight=1.0, warmup_epochs=2).train()
    for epoch, target in enumerate((1.0, 0.6, 0.2, 0.2)):
        retriever.set_epoch(epoch)
        losses = retriever.losses(batch, noise=noise_for(retriever, batch))
        share = losses.kept.counts_B.sum().item() / batch.valid_BN.sum().item()
        expected = math.sqrt(2) * abs(share - target)
        assert losses.terms["uniform"].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sampler", ["gate", "topk"])
def test_held_epochs_give_the_loss_of_all_frames(sampler: str) -> None:
    batch = trial()
    settings: dict[str, Any] = {"k": 2} if sampler == "topk" else {"keep_target": 0.2}
    retriever = retriever_of(sampler, "mlp", hold_epochs=2, warmup_epochs=2, **settings).train()
    assert retriever.sampler is not None
    fixed = retriever_of("uniform", "mlp").train()
    fixed.load_state_dict(retriever.state_dict(), strict=False)
    expected = fixed.losses(batch).terms["retrieval"].item()
    taught = []
    for epoch in range(4):
        retriever.set_epoch(epoch)
        retriever.zero_grad(set_to_none=True)
        losses = retriever.losses(batch, noise=noise_for(retriever, batch))
        losses.total.backward()
        taught.append([each.grad is not None for each in retriever.sampler.policy.parameters()])
        if epoch < 2:
            assert set(losses.terms) == {"retrieval"}
            assert losses.total.item() == pytest.approx(expected, abs=1e-6)
        elif sampler == "gate":
            share = losses.kept.counts_B.sum().item() / batch.valid_BN.sum().item()
            target = (1.0, 0.6)[epoch - 2]
            uniform = 0.03 * math.sqrt(2) * abs(share - target)
            assert losses.terms["uniform"].item() == pytest.approx(uniform, abs=1e-6)
    assert [set(each) for each in taught] == [{False}, {False}, {True}, {True}]


@pytest.mark.parametrize("head", ["mean", "mlp", "xpool", "tmass", "emcl", "seq"])
def test_draws_teach_the_policy_by_what_they_are_worth(head: str) -> None:
    batch = trial()
    retriever = retriever_of("topk", head, k=3, draws=4, entropy_weight=0.1).train()
    assert retriever.sampler is not None
    before = [each.clone() for each in retriever.head.buffers()]
    losses = retriever.losses(batch, noise=noise_for(retriever, batch))
    assert {"retrieval", "choice"} <= set(losses.terms)
    policy = list(retriever.sampler.policy.parameters())
    gradients = torch.autograd.grad(losses.terms["choice"], policy, retain_graph=True)
    assert all(each.isfinite().all() for each in gradients)
    assert max(float(each.abs().max()) for each in gradients) > 0
    # Only so: what is kept is no function of the policy that could be differentiated.
    assert not any(
        each is not None
        for each in torch.autograd.grad(losses.terms["retrieval"], policy, allow_unused=True)
    )
    if head == "emcl":
        # The bases move once a step, by the frames that are kept.
        again = retriever_of("topk", head, k=3).train()
        again.load_state_dict(retriever.state_dict(), strict=False)
        for buffer, value in zip(again.head.buffers(), before, strict=True):
            buffer.data.copy_(value)
        again.losses(batch, noise=noise_for(retriever, batch)[:, 0])  # type: ignore[index]
        for ours, theirs in zip(retriever.head.buffers(), again.head.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_the_straight_through_gradient_may_come_beside_that_of_draws() -> None:
    batch = trial()
    both = retriever_of("topk", "mean", k=3, draws=4, straight_through=True).train()
    draws = retriever_of("topk", "mean", k=3, draws=4).train()
    one = retriever_of("topk", "mean", k=3).train()
    for other in (draws, one):
        other.load_state_dict(both.state_dict())
    noise = noise_for(both, batch)
    assert noise is not None
    gradients = {}
    for name, retriever, own in (
        ("both", both, noise),
        ("draws", draws, noise),
        ("one", one, noise[:, 0]),
    ):
        assert retriever.sampler is not None
        retriever.losses(batch, noise=own).total.backward()
        gradients[name] = [each.grad for each in retriever.sampler.policy.parameters()]
    for whole, drawn, through in zip(*gradients.values(), strict=True):
        assert whole is not None
        assert drawn is not None
        assert through is not None
        torch.testing.assert_close(whole, drawn + through, rtol=1e-4, atol=1e-7)
    assert max(float(each.abs().max()) for each in gradients["one"] if each is not None) > 1e-6


def test_what_a_draw_is_worth_is_the_retrieval_loss_of_its_frames() -> None:
    batch = trial((6, 6, 6))
    retriever = retriever_of("topk", "mean", k=2, draws=3).train()
    noise = noise_for(retriever, batch)
    assert noise is not None
    encoded = retriever.encode_candidates(batch.frames_BNCHW, batch.valid_BN)
    kept = retriever.choose(batch.frames_BNCHW, batch.valid_BN, noise=noise)
    texts = retriever.backbone.encode_texts(batch.tokens_BL)
    scale = retriever.backbone.scale()
    worth = _worth(retriever, kept, encoded, texts, scale, None, None, None)
    assert kept.draws is not None
    for m in range(3):
        videos = torch.stack(
            [
                row[kept.draws.indices_BMK[i, m]].mean(0)
                for i, row in enumerate(cosine_rows(encoded))
            ]
        )
        logits = scale * cosine_rows(texts) @ cosine_rows(videos).T
        expected = (logits.log_softmax(1).diag() + logits.log_softmax(0).diag()) / 2
        torch.testing.assert_close(worth[:, m], expected, rtol=1e-4, atol=1e-5)


def cosine_rows(features: Tensor) -> Tensor:
    """Of length 1."""
    return torch.nn.functional.normalize(features, dim=-1)


class Ranks:
    """Stands in for two processes: what one gathers is what both gave in an earlier pass."""

    def __init__(self, rank: int, given: list[list[Tensor]] | None = None) -> None:
        self.rank = rank
        self.mine: list[Tensor] = []
        self.given = given

    def gather(self, local: Tensor) -> Tensor:
        self.mine.append(local)
        if self.given is None:
            return torch.cat([local, local])
        return torch.cat([each[len(self.mine) - 1] for each in self.given])

    def add(self, local: Tensor) -> Tensor:
        self.mine.append(local)
        if self.given is None:
            return local
        return sum((each[len(self.mine) - 1] for each in self.given), torch.zeros_like(local))


@pytest.mark.parametrize("sampler", ["gate", "topk", "uniform"])
def test_the_mean_over_ranks_is_the_loss_of_the_whole_batch(sampler: str) -> None:
    batch = trial()
    retriever = retriever_of(sampler, "mlp", k=3).train()
    noise = noise_for(retriever, batch)
    whole = retriever.losses(batch, noise=noise).terms
    halves = [[0, 1], [2, 3]]
    given: list[list[Tensor]] = []
    for rank, half in enumerate(halves):
        world = Ranks(rank)
        part = None if noise is None else noise[half]
        retriever.losses(batch.pick(half), world=world, noise=part)
        given.append(world.mine)
    terms = [
        retriever.losses(
            batch.pick(half),
            world=Ranks(rank, given),
            noise=None if noise is None else noise[half],
        ).terms
        for rank, half in enumerate(halves)
    ]
    for name, loss in whole.items():
        mean = (terms[0][name] + terms[1][name]) / 2
        assert mean.item() == pytest.approx(loss.item(), abs=1e-5)


def test_annealed_k_and_padded_videos() -> None:
    batch = trial()
    retriever = retriever_of("topk", "mlp", k=2, warmup_epochs=2).train()
    retriever.set_epoch(0)
    assert retriever.losses(batch).kept.counts_B.tolist() == [FRAMES - 1, FRAMES - 1, 5, 2]
    retriever.set_epoch(2)
    assert retriever.losses(batch).kept.counts_B.tolist() == [2, 2, 2, 2]


def test_a_batch_without_captions_has_no_loss() -> None:
    without: dict[str, Any] = {"tokens_BL": None}
    batch = replace(trial(), **without)
    with pytest.raises(ValueError, match="a batch without captions or whole videos has no loss"):
        retriever_of().train().losses(batch)
