"""The benchmark of training steps: both ways compute the same, and it runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.train import Case, Way, batch_of, config_of, main, needed

CASE = Case(frames=4, kept=2, videos=3)
CPU = torch.device("cpu")


@pytest.mark.parametrize("extractor", ["raw", "clip"])
def test_both_ways_give_the_same_gradients(extractor: str) -> None:
    config = config_of(CASE, "tiny", "fp32", extractor)
    found = []
    for name in ("kept", "all"):
        way = Way(name, config, CPU)
        way.retriever.train()
        batch = batch_of(way.retriever, CASE, way.retriever.pixels.size, CPU)
        losses = way.stepper.losses(batch)
        losses.total.backward()
        gradients = {n: p.grad for n, p in way.retriever.named_parameters() if p.grad is not None}
        found.append((float(losses.total.detach()), gradients))
    (kept_loss, kept), (all_loss, everything) = found
    assert kept_loss == pytest.approx(all_loss, rel=1e-6)
    assert kept.keys() == everything.keys()
    assert any(name.startswith("sampler.") for name in kept)
    largest = max(float(each.norm()) for each in everything.values())
    for name, gradient in everything.items():
        apart = float((kept[name] - gradient).norm())
        assert apart <= 1e-5 * max(float(gradient.norm()), 1e-3 * largest), name


def test_work_by_hand() -> None:
    config = config_of(CASE, "tiny", "fp32", "raw")
    # 2 kept frames three times and 2 skipped ones once: 8 passes; all of them three times: 12.
    work = {way: needed(config, way) for way in ("kept", "all")}
    from vidsampler.flops import flops

    assert work["all"] - work["kept"] == pytest.approx(4 * 2e9 * flops(config).backbone)


@pytest.mark.parametrize(("kept", "passes"), [(2, 4 + 3 * 2), (3, 3 * 4)])
def test_work_with_the_extractor_clip_by_hand(kept: int, passes: int) -> None:
    from vidsampler.flops import flops

    config = config_of(replace(CASE, kept=kept), "tiny", "fp32", "clip")
    work = {way: needed(config, way) for way in ("kept", "all")}
    tower = 2e9 * flops(config, kept=kept).backbone
    assert work["all"] - work["kept"] == pytest.approx((3 * 4 - passes) * tower)


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--device", "cpu", "--backbone", "tiny", "--precision", "fp32", "--extractor", "raw"]
    rows = main([*words, "--cases", "4/2/3", "--repeats", "1", "--json", str(tmp_path / "x.json")])
    assert [(row.way, row.frames, row.kept, row.videos) for row in rows] == [
        ("kept", 4, 2, 3),
        ("all", 4, 2, 3),
    ]
    assert all(row.videos_per_second == pytest.approx(3 / row.seconds) for row in rows)
    assert len(json.loads((tmp_path / "x.json").read_text())["rows"]) == 2
    assert "times the videos a second" in capsys.readouterr().out
