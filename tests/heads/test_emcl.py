"""EM, `emcl` and `emcl-features` against NumPy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from tests.heads import reference as ref
from tests.heads.batches import FRAMES, WIDTH, batch, make
from vidsampler.errors import ConfigError
from vidsampler.heads.em import em_channels, em_rows, mean_over_rows, over_ranks
from vidsampler.heads.emcl import Emcl, EmclConfig, EMConfig
from vidsampler.heads.emcl_features import EmclFeatures
from vidsampler.heads.seq import SeqConfig

SMALL = EmclConfig(sequence=SeqConfig(layers=1), em=EMConfig(bases=6))


def em(x: ref.Array, m: ref.Array, iterations: int, lam: float) -> tuple[ref.Array, ref.Array]:
    """The published EM, written as loops."""
    big = np.tile(m, (len(x), 1))
    for _ in range(iterations):
        z = ref.softmax(x.T @ big / lam)
        for c in range(z.shape[1]):
            z[:, c] /= 1e-6 + z[:, c].sum()
        big = x @ z
        for c in range(z.shape[1]):
            big[:, c] /= 1e-6 + np.sqrt((big[:, c] ** 2).sum())
    return big, z


def pooled_rows(head: Emcl | EmclFeatures, inputs: tuple[Tensor, Tensor, Tensor]) -> ref.Array:
    """(T, V, D) the encoded frames, pooled for each text."""
    texts, frames, keep = inputs
    seen, t, used = ref.numbers(head.encoder(frames, keep)), ref.numbers(texts), keep.numpy() == 1
    pooled = np.zeros((len(t), len(seen), WIDTH))
    for i in range(len(t)):
        for j in range(len(seen)):
            f = seen[j][used[j]]
            pooled[i, j] = ref.softmax(f @ t[i] / 3.0) @ f
    return pooled


@pytest.mark.parametrize("iterations", [1, 9])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_em_channels(iterations: int, temperature: float) -> None:
    x, m = torch.randn(11, 20, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 6)
    got = em_channels(x, m, iterations=iterations, temperature=temperature)
    expected = em(ref.numbers(x), ref.numbers(m), iterations, temperature)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert not ours.requires_grad


def test_em_channels_of_several_at_once() -> None:
    x, m = torch.randn(3, 7, 20), torch.linspace(-1, 1, 4)
    together = em_channels(x, m, iterations=9)
    for b in range(3):
        for all_of_them, alone in zip(together, em_channels(x[b], m, iterations=9), strict=True):
            torch.testing.assert_close(all_of_them[b], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("iterations", [1, 9])
def test_em_rows(iterations: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, start = torch.randn(11, 20, generator=generator), torch.randn(6, 20, generator=generator)
    bases, rows = ref.numbers(start), ref.numbers(x)
    for _ in range(iterations):
        z = ref.softmax(rows @ bases.T / 2.0)
        bases = (z / (1e-6 + z.sum(0))).T @ rows
        bases = bases / (1e-6 + np.linalg.norm(bases, axis=1, keepdims=True))
    got = em_rows(x, start, iterations=iterations, temperature=2.0)
    np.testing.assert_allclose(got, bases, atol=1e-5)


class Meeting:
    """Adds up tensors of two threads, as an all-reduce does with two ranks."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=20)
        self.given: list[Tensor] = []

    def __call__(self, total: Tensor) -> Tensor:
        self.given.append(total)
        self.barrier.wait()
        added = sum(self.given[-2:], torch.zeros_like(total))
        self.barrier.wait()
        return added


def run_together(jobs: list[Callable[[], None]]) -> None:
    """Each in a thread of its own."""
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_rows_on_two_ranks_are_one_em() -> None:
    x, m, b = torch.randn(10, 20), torch.linspace(-1, 1, 4), torch.randn(4, 20)
    whole_m, whole_z = em_channels(x, m, iterations=9)
    whole_b = em_rows(x, b, iterations=9)
    meeting, found = Meeting(), {}

    def rank(number: int, rows: Tensor) -> None:
        part_m, part_z = em_channels(rows, m, iterations=9, reduce=meeting)
        part_b = em_rows(rows, b, iterations=9, reduce=meeting)
        found[number] = (part_m, part_z, mean_over_rows(part_m, meeting), part_b)

    run_together([lambda: rank(0, x[:3]), lambda: rank(1, x[3:])])
    torch.testing.assert_close(torch.cat([found[0][0], found[1][0]]), whole_m, rtol=0, atol=1e-5)
    for number in (0, 1):
        torch.testing.assert_close(found[number][1], whole_z, rtol=0, atol=1e-5)
        torch.testing.assert_close(found[number][2], whole_m.mean(0), rtol=0, atol=1e-5)
        torch.testing.assert_close(found[number][3], whole_b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["emcl", "emcl-features"])
def test_ranks_with_half_of_the_texts_each_train_as_one(name: str) -> None:
    whole, inputs = make(name, SMALL).train(), batch()
    expected = whole.training_terms(*inputs).similarity_TV
    meeting, found = Meeting(), {}

    heads = [make(name, SMALL).train() for _ in range(2)]

    def rank(number: int, rows: slice) -> None:
        head, (texts, frames, keep) = heads[number], inputs
        assert isinstance(head, Emcl | EmclFeatures)
        terms = head.training_terms(texts[rows], frames, keep, reduce=meeting)
        found[number] = (terms.similarity_TV, head.bases)

    run_together([lambda: rank(0, slice(0, 2)), lambda: rank(1, slice(2, 4))])
    got = torch.cat([found[0][0], found[1][0]])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    for number in (0, 1):
        torch.testing.assert_close(found[number][1], whole.state_dict()["bases"])


def test_over_ranks_leaves_its_argument_alone(tmp_path: Path) -> None:
    total = torch.tensor([1.0, 2.0])
    assert over_ranks(total) is total
    meeting = f"file://{tmp_path / 'store'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    try:
        assert over_ranks(total).tolist() == [1.0, 2.0]
        assert over_ranks(total) is not total
    finally:
        distributed.destroy_process_group()


def test_the_gradient_is_the_identity_exactly() -> None:
    head = make("emcl", SMALL)
    assert isinstance(head, Emcl)
    rows = torch.randn(9, WIDTH, requires_grad=True)
    refined, _ = head._refine(rows, lambda total: total)
    assert not torch.equal(refined, rows)
    upstream = torch.randn(9, WIDTH)
    refined.backward(upstream)
    assert rows.grad is not None
    assert torch.equal(rows.grad, upstream)


def test_emcl_evaluates_each_text_over_the_whole_gallery() -> None:
    head, inputs = make("emcl", SMALL), batch(texts=3, videos=5)
    assert isinstance(head, Emcl)
    ref.scramble(head, size=0.05)
    texts = ref.numbers(inputs.texts)
    scores = ref.numbers(head.similarity(*inputs))
    for t, videos in enumerate(pooled_rows(head, inputs)):
        x = np.concatenate([videos, texts[t : t + 1]])
        m, z = em(x, ref.numbers(head.bases), 9, 1.0)
        x = x + 3.0 * m @ z.T
        np.testing.assert_allclose(scores[t], ref.unit(x[:-1]) @ ref.unit(x[-1]), atol=1e-5)


def test_emcl_trains_over_all_pairs_and_moves_its_bases() -> None:
    head, inputs = make("emcl", SMALL).train(), batch()
    assert isinstance(head, Emcl)
    before = ref.numbers(head.bases)
    pooled, texts = pooled_rows(head, inputs), ref.numbers(inputs.texts)
    x = np.concatenate([pooled.reshape(16, WIDTH), texts])
    m, z = em(x, before, 9, 1.0)
    x = x + 3.0 * m @ z.T
    expected = np.einsum("td,tvd->tv", ref.unit(x[16:]), ref.unit(x[:16]).reshape(4, 4, WIDTH))
    terms = head.training_terms(*inputs)
    np.testing.assert_allclose(ref.numbers(terms.similarity_TV), expected, atol=1e-5)
    moved = 0.9 * before + 0.1 * m.mean(0)
    np.testing.assert_allclose(ref.numbers(head.bases), moved, atol=1e-6)
    head.eval().training_terms(*inputs)
    np.testing.assert_allclose(ref.numbers(head.bases), moved, atol=1e-6)


@pytest.mark.parametrize("name", ["emcl", "emcl-features"])
def test_bases_are_saved_and_restored(name: str) -> None:
    head, inputs = make(name, SMALL, seed=1), batch()
    for _ in range(3):
        head.train().training_terms(*inputs)
    state = {key: value.clone() for key, value in head.state_dict().items()}
    assert "bases" in state
    scores = head.eval().similarity(*inputs)
    other = make(name, SMALL, seed=2)
    assert not torch.equal(other.similarity(*inputs), scores)
    other.load_state_dict(state)
    assert torch.equal(other.similarity(*inputs), scores)


def test_first_bases() -> None:
    head = make("emcl", EmclConfig(em=EMConfig(bases=3200)), seed=3)
    assert isinstance(head, Emcl)
    assert len(set(head.bases.tolist())) == 3200
    assert head.bases.var().item() == pytest.approx(2 / 3200, rel=0.1)
    released = make("emcl", EmclConfig(em=EMConfig(start="signs")))
    assert isinstance(released, Emcl)
    assert released.bases.shape == (32,)
    assert set(released.bases.tolist()) == {-1.0, 1.0}
    given = torch.linspace(0, 1, 32)
    assert torch.equal(Emcl(width=WIDTH, frames=FRAMES, bases_C=given).bases, given)


def test_features_variant_uses_its_bases_alone() -> None:
    head, inputs = make("emcl-features", SMALL), batch(texts=3)
    assert isinstance(head, EmclFeatures)
    ref.scramble(head, size=0.05)
    bases = ref.numbers(head.bases)
    np.testing.assert_allclose(np.linalg.norm(bases, axis=1), 1, atol=1e-5)

    def refine(x: ref.Array) -> ref.Array:
        return np.asarray(x + 3.0 * ref.softmax(x @ bases.T) @ bases)

    scores = ref.numbers(head.similarity(*inputs))
    texts = refine(ref.numbers(inputs.texts))
    for t, videos in enumerate(pooled_rows(head, inputs)):
        expected = ref.unit(refine(videos)) @ ref.unit(texts[t])
        np.testing.assert_allclose(scores[t], expected, atol=1e-5)


def test_features_variant_moves_its_bases_in_training() -> None:
    head, inputs = make("emcl-features", SMALL).train(), batch()
    assert isinstance(head, EmclFeatures)
    before = head.bases.clone()
    rows = torch.from_numpy(pooled_rows(head, inputs).reshape(16, WIDTH)).float()
    found = em_rows(torch.cat([rows, inputs.texts]), before, iterations=9)
    head.training_terms(*inputs)
    moved = ref.unit(ref.numbers(0.9 * before + 0.1 * found))
    np.testing.assert_allclose(ref.numbers(head.bases), moved, atol=1e-5)


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="bases must be at least 1, not 0"):
        EMConfig(bases=0)
    with pytest.raises(ConfigError, match="momentum must be from 0 to 1, not 2"):
        EMConfig(momentum=2.0)
    with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
        EmclConfig(temperature=0.0)
