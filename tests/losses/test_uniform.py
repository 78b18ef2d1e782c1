"""The uniform loss and its gradient, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vidsampler.losses.uniform import uniform_loss

ALL = torch.ones(2, 4, dtype=torch.bool)


def actions(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("kept", "target", "expected"),
    [
        # sqrt(2) |6/8 - 1/2|, and so on.
        ([[1, 1, 1, 1], [1, 1, 0, 0]], 0.5, math.sqrt(2) / 4),
        ([[1, 0, 0, 0], [1, 0, 0, 0]], 0.5, math.sqrt(2) / 4),
        ([[1, 0, 0, 0], [1, 1, 1, 0]], 0.25, math.sqrt(2) / 4),
        ([[1, 1, 1, 1], [1, 1, 1, 1]], 0.5, math.sqrt(2) / 2),
    ],
)
def test_values_and_gradient(kept: list[list[float]], target: float, expected: float) -> None:
    a = actions(*kept)
    loss = uniform_loss(a, ALL, keep_target=target)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    # As the norm of (p - r, (1 - p) - (1 - r)).
    p = torch.tensor([sum(map(sum, kept)) / 8, 1 - sum(map(sum, kept)) / 8])
    assert loss.item() == pytest.approx(
        torch.linalg.vector_norm(p - torch.tensor([target, 1 - target])).item(), rel=1e-6
    )
    loss.backward()
    sign = 1 if p[0] > target else -1
    assert a.grad is not None
    torch.testing.assert_close(a.grad, torch.full_like(a, sign * math.sqrt(2) / 8))


def test_at_balance_the_gradient_is_zero() -> None:
    a = actions([1, 1, 0, 0], [1, 0, 1, 0])
    uniform_loss(a, ALL).backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[0.0] * 4] * 2
    thirds = torch.tensor([[1.0] * 3 + [0.0] * 7], requires_grad=True)
    uniform_loss(thirds, torch.ones(1, 10, dtype=torch.bool), keep_target=0.3).backward()
    assert thirds.grad is not None
    assert not thirds.grad.any()


def test_padding_does_not_count() -> None:
    valid = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    a = actions([1, 1, 1, 0], [1, 0, 0, 0])
    assert uniform_loss(a, valid).item() == pytest.approx(math.sqrt(2) * (4 / 6 - 1 / 2))


def test_over_several_processes_it_is_that_of_the_whole_batch() -> None:
    # all_reduce with gradient: forward the sum, backward the sum of all processes' gradients.
    rows = [[1.0, 1, 1, 0], [1.0, 1, 1, 1]]
    whole = actions(*rows)
    uniform_loss(whole, ALL).backward()

    class Reduced(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, own: Tensor, others: Tensor) -> Tensor:
            return own + others

        @staticmethod
        def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
            # Both processes have the same loss, hence the same gradient.
            return 2 * gradients[0], None

    for rank in (0, 1):
        other = torch.tensor([sum(rows[1 - rank]), 4.0], dtype=torch.float64)

        def all_reduce(sums: Tensor, others: Tensor = other) -> Tensor:
            reduced: Tensor = Reduced.apply(sums, others)
            return reduced

        own = actions(rows[rank])
        loss = uniform_loss(own, ALL[:1], sum_over_ranks=all_reduce)
        assert loss.item() == pytest.approx(math.sqrt(2) * 3 / 8)
        loss.backward()
        assert own.grad is not None
        assert whole.grad is not None
        # Averaged over two processes, as distributed training does.
        torch.testing.assert_close(own.grad[0] / 2, whole.grad[rank])


def test_float32_at_least() -> None:
    half = torch.tensor([[1, 1, 1, 0]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = uniform_loss(half, ALL[:1])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.sqrt(2) / 4, rel=1e-6)


@pytest.mark.parametrize("target", [-0.1, 1.5])
def test_the_target_is_a_share(target: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        uniform_loss(actions([1, 0, 0, 0], [1, 0, 0, 0]), ALL, keep_target=target)
