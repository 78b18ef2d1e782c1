"""What holds for every registered head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.heads.batches import FRAMES, WIDTH, Batch, batch, make
from tests.heads.reference import scramble
from vidsampler import registry
from vidsampler.heads.base import PairHead, VectorHead
from vidsampler.losses.retrieval import retrieval_loss

HEADS = registry.names("heads")
every_head = pytest.mark.parametrize("name", HEADS)


def test_all_ten_are_here() -> None:
    assert set(HEADS) >= {
        *("mean", "mlp", "transformer", "qscore", "seq", "seqlstm", "xpool", "tmass"),
        *("emcl", "emcl-features"),
    }


@every_head
def test_it_is_what_it_says(name: str) -> None:
    head = make(name)
    assert head.name == name
    assert head.transductive == (name == "emcl")
    assert head.query_dependent == (not isinstance(head, VectorHead))
    assert isinstance(head.Config(), head.Config)


@every_head
def test_scores_are_cosines_of_every_pair(name: str) -> None:
    scores = make(name).similarity(*batch(texts=3, videos=4))
    assert scores.shape == (3, 4)
    assert scores.dtype == torch.float32
    assert scores.abs().max() <= 1 + 1e-6
    assert scores.std() > 1e-3


@every_head
def test_skipped_slots_never_get_weight(name: str) -> None:
    head, (texts, frames, keep) = make(name), batch()
    scramble(head, size=0.05)
    garbage = torch.where(keep[..., None] > 0, frames, torch.tensor(1e4))
    garbage[..., ::2] *= 1 - 2 * (keep[..., None] == 0).float()  # of both signs
    expected, got = head.similarity(texts, frames, keep), head.similarity(texts, garbage, keep)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    # In training too.
    head.train()
    terms = []
    for each in (frames, garbage):
        torch.manual_seed(0)
        state = {key: value.clone() for key, value in head.state_dict().items()}
        terms.append(head.training_terms(texts, each, keep))
        head.load_state_dict(state)
    torch.testing.assert_close(terms[1].similarity_TV, terms[0].similarity_TV, rtol=0, atol=1e-6)


@every_head
def test_gradients_reach_all_parameters_frames_and_the_mask(name: str) -> None:
    head, (texts, frames, keep) = make(name).train(), batch()
    scramble(head, size=0.02)
    for leaf in (texts, frames, keep):
        leaf.requires_grad_(True)
    terms = head.training_terms(texts, frames, keep)
    loss = retrieval_loss(terms.similarity_TV, 20.0)
    if terms.support_TV is not None:
        loss = loss + terms.support_weight * retrieval_loss(terms.support_TV, 20.0)
    loss.backward()
    for parameter_name, parameter in head.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all()
        # A bias of all keys alike shifts every score of a softmax alike, and so changes nothing.
        if parameter_name.rpartition(".")[0].endswith(("k_proj", "score", "mlp.4")):
            continue
        assert parameter.grad.abs().max() > 1e-9, parameter_name
    assert texts.grad is not None
    assert texts.grad.abs().amin(1).max() > 0
    assert frames.grad is not None
    assert keep.grad is not None
    used = frames.grad.abs().amax(-1) > 0
    assert torch.equal(used[keep == 1], torch.ones_like(used[keep == 1]))
    # A sampler learns from the frames that it skipped.
    assert keep.grad.isfinite().all()
    assert (keep.grad[keep == 0].abs() > 0).all()


@every_head
def test_the_order_of_videos_and_texts_changes_nothing(name: str) -> None:
    head, (texts, frames, keep) = make(name), batch(texts=5, videos=6)
    ids = torch.tensor([7, 3, 11, 0, 2])
    scores = head.similarity(texts, frames, keep, text_ids_T=ids)
    columns, rows = torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([4, 2, 0, 1, 3])
    got = head.similarity(texts[rows], frames[columns], keep[columns], text_ids_T=ids[rows])
    torch.testing.assert_close(got, scores[rows][:, columns], rtol=0, atol=1e-5)


@every_head
def test_other_texts_and_videos_change_no_score(name: str) -> None:
    head, (texts, frames, keep) = make(name), batch(texts=5, videos=6)
    scores = head.similarity(texts, frames, keep)
    alone = head.similarity(texts[:1], frames, keep)
    torch.testing.assert_close(alone, scores[:1], rtol=0, atol=1e-5)
    if not head.transductive:
        fewer = head.similarity(texts, frames[:2], keep[:2])
        torch.testing.assert_close(fewer, scores[:, :2], rtol=0, atol=1e-5)


@every_head
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_blocks_change_no_score(name: str, block: int) -> None:
    head, inputs = make(name), batch(texts=7, videos=8)
    expected = head.similarity(*inputs)
    torch.testing.assert_close(head.similarity(*inputs, block=block), expected, rtol=0, atol=1e-5)


@every_head
def test_a_gallery_is_prepared_once(name: str) -> None:
    head, (texts, frames, keep) = make(name), batch(texts=7, videos=8)
    scramble(head, size=0.05)
    gallery = head.prepare(frames, keep)
    assert {len(each) for each in gallery} == {8}
    ids = torch.tensor([3, 9, 0, 4, 2, 1, 8])
    whole = head.similarity(texts, frames, keep, text_ids_T=ids)
    assert torch.equal(head.scores(texts, gallery, text_ids_T=ids), whole)
    rows = [head.scores(texts[i : i + 1], gallery, text_ids_T=ids[i : i + 1]) for i in range(7)]
    torch.testing.assert_close(torch.cat(rows), whole, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"texts must be \(T, 64\)"):
        head.scores(texts[:, 1:], gallery)
    streamed = list(head.rows(texts, frames, keep, block=3))
    assert [len(each) for each in streamed] == [3, 3, 1]
    expected = head.similarity(texts, frames, keep)
    torch.testing.assert_close(torch.cat(streamed), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in HEADS if isinstance(make(name), PairHead)])
@pytest.mark.parametrize("alike", [0.0, 0.9, 0.999])
def test_inference_is_the_formula(name: str, alike: float) -> None:
    """At full width, for frames that have nothing in common and for those of a still video."""
    head = make(name, width=512)
    assert isinstance(head, PairHead)
    scramble(head, size=0.02)
    texts, frames, keep = batch(texts=20, videos=30, width=512, seed=4)
    frames = (1 - alike) * frames + alike * frames.mean(1, keepdim=True) * FRAMES**0.5
    formula = head.pair_scores(texts, head.encode(frames, keep), keep)
    torch.testing.assert_close(head.similarity(texts, frames, keep), formula, rtol=0, atol=1e-5)


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor held that was made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            # A view or an expanded tensor takes no memory of its own.
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.untyped_storage().nbytes() // 4)
        return out


@every_head
def test_memory_does_not_grow_with_texts_times_videos(name: str) -> None:
    head, (texts, frames, keep) = make(name), batch(texts=128, videos=128)
    with torch.inference_mode(), Largest() as largest:  # type: ignore[no-untyped-call]
        head.similarity(texts, frames, keep, block=4)
    # The frames, their hidden layer four times as wide, or a block of points for each text.
    assert largest.numbers <= 4 * 128 * FRAMES * WIDTH
    assert largest.numbers < 128 * 128 * WIDTH / 4


@every_head
def test_random_features_score_at_chance(name: str) -> None:
    texts, frames, keep = batch(texts=200, videos=200, seed=3)
    scores = make(name).similarity(texts, frames, keep)
    ranks = (scores > scores.diagonal()[:, None]).sum(1) + 1
    # Chance: rank 1 for 1 of 200, mean 100.5 with a standard error of 4.1.
    assert (ranks == 1).sum() <= 5
    assert abs(ranks.float().mean() - 100.5) < 16


@every_head
def test_a_video_without_a_kept_frame_is_an_error(name: str) -> None:
    head, (texts, frames, keep) = make(name), batch()
    keep[2] = 0
    with pytest.raises(ValueError, match="1 of 4 videos have no kept frame, the first is number 2"):
        head.similarity(texts, frames, keep)
    with pytest.raises(ValueError, match="1 of 4 videos"):
        head.training_terms(texts, frames, keep)


@every_head
def test_shapes_that_do_not_fit_are_errors(name: str) -> None:
    head, (texts, frames, keep) = make(name), batch()
    with pytest.raises(ValueError, match=r"frames must be \(V, F, D\) and their mask \(V, F\)"):
        head.similarity(texts, frames, keep[:, 1:])
    with pytest.raises(ValueError, match=r"texts must be \(T, 64\)"):
        head.similarity(texts[:, 1:], frames, keep)


@every_head
def test_autocast_is_left_outside(name: str) -> None:
    head, inputs = make(name).train(), batch()
    state = {key: value.clone() for key, value in head.state_dict().items()}
    torch.manual_seed(0)
    plain = head.training_terms(*inputs).similarity_TV
    head.load_state_dict(state)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = head.training_terms(*inputs).similarity_TV
        loss = retrieval_loss(inside, torch.tensor(20.0))
    assert loss.dtype == torch.float32
    assert torch.equal(inside, plain)


@every_head
def test_weights_are_saved_whole(name: str) -> None:
    first, second, inputs = make(name, seed=1), make(name, seed=2), batch()
    scramble(first, size=0.05)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.similarity(*inputs), first.similarity(*inputs))


@every_head
def test_operations_can_be_counted_without_data(name: str) -> None:
    head = make(name).to("meta")
    inputs = Batch(
        torch.empty(2, WIDTH, device="meta"),
        torch.empty(3, FRAMES, WIDTH, device="meta"),
        torch.ones(3, FRAMES, device="meta"),
    )
    assert head.similarity(*inputs).shape == (2, 3)


def test_a_block_must_hold_something() -> None:
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        make("xpool").similarity(*batch(), block=0)
