"""Every published run has settings that resolve and the figures that were published."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from vidsampler.config import set_layer
from vidsampler.errors import UsageError
from vidsampler.flops import flops
from vidsampler.runs import Figures, is_pattern, matching_runs, published_run, run_names

NAMES = run_names()
# The table has no figures of the first, and not the one of the second.
NOT_IN_THE_TABLE = {"adaclip/msrvtt-baseline", "emcl/activitynet"}
METRICS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")


def test_all_of_them() -> None:
    kinds = Counter(name.split("/")[0] for name in NAMES)
    assert kinds == {"mmsampler": 49, "adaclip": 4, "tmass": 3, "emcl": 5, "xpool": 4}
    tables = Counter(
        figures.source
        for name in NAMES
        for figures in published_run(name).figures()
        if "mmSampler" in figures.source
    )
    # 12 main runs, 7 of the ablation and 2 of table 6 in the same table, 9 transfers, 6 with B/16,
    # 15 with four extractors or none.
    expected = {1: 4, 2: 4, 3: 4, 4: 9, 5: 9, 6: 6, 7: 15}
    assert tables == {f"mmSampler paper, table {n}": count for n, count in expected.items()}


@pytest.mark.parametrize("name", NAMES)
def test_it_resolves(name: str) -> None:
    run = published_run(name)
    config = run.config()
    assert config.training.epochs == run.config([set_layer("frames=4")]).training.epochs
    for figures in run.figures():
        if figures.kept is not None:
            assert figures.kept <= config.frames
            if config.sampler.name != "gate":
                assert figures.kept == config.head_frames
    assert bool(run.figures()) == (name != "adaclip/msrvtt-baseline")
    if run.sampler_from is not None:
        source = published_run(run.sampler_from).config()
        assert source.sampler == config.sampler
        assert source.training.epochs > 0 == config.training.epochs


def test_settings_of_some() -> None:
    diff = published_run("mmsampler/msrvtt-diff").config()
    assert (diff.sampler.name, diff.sampler.policy.features) == ("gate", "diff")
    assert published_run("mmsampler/ablation-uniform-0.3").config().sampler.uniform_weight == 0.3
    assert published_run("mmsampler/ablation-bilstm").config().sampler.policy.temporal == "bilstm"
    large = published_run("mmsampler/didemo-frame-b16").config()
    assert large.backbone.name == "ViT-B-16-quickgelu"
    raw = published_run("mmsampler/extractor-msrvtt-raw").config().sampler.policy.extractor
    assert (raw.name, raw.pretrained) == ("raw", None)
    transfer = published_run("mmsampler/transfer-msrvtt-lstm")
    assert transfer.sampler_from == "mmsampler/transfer-activitynet-lstm"
    assert transfer.config().frames == 32
    assert transfer.config().training.freeze == ("all",)
    base = published_run("adaclip/msrvtt-baseline").config()
    assert (base.sampler.name, base.head.name, base.head_frames) == ("uniform", "mean", 16)


def test_published_operations_follow_from_the_settings() -> None:
    """The accounting of the papers, on the runs of the main tables that say how many were kept."""
    for name in ("mmsampler/msrvtt-no-policy", "mmsampler/didemo-no-policy-b16", "adaclip/didemo"):
        run = published_run(name)
        figures = run.figures()[0]
        # The papers round to one digit.
        per_video = flops(run.config(), kept=figures.kept, accounting="published").per_video
        assert per_video == pytest.approx(figures.gmacs_per_video, abs=0.051)


def test_figures_are_those_of_the_table(test_data: Path) -> None:
    with (test_data / "published" / "published_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    used: set[int] = set()
    for name in NAMES:
        if name in NOT_IN_THE_TABLE:
            continue
        run = published_run(name)
        for figures in run.figures():
            found = [
                (number, row)
                for number, row in enumerate(rows)
                if (row["system"], row["variant"], row["source"])
                == (figures.system, figures.variant, figures.source)
                and row["dataset"] == run.dataset + ("-val" if figures.split == "val" else "")
                and row["backbone"] == _backbone(name)
            ]
            assert found, name
            used |= {number for number, _ in found}
            assert {row["direction"] for _, row in found} == {
                direction for direction in ("t2v", "v2t") if getattr(figures, direction)
            }
            for _, row in found:
                _compare(row, figures, run.config().frames)
    # What is left are other authors' systems, and nothing of ours.
    left = {row["system"] for number, row in enumerate(rows) if number not in used}
    assert not left & {"mmSampler", "CLIP4Clip", "Frozen CLIP", "AdaCLIP", "T-MASS", "EMCL-Net"}
    assert "X-Pool" not in left


def _compare(row: dict[str, str], figures: Figures, frames: int) -> None:
    measured = getattr(figures, row["direction"])
    assert measured == {name: float(row[name]) for name in METRICS if row[name]}
    assert figures.kept == float(row["kept"])
    assert frames == int(row["candidates"])
    gmacs = row["gmacs_per_video"]
    assert figures.gmacs_per_video == (float(gmacs) if gmacs else None)
    if row["note"]:
        assert figures.note == row["note"]


def _backbone(name: str) -> str:
    return "ViT-B/16" if name.endswith("-b16") else "ViT-B/32"


def test_the_pair_that_cannot_be_right_says_so() -> None:
    (figures,) = published_run("mmsampler/extractor-didemo-raw").figures()
    assert "cannot both be right" in figures.note


def test_an_unknown_run() -> None:
    with pytest.raises(UsageError) as caught:
        published_run("mmsampler/msrvtt-dif")
    assert "did you mean 'mmsampler/msrvtt-diff'?" in caught.value.message


def test_patterns_take_several() -> None:
    assert [is_pattern(name) for name in ("mmsampler/*", "a/b?", "a/[bc]", "a/b-c.d")] == [
        *(True, True, True, False)
    ]
    assert len(matching_runs("mmsampler/*")) == 49
    assert matching_runs("tmass/?[si]*") == ["tmass/msrvtt", "tmass/lsmdc", "tmass/didemo"]
    transfers = matching_runs("mmsampler/transfer-*")
    assert len(transfers) == 9
    # Whatever takes a sampler comes after the run that it is from.
    for name in transfers:
        source = published_run(name).sampler_from
        assert source is None or transfers.index(source) < transfers.index(name)
    assert sum(published_run(name).sampler_from is not None for name in transfers) == 4
    with pytest.raises(UsageError, match=r"no published run fits 'mmsample/\*'"):
        matching_runs("mmsample/*")
