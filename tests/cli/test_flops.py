"""`vidsampler flops`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import here
from vidsampler.config import set_layer
from vidsampler.flops import flops
from vidsampler.methods import method_config
from vidsampler.retriever import Retriever


def test_json_as_the_contract_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(
        capsys, "flops", "--method", "mmsampler", "--kept", "11.031", "--json", "--frames", "16"
    )
    assert (ran.code, ran.err) == (0, "")
    report = ran.json
    assert list(report) == [
        "method",
        "backbone",
        "frames",
        "kept",
        "accounting",
        "parts",
        "gmacs_per_video",
        "gflops_per_video",
        "beside",
    ]
    assert (report["method"], report["backbone"]) == ("mmsampler", "ViT-B-32-quickgelu")
    assert (report["frames"], report["kept"], report["accounting"]) == (16, 11.031, "counted")
    assert list(report["parts"]) == ["backbone", "extractor", "temporal", "policy_head"]
    for part in report["parts"].values():
        assert part["gflops_per_frame"] == 2 * part["gmacs_per_frame"] > 0
    assert report["gmacs_per_video"] == pytest.approx(53.495, abs=1e-3)
    assert report["gflops_per_video"] == 2 * report["gmacs_per_video"]
    assert list(report["beside"]) == ["retrieval_head", "text"]


def test_the_papers_accounting_and_other_parts(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--kept", "12", "--accounting", "published", "--json")
    report = here(capsys, "flops", "--method", "adaclip", *words).json
    assert round(report["gmacs_per_video"], 3) == 56.636
    report = here(capsys, "flops", "--method", "clip4clip", "--dataset", "didemo", *words[2:]).json
    assert (report["frames"], report["kept"]) == (32, 32)
    assert round(report["gmacs_per_video"], 1) == 141.2
    assert report["parts"]["extractor"] == {"gmacs_per_frame": 0.0, "gflops_per_frame": 0.0}
    extractor = "sampler.policy.extractor={name: efficientnet_b3}"
    report = here(
        capsys,
        *("flops", "--method", "tmass", "--sampler", "topk", "--backbone", "tiny"),
        *("--set", extractor, "--json", "--kept", "6"),
    ).json
    assert report["parts"]["extractor"]["gmacs_per_frame"] == pytest.approx(1.826, rel=0.01)
    assert report["backbone"] == "tiny"


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "flops", "--method", "mmsampler", "--kept", "11.031")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["part", "GMACs/frame", "GFLOPs/frame", "frames", "GMACs/video"]
    assert lines[1].split() == ["backbone", "4.40881", "8.81762", "11.031", "48.634"]
    assert "53.495 GMACs = 106.990 GFLOPs a video (counted); K = 11.031 of N = 16" in lines
    assert max(map(len, lines)) <= 80


def test_latency_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        *("flops", "--method", "adaclip", "--backbone", "tiny", "--frames", "4", "--kept", "2"),
        *("--set", "sampler.k=2", "--set", "sampler.policy.extractor={name: raw}", "--latency"),
    )
    report = here(capsys, *words, "--json").json["latency"]
    assert (report["frames"], report["kept"]) == (4, 2)
    assert set(report["parts_ms"]) == {"backbone", "extractor", "policy"}
    assert report["ratio"] == report["kept_only_ms"] / report["all_frames_ms"]
    out = here(capsys, *words).out
    assert "2 of 4 frames" in out
    assert "of the time of all frames, on cpu" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "mmsample"], "unknown method 'mmsample'; did you mean 'mmsampler'?"),
        (["--accounting", "count"], "unknown accounting 'count'; did you mean 'counted'?"),
        (["--kept", "20"], "kept frames must be above 0 and at most the 16 candidates, not 20"),
        (["--frames", "no"], "--frames: expected a whole number, not 'no'"),
        (["--backbone", "ViT-B-33"], "unknown backbone 'ViT-B-33'; did you mean 'ViT-B-32'?"),
        (["--set", "head.trials=3"], "unknown key 'head.trials'"),
        (["--method", "default", "--backbone", "small"], "5, do not divide the 128 channels"),
    ],
)
def test_wrong_words(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    ran = here(capsys, "flops", *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_of_a_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("backbone.name=tiny", "backbone.pretrained=none", "frames=8", "sampler.k=3")
    small = set_layer("sampler.policy.extractor={name: raw}")
    config = method_config("adaclip", layers=[*map(set_layer, words), small])
    Retriever.from_config(config).save(tmp_path / "run" / "best")
    found = here(capsys, "flops", str(tmp_path / "run"), "--json").json
    assert (found["backbone"], found["frames"], found["kept"]) == ("tiny", 8, 3)
    assert found["gmacs_per_video"] == pytest.approx(flops(config, kept=3).per_video)
    found = here(capsys, "flops", str(tmp_path / "run" / "best"), "--kept", "5", "--json").json
    assert found["kept"] == 5
    ran = here(capsys, "flops", str(tmp_path / "run"), "--method", "adaclip")
    assert ran.code == 2
    assert "a checkpoint has its own settings" in ran.err
    ran = here(capsys, "flops", str(tmp_path))
    assert ran.code == 2
    assert "is no checkpoint" in ran.err
