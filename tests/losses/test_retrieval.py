"""The retrieval loss against NumPy, and over ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidsampler.losses.retrieval import positives, retrieval_loss
from vidsampler.losses.support import support_loss


def similarity(texts: int, videos: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(texts * 100 + videos)
    return torch.rand(texts, videos, generator=generator) * 2 - 1


def test_diagonal_by_hand() -> None:
    # Two rows (1, 0): log softmax of the positive is -log(1 + e^-1) in row 0, -log(1 + e) in row
    # 1; columns are (1, 1) and (0, 0): -log 2 each.
    s = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    rows = (np.log(1 + np.exp(-1)) + np.log(1 + np.exp(1))) / 2
    assert retrieval_loss(s, 1.0).item() == pytest.approx((rows + np.log(2)) / 2, rel=1e-6)


def test_one_positive_a_row_is_the_diagonal_loss_and_torchs() -> None:
    s = similarity(6, 6).requires_grad_(True)
    diagonal = retrieval_loss(s, 30.0)
    (slope,) = torch.autograd.grad(diagonal, s)
    several = retrieval_loss(s, 30.0, positives(torch.arange(6), torch.arange(6)))
    (other,) = torch.autograd.grad(several, s)
    assert torch.equal(several, diagonal)
    assert torch.equal(other, slope)
    entropy = torch.nn.functional.cross_entropy
    expected = (entropy(30 * s, torch.arange(6)) + entropy(30 * s.T, torch.arange(6))) / 2
    assert diagonal.item() == pytest.approx(expected.item(), rel=1e-6)


def test_positives_by_hand() -> None:
    # Texts 0 and 1 caption video 8, text 2 video 9, text 3 video 7; texts 1 and 2 are worded alike.
    owner, video = torch.tensor([8, 8, 9, 7]), torch.tensor([8, 9, 7])
    wording = torch.tensor([0, 1, 1, 2])
    assert positives(owner, video).int().tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert positives(owner, video, wording).int().tolist() == [
        [1, 0, 0],
        [1, 1, 0],
        [1, 1, 0],
        [0, 0, 1],
    ]
    # The same video twice, as in batches of all pairs.
    twice = positives(torch.tensor([5, 5, 6]), torch.tensor([5, 5, 6]))
    assert twice.int().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_several_positives_against_numpy() -> None:
    s = similarity(5, 4)
    p = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 1]], bool)
    x = 20 * s.double().numpy()

    def one_way(logits: np.ndarray, mask: np.ndarray) -> float:
        total = 0.0
        for row, own in zip(logits, mask, strict=True):
            log = row - np.log(np.exp(row).sum())
            total -= log[own].mean()
        return total / len(logits)

    expected = (one_way(x, p) + one_way(x.T, p.T)) / 2
    got = retrieval_loss(s, torch.tensor(20.0), torch.from_numpy(p))
    assert got.item() == pytest.approx(expected, rel=1e-5)


def test_a_text_like_another_videos_caption_is_not_pushed_away() -> None:
    s = torch.zeros(2, 2, requires_grad=True)
    both = positives(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([4, 4]))
    retrieval_loss(s, 10.0, both).backward()
    assert s.grad is not None
    assert s.grad.abs().max() < 1e-6


def test_two_ranks_with_half_each_have_the_loss_and_gradient_of_one() -> None:
    s, scale = similarity(6, 6).requires_grad_(True), torch.tensor(15.0, requires_grad=True)
    p = positives(torch.tensor([0, 0, 1, 2, 3, 4]), torch.tensor([0, 0, 1, 2, 3, 4]))
    whole = retrieval_loss(s, scale, p)
    expected = torch.autograd.grad(whole, [s, scale])
    halves = [
        retrieval_loss(s, scale, p, rows=half, columns=half) for half in (slice(0, 3), slice(3, 6))
    ]
    assert halves[0].item() != pytest.approx(halves[1].item(), rel=1e-3)
    mean = torch.stack(halves).mean()
    assert mean.item() == pytest.approx(whole.item(), rel=1e-6)
    for got, wanted in zip(torch.autograd.grad(mean, [s, scale]), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7)


def test_texts_and_videos_may_be_split_differently() -> None:
    # Three texts of each of two videos; this rank has 4 texts and 1 video.
    s, p = similarity(6, 2), positives(torch.arange(6) % 2, torch.arange(2))
    rows = -(5 * s).log_softmax(1)[p].numpy()
    columns = -((5 * s).log_softmax(0) * p).sum(0).numpy() / 3
    for t, v in ((slice(0, 4), slice(0, 1)), (slice(4, 6), slice(1, 2))):
        expected = (rows[t].mean() + columns[v].mean()) / 2
        assert retrieval_loss(s, 5.0, p, rows=t, columns=v).item() == pytest.approx(expected)


def test_support_loss_is_a_weighted_retrieval_loss() -> None:
    s, p = similarity(4, 4), torch.eye(4, dtype=torch.bool)
    plain = retrieval_loss(s, 9.0).item()
    assert support_loss(s, 9.0).item() == pytest.approx(0.8 * plain)
    assert support_loss(s, 9.0, p, weight=0.5).item() == pytest.approx(0.5 * plain)


def test_autocast_and_half_precision_give_fp32() -> None:
    s = similarity(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = retrieval_loss(s.bfloat16(), torch.tensor(100.0))
    assert loss.dtype == torch.float32
    assert loss.item() == retrieval_loss(s.bfloat16().float(), 100.0).item()


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"diagonal targets need a square matrix, got \(2, 3\)"):
        retrieval_loss(similarity(2, 3), 1.0)
    with pytest.raises(ValueError, match=r"similarity is \(2, 3\), but its positives are \(3, 3\)"):
        retrieval_loss(similarity(2, 3), 1.0, torch.eye(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="video 2 of the batch belongs to nothing"):
        retrieval_loss(similarity(2, 3), 1.0, torch.eye(3, dtype=torch.bool)[:2])
    with pytest.raises(ValueError, match="text 1 of the batch belongs to nothing"):
        retrieval_loss(similarity(3, 2), 1.0, torch.tensor([[1, 0], [0, 0], [0, 1]]).bool())
