"""`vidsampler select` with questions, on the demo clip and with the tiny model."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.running import Ran, here
from vidsampler.query import ImageText

Ask = Callable[..., Ran]
CLIP = str(Path(__file__).parents[1] / "data" / "clip.mp4")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """Asks for a red ball, in an empty folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    words = ["--query", "a red ball", "--backbone", "tiny", "--candidates", "8"]
    return lambda *more: here(capsys, "select", *words, *more)


def test_json(ask: Ask) -> None:
    ran = ask(CLIP, "-k", "3", "--json")
    assert (ran.code, ran.err) == (0, "tiny in fp32 on cpu\n")
    found = ran.json
    assert found["queries"] == ["a red ball"]
    assert (found["sampler"], found["model"], found["cached"]) == ("mdp3", "tiny", False)
    assert found["candidates"] == 8
    assert found["gmacs"] > 0
    assert [list(frame) for frame in found["kept"]] == [
        ["index", "pts", "time", "score", "query"]
    ] * 3
    again = ask(CLIP, "-k", "3", "--json").json
    assert again["cached"]
    assert again["kept"] == found["kept"]
    assert not ask(CLIP, "-k", "3", "--no-cache", "--json").json["cached"]


def test_table_and_lines(ask: Ask) -> None:
    lines = ask(CLIP, "-k", "2", "--sampler", "topscore").out.splitlines()
    assert lines[1] == "0:00:22.000 at 25 fps; topscore kept 2 of 8 candidates"
    assert lines[2].split() == ["#", "frame", "time", "score"]
    lines = ask(CLIP, "-k", "2", "--query", "a town").out.splitlines()
    assert lines[2].split() == ["#", "frame", "time", "score", "question"]
    assert {line.split(maxsplit=4)[4] for line in lines[3:]} == {"a red ball", "a town"}
    rows = list(csv.reader(io.StringIO(ask(CLIP, "-k", "2", "--csv").out)))
    assert rows[0] == ["video", "index", "pts", "time", "score"]
    assert all(len(row) == 5 for row in rows)


def test_the_question_is_handed_over(ask: Ask, tmp_path: Path) -> None:
    ran = ask(CLIP, "-k", "2", "--for", "qwen3-vl", "--frames-dir", "kept", "--max-width", "64")
    (turn,) = ran.json["messages"]
    video, text = turn["content"]
    assert text == {"type": "text", "text": "a red ball"}
    assert video["video"] == [str(path) for path in sorted((tmp_path / "kept").iterdir())]
    assert Image.open(video["video"][0]).size == (64, 36)


def test_sheet_with_the_question(ask: Ask, tmp_path: Path) -> None:
    from vidsampler.sheet import MARK

    assert ask(CLIP, "-k", "2", "--sheet", "s.png", "--sheet-all").code == 0
    picture = np.asarray(Image.open(tmp_path / "s.png").convert("RGB"))
    assert (picture == MARK).all(-1).sum() > 2000


def test_fewer_frames_than_asked_for_are_mentioned(ask: Ask) -> None:
    ran = ask(CLIP, "-k", "8", "--min-gap", "5", "--json")
    assert ran.code == 0
    assert len(ran.json["kept"]) == 4
    assert ran.err.splitlines()[1] == f"{CLIP}: 4 frames kept, 8 were asked for"


def test_a_model_that_is_not_there_stops_before_any_video(ask: Ask) -> None:
    ran = ask(CLIP, CLIP, "--backbone", "tniy", "--json")
    assert ran.code == 2
    assert "did you mean 'tiny'?" in ran.json["error"]["message"]
    ran = ask(CLIP, "--pretrained", "no.safetensors")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no weights file no.safetensors" in ran.err


def test_a_mistyped_name_does_not_wait_for_the_model(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: object) -> None:
        raise AssertionError("not to be loaded")

    monkeypatch.setattr(ImageText, "load", never)
    ran = ask("clpi.mp4", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "missing")


def test_settings_come_back(ask: Ask, tmp_path: Path) -> None:
    plan = ask(CLIP, "--min-gap", "0.5", "--dry-run")
    assert plan.code == 0
    (tmp_path / "mine.yaml").write_text(plan.out)
    again = ask(CLIP, "--config", "mine.yaml", "--dry-run", "--json").json["config"]
    assert (again["query"], again["backbone"], again["min_gap"]) == (["a red ball"], "tiny", 0.5)
