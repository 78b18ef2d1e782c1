"""What was embedded is not embedded again, unless something is different."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.backbones.trying import variant
from tests.evaluation.embedding_trials import Frames
from tests.evaluation.test_embedding import assert_same
from tests.retrieving import retriever_of, trial
from vidsampler.backbones.config import BackboneConfig
from vidsampler.backbones.model import load_backbone
from vidsampler.evaluation.embedding_cache import EmbeddingCache
from vidsampler.retriever import Retriever

KEYS = trial().keys
WORDS = ["a red thing", "a blue thing"]


def frames() -> Frames:
    return Frames(trial())


def asked(retriever: Retriever, folder: Path | None, fingerprint: str = "of these videos") -> int:
    """How many batches are embedded when videos are wanted."""
    source = frames()
    EmbeddingCache(retriever, folder).videos(source, KEYS, fingerprint)
    return source.picked


def test_videos_come_back_as_they_were(tmp_path: Path) -> None:
    retriever = retriever_of("topk")
    first = EmbeddingCache(retriever, tmp_path).videos(frames(), KEYS, "of these videos")
    source = frames()
    again = EmbeddingCache(retriever, tmp_path).videos(source, KEYS, "of these videos")
    assert source.picked == 0
    assert_same(again, first)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_captions_come_back_as_they_were(tmp_path: Path) -> None:
    retriever = retriever_of()
    retriever.config = replace(
        retriever.config, backbone=replace(retriever.config.backbone, words=4)
    )
    retriever.backbone.config = retriever.config.backbone
    first = EmbeddingCache(retriever, tmp_path).texts(WORDS)
    assert first.cut == 1.0
    again = EmbeddingCache(retriever, tmp_path)
    retriever.backbone.forward = None  # type: ignore[assignment]
    encode, retriever.embed_texts = retriever.embed_texts, None  # type: ignore[assignment]
    found = again.texts(WORDS)
    assert torch.equal(found.features_UD, first.features_UD)
    assert found.cut == 1.0
    retriever.embed_texts = encode  # type: ignore[method-assign]
    assert len(list(tmp_path.iterdir())) == 1
    again.texts(WORDS[::-1])
    assert len(list(tmp_path.iterdir())) == 2


def test_whatever_is_different_is_embedded_again(tmp_path: Path) -> None:
    retriever = retriever_of("topk")
    assert asked(retriever, tmp_path) == 2
    assert asked(retriever, tmp_path, "of other videos") == 2
    assert asked(retriever_of("topk", k=2), tmp_path) == 2
    assert asked(retriever_of("random", k=2), tmp_path) == 2
    assert asked(retriever_of("random", k=2, seed=1), tmp_path) == 2
    with torch.no_grad():
        retriever.backbone.clip.visual.proj[3, 3] += 1e-3  # type: ignore[union-attr, operator, index]
    assert asked(retriever, tmp_path) == 2
    assert retriever.sampler is not None
    with torch.no_grad():
        next(retriever.sampler.parameters()).view(-1)[0] += 1e-3
    assert asked(retriever, tmp_path) == 2
    assert asked(retriever, tmp_path) == 0
    # The head has no part in it.
    retriever.head = retriever_of("topk", "mlp").head
    assert asked(retriever, tmp_path) == 0
    assert asked(retriever, None) == 2


def test_the_same_weights_with_another_activation_are_embedded_again(tmp_path: Path) -> None:
    def plain(config: dict[str, Any]) -> None:
        config["quick_gelu"] = False

    retriever = retriever_of("topk")
    other = load_backbone(BackboneConfig(str(variant(tmp_path, plain)), "none"))
    other.load_state_dict(retriever.backbone.state_dict())
    cache = tmp_path / "cache"
    first = EmbeddingCache(retriever, cache).texts(WORDS)
    retriever.backbone = other
    again = EmbeddingCache(retriever, cache).texts(WORDS)
    assert not torch.allclose(again.features_UD, first.features_UD, atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_a_damaged_file_counts_as_not_there(tmp_path: Path, content: bytes | None) -> None:
    retriever = retriever_of("topk")
    assert asked(retriever, tmp_path) == 2
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-10] if content is None else content)
    assert asked(retriever, tmp_path) == 2
    assert path.read_bytes() == whole
    assert asked(retriever, tmp_path) == 0


def test_without_room_the_evaluation_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    cache = EmbeddingCache(retriever_of("topk"), tmp_path / "file" / "below", note=said.append)
    assert len(cache.videos(frames(), KEYS, "of these videos")) == len(KEYS)
    assert len(said) == 1
    assert said[0].startswith("features are not kept: ")
    assert "cannot be written" in said[0]
