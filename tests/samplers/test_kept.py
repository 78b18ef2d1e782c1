"""Only kept frames are encoded with gradient, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.samplers.learning import WIDTH, chosen, lengths, tiny_policy, videos
from vidsampler.samplers.gate import GateSampler
from vidsampler.samplers.kept import Kept, check_valid, keep_all, keep_these, kept_features
from vidsampler.samplers.learned import LearnedSampler
from vidsampler.samplers.topk import TopKSampler

VALID = lengths(7, 7, 5, 2, 7)


class Encoder(nn.Module):
    """Stands in for CLIP; notes how many frames it saw, with and without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 5)).double()
        self.seen: list[tuple[int, bool]] = []

    def forward(self, frames: Tensor) -> Tensor:
        self.seen.append((len(frames), torch.is_grad_enabled()))
        features: Tensor = self.layers(frames)
        return features


def frames_of(seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 7, 4, dtype=torch.float64, generator=generator)


def head(features_BFD: Tensor, mask_BF: Tensor) -> Tensor:
    """Three of the heads' forms: masked mean of unit rows, softmax pooling, place matters."""
    units = features_BFD / features_BFD.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    mean = (mask_BF[..., None] * units).sum(1) / mask_BF.sum(1, keepdim=True)
    weights = mask_BF * features_BFD[..., 0].exp()
    soft = ((weights / weights.sum(1, keepdim=True))[..., None] * features_BFD).sum(1)
    places = torch.arange(1, mask_BF.shape[1] + 1) * mask_BF
    score: Tensor = (mean * soft).sum() + (places[..., None] * features_BFD.sin()).sum()
    return score


def all_with_gradient(frames: Tensor, kept: Kept, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """What `kept_features` must equal: every frame is encoded with gradient."""
    features = encode(frames.flatten(0, 1)).view(5, 7, -1)
    if kept.actions_BN is not None:
        return head(features * VALID[..., None], kept.actions_BN)
    assert kept.selection_BKN is not None
    return head(kept.selection_BKN @ features, kept.mask_BK.double())


def gate() -> LearnedSampler:
    return GateSampler(tiny_policy(), clip_width=WIDTH)


def topk() -> LearnedSampler:
    return TopKSampler(tiny_policy(), 3, clip_width=WIDTH)


@pytest.mark.parametrize("make", [gate, topk])
def test_skipped_frames_without_gradient_give_the_same_gradients(
    make: Callable[[], LearnedSampler],
) -> None:
    torch.manual_seed(1)
    sampler, encoder = make().double(), Encoder()
    noise = torch.randn(sampler.noise_shape(5, 7), dtype=torch.float64)
    parameters = [*sampler.parameters(), *encoder.parameters()]
    kept = sampler(videos(), VALID, noise=noise)
    loss = head(*kept_features(frames_of(), kept, encoder))
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    number = int(kept.counts_B.sum())
    assert encoder.seen == [(number, True), (int(VALID.sum()) - number, False)]
    whole = all_with_gradient(frames_of(), kept, encoder)
    torch.testing.assert_close(loss, whole, rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(whole, parameters)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    # The choice is trained by frames that it skipped, too.
    assert gradients[0].abs().max() > 1e-6


@pytest.mark.parametrize("make", [gate, topk])
def test_inference_encodes_kept_frames_alone(make: Callable[[], LearnedSampler]) -> None:
    torch.manual_seed(1)
    sampler, encoder = make().double().eval(), Encoder()
    kept = sampler(videos(), VALID)
    features, mask = kept_features(frames_of(), kept, encoder)
    assert [count for count, _ in encoder.seen] == [int(kept.counts_B.sum())]
    for video, indices in enumerate(chosen(kept)):
        own = encoder(frames_of()[video, indices])
        used = mask[video].bool()
        torch.testing.assert_close(features[video][used], own, rtol=1e-12, atol=1e-12)
        assert not features[video][~used].any()
        places = indices if kept.in_place else list(range(len(indices)))
        assert used.nonzero().squeeze(1).tolist() == places


@pytest.mark.parametrize("make", [gate, topk])
def test_a_frozen_sampler_trains_without_the_skipped_frames(
    make: Callable[[], LearnedSampler],
) -> None:
    sampler, encoder = make().double().requires_grad_(False), Encoder()
    kept = sampler(videos(), VALID)
    head(*kept_features(frames_of(), kept, encoder)).backward()
    assert encoder.seen == [(int(kept.counts_B.sum()), True)]


@pytest.mark.parametrize("training", [False, True])
def test_all_frames_kept_equals_no_sampler(training: bool) -> None:
    sampler = TopKSampler(tiny_policy(), 7, clip_width=WIDTH).double().train(training)
    encoder = Encoder()
    features, mask = kept_features(frames_of(), sampler(videos(), VALID), encoder)
    plain, plain_mask = kept_features(frames_of(), keep_all(VALID), encoder)
    torch.testing.assert_close(features, plain, rtol=1e-12, atol=1e-12)
    assert torch.equal(mask, plain_mask)
    assert torch.equal(plain_mask.bool(), VALID)


def test_places_by_hand() -> None:
    kept = Kept(
        indices_BK=torch.tensor([[1, 3], [0, 0]]),
        mask_BK=torch.tensor([[True, True], [True, False]]),
        valid_BN=lengths(4, 2, frames=4),
    )
    assert kept.packed_indices().tolist() == [1, 3, 4]
    assert kept.skipped_indices().tolist() == [0, 2, 5]
    assert kept.counts_B.tolist() == [2, 1]
    assert kept.hard_BN.int().tolist() == [[0, 1, 0, 1], [1, 0, 0, 0]]
    packed = torch.tensor([[1.0], [2.0], [3.0]])
    assert kept.spread(packed).squeeze(-1).tolist() == [[1, 2], [3, 0]]
    in_place = Kept(kept.indices_BK, kept.mask_BK, kept.valid_BN, in_place=True)
    assert in_place.spread(packed).squeeze(-1).tolist() == [[0, 1, 0, 2], [3, 0, 0, 0]]


def test_the_choice_of_a_sampler_without_training() -> None:
    rows = [[1, 4, 6], [0], [2, 3], [0, 1], [6]]
    kept = keep_these(rows, VALID)
    assert chosen(kept) == rows
    assert kept.mask_BK.sum(1).tolist() == [3, 1, 2, 2, 1]
    encoder = Encoder()
    features, mask = kept_features(frames_of(), kept, encoder)
    assert encoder.seen == [(9, True)]
    torch.testing.assert_close(features[2, :2], encoder(frames_of()[2, [2, 3]]))
    assert torch.equal(mask.bool(), kept.mask_BK)


@pytest.mark.parametrize("wrong", [[], [1, 0], [1, 1], [-1, 2], [2]])
def test_what_such_a_choice_must_be(wrong: list[int]) -> None:
    with pytest.raises(ValueError, match="is no ascending choice from 2 candidates"):
        keep_these([[0], [0], [0], wrong, [0]], VALID)
    with pytest.raises(ValueError, match="choices for 1 videos, not 5"):
        keep_these([wrong], VALID)


def test_half_precision_features_become_float32() -> None:
    features, mask = kept_features(frames_of(), keep_all(VALID), lambda x: x.bfloat16())
    assert (features.dtype, mask.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (torch.ones(2, 3), "must be bool"),
        (lengths(3, 0, frames=3), "no video may be empty"),
        (torch.tensor([[True, False, True]]), "not between them"),
    ],
)
def test_what_candidates_must_be(valid: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_valid(valid)
