"""`vidsampler list`."""

from __future__ import annotations

import pytest

from tests.cli.running import here
from vidsampler import registry


def test_everything_by_kind_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    listed = here(capsys, "list", "--json").json
    assert tuple(listed) == registry.KINDS
    for kind in registry.KINDS:
        assert tuple(listed[kind]) == registry.names(kind)
    assert listed["samplers"]["uniform"] == "the middles of K equal segments of the video"


def test_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(here(capsys, "list", "samplers", "--json").json) == {"samplers"}
    lines = here(capsys, "list", "samplers").out.splitlines()
    assert lines[0].split() == ["kind", "name", "what", "it", "is"]
    assert [line.split()[1] for line in lines[1:]] == list(registry.names("samplers"))
    assert max(map(len, lines)) <= 80


def test_an_empty_kind_says_so_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._REGISTRY, "heads", {})
    ran = here(capsys, "list", "heads")
    assert (ran.code, ran.out, ran.err) == (0, "", "none yet: heads\n")
    assert here(capsys, "list", "heads", "--json").json == {"heads": {}}


def test_the_whole_list_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert max(len(line) for line in here(capsys, "list").out.splitlines()) <= 80


def test_published_runs(capsys: pytest.CaptureFixture[str]) -> None:
    lines = here(capsys, "list", "runs").out.splitlines()
    assert len(lines) == 66
    assert lines[0].split() == ["run", "method", "R@1", "R@10", "GMACs"]
    (diff,) = (line for line in lines if line.startswith("mmsampler/msrvtt-diff "))
    assert diff.split()[1:] == ["mmsampler", "42.8", "80.6", "47.8"]
    assert max(map(len, lines)) <= 80
    plain = here(capsys, "list", "runs", "--json").json["runs"]
    assert plain["mmsampler/msrvtt-diff"]["published"][0]["v2t"]["R@1"] == 43.9
    assert plain["adaclip/msrvtt-baseline"]["published"] == []
    ran = here(capsys, "list", "run")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean 'runs'" in ran.err
