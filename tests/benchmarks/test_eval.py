"""The straightforward loop that the benchmark of `eval` compares with."""

from __future__ import annotations

import torch

from benchmarks.eval import FRAMES, features, formula, head_of, loop
from vidsampler.heads.base import PairHead


def test_the_loop_and_the_formula_give_the_same_scores() -> None:
    texts, frames, owners = features(6, 4)
    assert owners.tolist() == [0, 1, 2, 3, 0, 1]
    head = head_of("tmass")
    assert isinstance(head, PairHead)
    with torch.no_grad():
        scores = head.similarity(texts, frames, torch.ones(4, FRAMES))
        torch.testing.assert_close(scores, loop(head, texts, frames), rtol=0, atol=1e-5)  # type: ignore[arg-type]
        _, blocks = formula(head, texts, frames)
    torch.testing.assert_close(scores, blocks, rtol=0, atol=1e-5)
    assert scores.std() > 1e-3
