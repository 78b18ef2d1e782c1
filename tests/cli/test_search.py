"""`vidsampler embed` and `search` as users run them, stop them and kill them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import vidsampler
from tests.cli.running import CHECKOUT, Ran, apart, here
from tests.rendering import render
from tests.retrieving import config_of, retriever_of
from tests.search.making import contents
from vidsampler.embed import EmbedReport
from vidsampler.retriever import Retriever


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """videos/, run/ and index/, beside the cache."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "videos").mkdir()
    for number in range(14):
        start = 100 * number
        render(folder / "videos" / f"v{number:02d}.mp4", range(start, start + 10), rate=5)
    retriever_of("uniform", "mean", k=2).save(folder / "run")
    assert embed(folder, folder / "index").done == 14
    return folder


def words(made: Path, index: Path) -> list[str]:
    found = ["embed", str(made / "videos"), str(index), "--checkpoint", str(made / "run")]
    return [*found, "--workers", "1", "--set", "index.per_segment=3"]


def embed(made: Path, index: Path) -> EmbedReport:
    """What `words` say, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDSAMPLER_CACHE", str(made / "cache"))
        return vidsampler.embed(
            made / "videos", index, checkpoint=made / "run", workers=1, per_segment=3
        )


def search(made: Path, *more: str) -> Ran:
    return apart("search", *more, VIDSAMPLER_CACHE=str(made / "cache"))


def begin(made: Path, index: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vidsampler", *words(made, index)],
        cwd=CHECKOUT,
        env=os.environ | {"VIDSAMPLER_CACHE": str(made / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_news(run: subprocess.Popen[str], index: Path, segments: int) -> None:
    """Until something is in the journal, or so many segments are in the index."""
    while run.poll() is None:
        journal = index / "journal"
        if not segments and journal.exists() and journal.stat().st_size > 3000:
            return
        if segments and len(list(index.glob("*.safetensors"))) >= segments:
            return
        time.sleep(0.002)


def test_killed_at_any_moment(made: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    moments = random.Random(2)
    for segments in (0, 2):
        run = begin(made, index)
        wait_for_news(run, index, segments)
        time.sleep(moments.uniform(0, 0.02))
        run.kill()
        _, errors = run.communicate()
        assert run.returncode == -signal.SIGKILL, errors
        assert not (index / "errors.jsonl").exists()  # the last that is written
    assert embed(made, index).failed == 0
    assert contents(index) == contents(made / "index")
    assert not [name for name in contents(index) if name.startswith(".")]


def test_the_first_signal_keeps_what_is_done(made: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    run = begin(made, index)
    wait_for_news(run, index, 0)
    run.send_signal(signal.SIGTERM)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert errors.splitlines() == [
        "writing the index; Ctrl-C again ends at once",
        "interrupted: run the same command again to go on",
    ]
    assert embed(made, index).skipped > 0
    assert contents(index) == contents(made / "index")


def test_search_prints_a_table_and_where_the_time_went(made: Path, tmp_path: Path) -> None:
    ran = search(made, str(made / "index"), "blue waves", "-k", "3")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].split() == ["#", "score", "best", "at", "video"]
    assert len(lines) == 4
    assert ran.err.startswith("14 videos; imports ")
    assert " s, model " in ran.err
    assert " s, search " in ran.err


def test_search_as_json_with_a_sheet(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setenv("VIDSAMPLER_CACHE", str(made / "cache"))
    sheet = tmp_path / "sheet.png"
    index = str(made / "index")
    ran = here(capsys, "search", index, "blue waves", "--json", "--sheet", str(sheet))
    assert ran.code == 0, ran.err
    found = ran.json
    assert found.keys() == {"index", "text", "videos", "results", "seconds"}
    assert found["videos"] == 14
    assert found["seconds"].keys() == {"imports", "model", "search"}
    assert len(found["results"]) == 10
    scores = [each["score"] for each in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert found["results"][0].keys() == {
        "video",
        "source",
        "score",
        "time",
        "frame",
        "frame_score",
        "duration",
    }
    assert Image.open(sheet).width == 1280
    like = here(capsys, "search", index, "--like", found["results"][0]["video"], "--json").json
    assert like["like"] == found["results"][0]["video"]
    assert like["results"][0]["source"] == found["results"][0]["source"]


def test_a_model_that_reads_no_captions(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    config = config_of("uniform", "mean", k=2)
    backbone = replace(config.backbone, name="grid", pretrained="none")
    Retriever.from_config(replace(config, backbone=backbone)).save(tmp_path / "run")
    index = str(tmp_path / "index")
    more = ("--checkpoint", str(tmp_path / "run"), "--workers", "1")
    ran = here(capsys, "embed", str(made / "videos"), index, *more)
    assert ran.code == 0, ran.err
    assert ran.err.splitlines()[-1] == (
        f"note: its model reads no captions: ask this index by a video, vidsampler search {index} "
        "--like FILE"
    )
    ran = here(capsys, "search", index, "a dog")
    assert (ran.code, ran.out) == (2, "")
    first, hint = ran.err.splitlines()
    assert first == (
        f"error: the backbone grid of {index} reads no captions: the index can be asked for what "
        "is like a video only"
    )
    assert hint == f"hint: vidsampler search {index} --like FILE"
    like = here(capsys, "search", index, "--like", str(made / "videos" / "v03.mp4"), "--json").json
    assert like["results"][0]["source"] == "v03.mp4"


def test_a_video_that_is_not_there_is_said_before_a_model_is_loaded(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*words: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("vidsampler.search.encoding.load_retriever", never)
    ran = here(capsys, "search", str(made / "index"), "--like", str(made / "none.mp4"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: {made / 'none.mp4'}: no such file\n"


def test_videos_that_are_gone_are_grey_on_the_sheet(made: Path, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from vidsampler.search.sheet import write_sheet

    index = vidsampler.Index.open(made / "index")
    entry = index.entry(0)
    from vidsampler.search.index import Hit

    hit = Hit("/gone.mp4", "go\nne \udcff.mp4", 0.5, 1.0, int(entry.numbers_K[0]), 0.5, 2.0)
    there = Hit(str(made / "videos" / "v00.mp4"), "v00.mp4", 0.4, 1.0, 3, 0.5, 2.0)
    (problem,) = write_sheet(index, [hit, there], "two\n", tmp_path / "new" / "s.png")
    assert problem.code == "missing"
    pixels = np.asarray(Image.open(tmp_path / "new" / "s.png"))
    assert pixels[200, 320].tolist() == [60, 62, 68]
    assert pixels[200, 960].tolist() != [60, 62, 68]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ((), 2, "give either a text or --like FILE"),
        (("a", "--like", "b.mp4"), 2, "give either a text or --like FILE"),
        (("  ",), 2, "the question is empty"),
        (("a", "-k", "0"), 2, "at least 1 video must be asked for, not 0"),
        (("a", "--sheet", "x.txt"), 2, "pictures are written as"),
        (("a", "--checkpoint", "nowhere"), 2, "nowhere: no such folder"),
    ],
)
def test_one_sentence_each(
    made: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    ran = here(capsys, "search", str(made / "index"), *more)
    assert (ran.code, ran.out) == (code, "")
    first, *rest = ran.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert len(rest) == 1
    assert rest[0].startswith("hint: ")


def test_no_index_and_a_plan(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = here(capsys, "search", str(tmp_path), "a dog", "--json")
    assert ran.code == 2
    assert ran.json["error"]["code"] == "missing"
    plan = here(capsys, *words(made, tmp_path / "new"), "--dry-run")
    assert plan.code == 0
    assert "# videos: 14" in plan.out
    assert "# embed: 14" in plan.out
    assert not (tmp_path / "new").exists()
    again = here(capsys, "embed", str(made / "videos"), str(made / "index"), "--dry-run", "--json")
    assert (again.json["embed"], again.json["drop"], again.json["videos"]) == (0, 0, 14)
    other = here(capsys, "embed", str(made / "videos"), str(made / "index"), "-k", "5")
    assert other.code == 2
    assert "was made with other settings: sampler.k 2 (now 5)" in other.err


def test_settings_that_an_index_holds_make_it_again(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(made / "cache"))
    ran = here(
        capsys,
        "embed",
        str(made / "videos"),
        str(tmp_path / "index"),
        "--config",
        str(made / "index" / "config.yaml"),
    )
    assert ran.code == 0, ran.err
    assert "done" in ran.out
    assert contents(tmp_path / "index") == contents(made / "index")
