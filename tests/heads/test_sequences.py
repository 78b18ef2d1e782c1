"""`seq` and `seqlstm` against naive loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.heads import reference as ref
from tests.heads.batches import FRAMES, WIDTH, batch, make
from vidsampler.errors import ConfigError, UsageError
from vidsampler.heads.block import FrameBlock
from vidsampler.heads.seq import SeqConfig, Sequence
from vidsampler.heads.seqlstm import SequenceLSTM


def test_seq_is_naive_attention_over_kept_keys() -> None:
    head = make("seq", SeqConfig(layers=2), width=128)
    assert isinstance(head, Sequence)
    ref.scramble(head, size=0.05)
    _, frames, keep = batch(seed=4, width=128)
    vectors = ref.numbers(head.embed(frames, keep))
    positions = ref.numbers(head.encoder.frame_position_embeddings.weight)
    for v in range(len(frames)):
        used, f = keep[v].numpy() == 1, ref.numbers(frames[v])
        x = f + positions[:FRAMES]
        for block in head.encoder.resblocks:
            x = ref.attention_block(block, x, used)
        expected = ref.unit(ref.unit(f + x)[used].mean(0))
        np.testing.assert_allclose(vectors[v], expected, atol=1e-5)


def test_seq_knows_the_order_of_frames() -> None:
    head, (texts, frames, keep) = make("seq"), batch()
    keep[:] = 1
    ref.scramble(head, size=0.1)
    turned = head.similarity(texts, frames.flip(1), keep)
    assert (turned - head.similarity(texts, frames, keep)).abs().max() > 1e-3


def test_seqlstm_reads_the_kept_frames_alone() -> None:
    head = make("seqlstm")
    assert isinstance(head, SequenceLSTM)
    _, frames, keep = batch(seed=5)
    vectors = ref.numbers(head.embed(frames, keep))
    lstm: Any = head.lstm_visual
    w_in, w_back = ref.numbers(lstm.weight_ih_l0), ref.numbers(lstm.weight_hh_l0)
    bias = ref.numbers(lstm.bias_ih_l0) + ref.numbers(lstm.bias_hh_l0)
    for v in range(len(frames)):
        state, cell, read = np.zeros(WIDTH), np.zeros(WIDTH), []
        kept = ref.numbers(frames[v])[keep[v].numpy() == 1]
        for f in kept:
            i, g_forget, g, o = np.split(w_in @ f + w_back @ state + bias, 4)
            cell = cell / (1 + np.exp(-g_forget)) + np.tanh(g) / (1 + np.exp(-i))
            state = np.tanh(cell) / (1 + np.exp(-o))
            read.append(f + state)
        expected = ref.unit(ref.unit(np.array(read)).mean(0))
        np.testing.assert_allclose(vectors[v], expected, atol=1e-5)


def test_seq_starts_from_a_text_tower_of_its_width() -> None:
    head = make("seq", SeqConfig(layers=2, positions=10))
    assert isinstance(head, Sequence)
    positions = torch.randn(8, WIDTH)
    blocks = [FrameBlock(WIDTH, 1) for _ in range(3)]
    assert head.start_from(SimpleNamespace(text_tower=lambda: (positions, blocks)))
    table = head.encoder.frame_position_embeddings.weight
    assert torch.equal(table[:8], positions)
    for own, theirs in zip(head.encoder.resblocks, blocks, strict=False):
        for key, value in theirs.state_dict().items():
            assert torch.equal(own.state_dict()[key], value)
    before = table.clone()
    for tower in (None, (torch.randn(8, WIDTH + 1), blocks), (torch.randn(8, WIDTH), blocks[:1])):
        assert not head.start_from(SimpleNamespace(text_tower=lambda tower=tower: tower))
    assert torch.equal(table, before)


def test_more_frames_than_positions_is_an_error_with_both_numbers() -> None:
    with pytest.raises(UsageError, match="4 positions, but gets 5 frames"):
        make("seq", SeqConfig(positions=4))
    head, (texts, frames, keep) = make("seq", SeqConfig(positions=FRAMES)), batch()
    with pytest.raises(UsageError, match="5 positions, but got 10 frames"):
        head.similarity(texts, frames.repeat(1, 2, 1), keep.repeat(1, 2))


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="layers must be at least 1, not 0"):
        SeqConfig(layers=0)
