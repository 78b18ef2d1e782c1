"""The log of a run, and its picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidsampler.training.curves import draw_curves
from vidsampler.training.journal import LOG, Journal, read_log


def test_a_resumed_log_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    for step in (1, 2, 3):
        journal.write(step, {"loss": step / 2})
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2, 3]
    Journal(tmp_path, 2).write(3, {"loss": float("inf"), "parts": [1.5, float("nan")]})
    lines = (tmp_path / LOG).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": "inf", "parts": [1.5, "nan"]},
    ]


def test_curves_are_drawn(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    draw_curves(tmp_path, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
    for step in range(1, 11):
        journal.write(
            step,
            {
                "epoch": step / 5,
                "loss": 3 / step,
                "terms": {"retrieval": 3 / step},
                "keep_ratio": 0.25,
                "kept_at": [0.7, 0.1, 0.1, 0.1],
            },
        )
    journal.write(10, {"epoch": 2.0, "val": {"t2v": {"R@1": 12.5}}})
    draw_curves(tmp_path, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (960, 960)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (abs(pixels - (31, 119, 180)).sum(-1) < 8)[720:]
    # The axis ends at 1.1 * 0.7 and is 164 pixels high: bars of 149, 21, 21 and 21.
    heights = [int(part.any(1).sum()) for part in np.split(blue[:, 80:928], 4, axis=1)]
    assert abs(heights[0] - 149) <= 2
    assert all(abs(height - 21) <= 2 for height in heights[1:])


def test_tensorboard_has_what_the_log_has(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal = Journal(tmp_path, 0)
    for step in (1, 2, 3):
        journal.write(step, {"loss": step / 2, "terms": {"retrieval": 1.0}, "kept_at": [0.5]})
    journal.close()
    # The run was killed, and goes on from its checkpoint at step 2.
    journal = Journal(tmp_path, 2)
    journal.write(3, {"loss": 9.0})
    journal.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "terms/retrieval"]
    found = [(each.step, each.value) for each in events.Scalars("loss")]
    assert found == [(1, 0.5), (2, 1.0), (3, 9.0)]
