"""How many captions a recipe's number of words cuts off."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidsampler import datasets


def test_a_quarter_of_activitynets_paragraphs_is_cut_at_64(test_data: Path) -> None:
    pytest.importorskip("open_clip")
    from vidsampler.backbones.config import BackboneConfig
    from vidsampler.backbones.model import load_backbone

    read = datasets.read("activitynet", test_data / "annotations" / "activitynet")
    captions = [caption for record in read.splits["test"] for caption in record.captions]
    backbone = load_backbone(BackboneConfig(name="tiny", pretrained="none", words=64))
    tokens = backbone.tokenize(captions)
    assert tokens.ids_TL.shape == (4917, 77)
    assert round(100 * tokens.cut, 1) == 25.9
