"""Real clips and real captions: a search finds what evaluation finds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import vidsampler
from vidsampler.config import set_layer


@pytest.mark.slow
def test_captions_find_their_clips(test_data: Path, tmp_path: Path) -> None:
    """The zero-shot figures of this model for 8 uniform frames and their mean."""
    pytest.importorskip("transformers")
    index = tmp_path / "index"
    report = vidsampler.embed(
        test_data / "clips",
        index,
        backbone=str(test_data / "weights" / "lite2_minilm"),
        layers=[set_layer("backbone.words=77")],
    )
    assert (report.done, report.failed, report.frames) == (157, 0, 8 * 157)
    captions: dict[str, str] = {}
    with (test_data / "clips" / "captions.csv").open() as file:
        for row in csv.DictReader(file):
            if row["set"] != "ucf101":
                captions.setdefault(row["video"], row["caption"])
    assert len(captions) == 141
    opened = vidsampler.Index.open(index)
    ranks = []
    for video, caption in captions.items():
        # The other 16 clips have captions that repeat.
        found = [hit.source for hit in opened.search(caption, k=157) if hit.source in captions]
        ranks.append(1 + found.index(video))
    recalls = [100 * float(np.mean(np.array(ranks) <= k)) for k in (1, 5, 10)]
    assert recalls == pytest.approx([24.1, 51.8, 70.2], abs=1.5)
