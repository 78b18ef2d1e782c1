"""Any sampler before any head; only kept frames pass the image tower."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.retrieving import FRAMES, SAMPLERS, Trial, retriever_of, shared_retriever_of, trial
from vidsampler import registry
from vidsampler.backbones.model import Backbone
from vidsampler.errors import ConfigError, UsageError
from vidsampler.retriever import Retriever
from vidsampler.retriever_config import SamplerConfig
from vidsampler.video_features import VideoFeatures

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


def k_of(sampler: str) -> int | None:
    """K where the sampler does not decide for itself."""
    return None if sampler == "gate" else 3


def embed(retriever: Retriever, batch: Trial) -> VideoFeatures:
    return retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN, batch.times_BN, batch.keys)


def test_all_samplers_but_keyframe_and_those_that_ask() -> None:
    without = {"keyframe", "learned", *registry.asking_samplers()}
    assert set(SAMPLERS) == set(registry.names("samplers")) - without
    for name in registry.asking_samplers():
        with pytest.raises(ConfigError, match=f"the sampler {name} chooses by a question"):
            SamplerConfig(name)
    with pytest.raises(ConfigError, match="the sampler learned is a retriever's already"):
        SamplerConfig("learned")


@every_sampler
def test_every_head_forward_and_backward(sampler: str) -> None:
    """With `-s` this prints the table."""
    batch = trial()
    row = []
    for name in registry.names("heads"):
        begun = time.perf_counter()
        retriever = retriever_of(sampler, name, k=k_of(sampler)).train()
        losses = retriever.losses(batch)
        expected = {"retrieval"} | ({"uniform"} if sampler == "gate" else set())
        assert set(losses.terms) == expected | ({"support"} if name == "tmass" else set())
        losses.total.backward()
        tower = retriever.backbone.get_parameter("clip.visual.conv1.weight").grad
        assert tower is not None
        assert tower.isfinite().all()
        assert tower.abs().max() > 0
        for parameter in retriever.parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all()
        if retriever.sampler is not None:
            weight = list(retriever.sampler.policy.head.parameters())[-2]
            assert weight.grad is not None
            assert weight.grad.abs().max() > 0
        retriever.eval()
        videos = embed(retriever, batch)
        scores = retriever.similarity(retriever.embed_texts(batch.tokens_BL[:3]), videos)
        assert scores.shape == (3, 4)
        assert scores.isfinite().all()
        assert scores.abs().max() <= 1 + 1e-5
        assert scores.std() > 0
        row.append(f"{name} {1000 * (time.perf_counter() - begun):.0f} ms")
    print(f"\n{sampler:<9}" + ", ".join(row))


class Seen:
    """Notes how many frames the image tower sees, and with which gradient."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[int, bool]] = []
        encode = Backbone.encode_frames

        def noted(backbone: Backbone, pixels: Tensor) -> Tensor:
            self.calls.append((len(pixels), torch.is_grad_enabled()))
            return encode(backbone, pixels)

        monkeypatch.setattr(Backbone, "encode_frames", noted)


@every_sampler
def test_only_kept_frames_pass_the_tower(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever, batch = shared_retriever_of(sampler, k=k_of(sampler)), trial()
    seen = Seen(monkeypatch)
    videos = embed(retriever, batch)
    assert seen.calls == [(int(videos.counts_V.sum()), False)]
    if sampler != "gate":
        assert videos.counts_V.tolist() == [3, 3, 3, 2]
    rows = videos.kept()
    assert all(
        row == sorted(set(row)) and row[-1] < n for row, n in zip(rows, (6, 6, 5, 2), strict=True)
    )
    assert videos.keep_VF.sum(1).tolist() == videos.counts_V.tolist()


def test_kept_features_are_those_of_the_kept_frames() -> None:
    batch = trial()
    everything = embed(shared_retriever_of(), batch)
    for sampler in SAMPLERS:
        some = embed(shared_retriever_of(sampler, k=k_of(sampler)), batch)
        for video, row in enumerate(some.kept()):
            slots = row if sampler == "gate" else range(len(row))
            torch.testing.assert_close(
                some.features_VFD[video, list(slots)],
                everything.features_VFD[video, row],
                rtol=0,
                atol=1e-5,
            )
        assert not some.features_VFD[some.keep_VF == 0].any()


@every_sampler
def test_batch_mates_order_and_batch_size_change_nothing(sampler: str) -> None:
    batch = trial((6, 6, 5, 2, 4, 6, 1))
    retriever = shared_retriever_of(sampler, "mlp", k=k_of(sampler))
    together = embed(retriever, batch)
    texts = retriever.embed_texts(batch.tokens_BL)
    scores = retriever.similarity(texts, together)
    alone = VideoFeatures.join([embed(retriever, batch.pick([i])) for i in range(7)])
    order = [4, 0, 6, 2, 5, 1, 3]
    mixed = embed(retriever, batch.pick(order))
    assert alone.kept() == together.kept()
    assert mixed.kept() == [together.kept()[i] for i in order]
    torch.testing.assert_close(retriever.similarity(texts, alone), scores, rtol=0, atol=1e-5)
    permuted = retriever.similarity(texts, mixed)
    torch.testing.assert_close(permuted, scores[:, order], rtol=0, atol=1e-5)
    # A batch without the slots that only padding fills.
    short = batch.pick([3])
    cut = retriever.embed_videos(
        short.frames_BNCHW[:, :2], short.valid_BN[:, :2], short.times_BN[:, :2], short.keys
    )
    assert cut.kept() == together[3:4].kept()
    torch.testing.assert_close(cut.features_VFD, together[3:4].features_VFD, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", registry.names("heads"))
def test_permuting_videos_permutes_scores(head: str) -> None:
    batch, order = trial(), [2, 0, 3, 1]
    retriever = shared_retriever_of("topk", head, k=3)
    texts = retriever.embed_texts(batch.tokens_BL)
    scores = retriever.similarity(texts, embed(retriever, batch), block=2)
    permuted = retriever.similarity(texts, embed(retriever, batch.pick(order)), block=3)
    torch.testing.assert_close(permuted, scores[:, order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler", [each for each in SAMPLERS if each != "gate"])
def test_as_many_kept_as_there_are_is_no_sampler(sampler: str) -> None:
    batch = trial()
    none, full = shared_retriever_of(), shared_retriever_of(sampler, k=FRAMES)
    one, other = embed(none, batch), embed(full, batch)
    assert one.kept() == other.kept() == [list(range(n)) for n in (6, 6, 5, 2)]
    torch.testing.assert_close(other.features_VFD, one.features_VFD, rtol=0, atol=1e-6)
    torch.testing.assert_close(full.vectors(other), none.vectors(one), rtol=0, atol=1e-6)


def test_a_gate_that_keeps_everything_is_no_sampler() -> None:
    batch, retriever, none = trial(), retriever_of("gate"), shared_retriever_of()
    assert retriever.sampler is not None
    last = list(retriever.sampler.policy.head.parameters())[-1]
    with torch.no_grad():
        last.copy_(torch.tensor([1e4, -1e4]))
    one, other = embed(none, batch), embed(retriever, batch)
    assert one.kept() == other.kept()
    torch.testing.assert_close(retriever.vectors(other), none.vectors(one), rtol=0, atol=1e-6)


def test_scores_are_products_of_unit_vectors() -> None:
    batch, retriever = trial(), shared_retriever_of("topk", "mlp")
    videos, texts = embed(retriever, batch), retriever.embed_texts(batch.tokens_BL)
    units = texts / texts.norm(dim=1, keepdim=True)
    expected = units @ retriever.vectors(videos).T
    torch.testing.assert_close(retriever.similarity(texts, videos), expected)
    with pytest.raises(ValueError, match="the head xpool gives a video another vector"):
        shared_retriever_of("topk", "xpool").vectors(videos)


@pytest.mark.parametrize("sampler", ["gate", "topk"])
def test_the_extractor_clip_encodes_each_frame_once_in_inference(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = trial()
    retriever = retriever_of(sampler, extractor="clip")
    seen = Seen(monkeypatch)
    videos = embed(retriever, batch)
    assert seen.calls == [(6 + 6 + 5 + 2, False)]
    kept = retriever.choose(batch.frames_BNCHW, batch.valid_BN)
    assert [row.nonzero().ravel().tolist() for row in kept.hard_BN] == videos.kept()
    retriever.train().losses(batch).total.backward()
    tower = retriever.backbone.get_parameter("clip.visual.conv1.weight").grad
    assert tower is not None
    assert tower.abs().max() > 0


def test_random_depends_on_ids_seed_and_in_training_the_epoch() -> None:
    batch = trial((6,) * 4)
    first = embed(shared_retriever_of("random", k=3), batch).kept()
    assert first == embed(shared_retriever_of("random", k=3), batch).kept()
    assert first != embed(shared_retriever_of("random", k=3, seed=1), batch).kept()
    assert len({tuple(row) for row in first}) > 1
    retriever = retriever_of("random", k=3)
    frames, valid = batch.frames_BNCHW, batch.valid_BN
    retriever.set_epoch(3)
    assert retriever.choose(frames, valid, ids=batch.keys).indices_BK.tolist() == first
    retriever.train()
    third = retriever.choose(frames, valid, ids=batch.keys).indices_BK.tolist()
    retriever.set_epoch(4)
    assert retriever.choose(frames, valid, ids=batch.keys).indices_BK.tolist() != third
    with pytest.raises(ValueError, match="draws by the ids of 4 videos, got none"):
        retriever.choose(frames, valid)


def test_the_epoch_reaches_the_sampler() -> None:
    retriever = retriever_of("topk", warmup_epochs=4)
    retriever.set_epoch(7)
    assert retriever.sampler is not None
    assert retriever.sampler.epoch == 7


def test_new_weights_come_from_the_seed() -> None:
    before = torch.get_rng_state()
    one, other = retriever_of("topk", "mlp"), retriever_of("topk", "mlp")
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    assert {name.split(".")[0] for name in one.state_dict()} == {"backbone", "sampler", "head"}


def test_the_sequence_head_starts_from_the_text_tower() -> None:
    retriever = retriever_of("uniform", "seq")
    table = retriever.head.get_parameter("encoder.frame_position_embeddings.weight")
    tower = retriever.backbone.text_tower()
    assert tower is not None
    assert torch.equal(table, tower[0])


@every_sampler
def test_no_videos_have_no_features(sampler: str) -> None:
    retriever, batch = shared_retriever_of(sampler, k=k_of(sampler)), trial()
    none = embed(retriever, batch.pick([]))
    assert none.features_VFD.shape == (0, retriever.config.head_frames, 128)
    assert none.kept() == []
    texts = retriever.embed_texts(batch.tokens_BL)
    assert retriever.similarity(texts, none).shape == (4, 0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_candidate(sampler: str) -> None:
    """N = 1, in both modes and before heads of both kinds."""
    batch = trial((1, 1, 1))
    for head in ("mean", "tmass"):
        retriever = retriever_of(sampler, head, k=None if sampler == "gate" else 1, frames=1)
        one = replace(
            batch,
            frames_BNCHW=batch.frames_BNCHW[:, :1],
            valid_BN=batch.valid_BN[:, :1],
            times_BN=batch.times_BN[:, :1],
        )
        assert embed(retriever, one).kept() == [[0]] * 3
        assert retriever.train().losses(one).total.isfinite()


# -------------------------------------------------------------------- wrong things


def test_more_frames_to_keep_than_there_are() -> None:
    batch = trial()
    for sampler in ("topk", "uniform", "coverage"):
        retriever = retriever_of(sampler, k=9)
        # At inference all are kept.
        assert embed(retriever, batch).counts_V.tolist() == [6, 6, 5, 2]
        with pytest.raises(UsageError) as caught:
            retriever.train().losses(batch)
        assert caught.value.message == (
            f"the sampler {sampler} cannot keep 9 of 6 candidate frames in training"
        )
        assert caught.value.hint == "take a --top-k from 1 to 6, or --frames 9 or more"


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"name": "gat"}, UsageError, "unknown sampler 'gat'; did you mean 'gate'?"),
        ({"name": "topk"}, ConfigError, "the sampler topk needs sampler.k (--top-k)"),
        ({"name": "keyframe"}, ConfigError, "the sampler keyframe chooses among the keyframes"),
        ({"k": 0}, ConfigError, "sampler.k (--top-k) must be at least 1, not 0"),
        ({"keep_target": 1.5}, ConfigError, "sampler.keep_target must be from 0 to 1, not 1.5"),
        ({"uniform_weight": -1.0}, ConfigError, "sampler.uniform_weight must be at least 0"),
    ],
)
def test_settings_that_cannot_be(
    settings: dict[str, Any], kind: type[UsageError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        SamplerConfig(**settings)
    assert message in caught.value.message


def test_misuse() -> None:
    batch, retriever = trial(), retriever_of("topk")
    with pytest.raises(ValueError, match="looks at 4 candidate frames a video, got 6"):
        embed(shared_retriever_of(frames=4), batch)
    with pytest.raises(ValueError, match=r"frames must be \(B, N, 3, H, W\) uint8"):
        retriever.embed_videos(batch.frames_BNCHW.float())
    with pytest.raises(ValueError, match=r"valid must be \(4, 6\)"):
        retriever.embed_videos(batch.frames_BNCHW, batch.valid_BN[:, :5])
    for name in SAMPLERS:
        other = shared_retriever_of(name, k=k_of(name))
        frames, valid = batch.frames_BNCHW, batch.valid_BN
        with pytest.raises(ValueError, match=r"valid must be bool, not torch\.int64"):
            other.embed_videos(frames, valid.long(), ids=batch.keys)
        with pytest.raises(ValueError, match="no video may be empty"):
            other.embed_videos(frames, valid.flip(1), ids=batch.keys)
        with pytest.raises(
            ValueError, match=r"valid must be \(B, N\) with a candidate, got \(4, 0\)"
        ):
            other.embed_videos(frames[:, :0], ids=batch.keys)
    retriever.train()
    with pytest.raises(ValueError, match=r"embed_videos is for a retriever in eval mode"):
        embed(retriever, batch)
