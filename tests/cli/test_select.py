"""`vidsampler select`: words in, tables and files out. What it chooses is tested elsewhere."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Ran, apart, here, imported
from vidsampler import plainyaml
from vidsampler.config import SelectConfig, to_plain
from vidsampler.errors import InputError
from vidsampler.select import KeptFrame, Selection

Select = Callable[..., Ran]


class Chosen(Selection):
    """A selection that writes marks in place of pictures."""

    def write_frames(self, folder: str | Path, max_width: int | None = None) -> list[Path]:
        Path(folder).mkdir(parents=True, exist_ok=True)
        files = [Path(folder, f"{frame.index:08d}.jpg") for frame in self.kept]
        for file in files:
            file.write_text(f"frame of {self.video}{'' if max_width is None else f', {max_width}'}")
        return files

    def write_sheet(self, path: str | Path, *, every: bool = False) -> None:
        Path(path).write_text(f"sheet of {'all of ' if every else ''}{self.video}")

    def message(
        self, model: str, *, files: Sequence[Path] = (), max_width: int | None = None
    ) -> dict[str, Any]:
        return {"for": model, "files": [path.name for path in files], "width": max_width}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Puts a stand-in before the decoder, and collects what it is called with."""
    seen: list[dict[str, Any]] = []

    def select(video: str | Path, k: int = 8, **settings: Any) -> Selection:
        seen.append({"video": str(video), "k": k, **settings})
        if "broken" in str(video):
            raise InputError(
                f"{video}: the file is cut off", hint="try --salvage", code="truncated"
            )
        kept = [KeptFrame(30 * i, 512 * i, 1.001 * i, None if i % 2 else 0.5) for i in range(k)]
        return Chosen(
            video=str(video),
            sampler=settings["sampler"] or "coverage",
            duration=61.5,
            fps=30000 / 1001,
            candidates=settings["candidates"],
            kept=tuple(kept),
            gmacs=0.0,
            seconds={"decode": 0.25, "sample": 0.125},
        )

    monkeypatch.setattr(sys.modules["vidsampler.select"], "select", select)
    return seen


@pytest.fixture
def run(
    calls: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Select:
    """Runs `vidsampler select` in a folder with some files."""
    for name in ("clip.mp4", "more/clip.mp4", "more/other.mkv", "some/a.mp4", "some/broken.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").touch()
    monkeypatch.chdir(tmp_path)
    return lambda *words: here(capsys, "select", *words)


def test_without_flags_it_is_called_with_its_own_defaults(
    run: Select, calls: list[dict[str, Any]]
) -> None:
    assert run("clip.mp4").code == 0
    assert calls == [{"video": "clip.mp4", **to_plain(SelectConfig().explicit()), "query": ()}]


def test_every_flag_arrives(run: Select, calls: list[dict[str, Any]]) -> None:
    flags = (
        "-k 3 --sampler random --candidates 32 --from 0:10 --to 0:00:20.5 --seed 7 "
        "--threads 2 --timeout 1.5 --salvage --no-cache"
    )
    assert run("clip.mp4", *flags.split()).code == 0
    assert calls == [
        {
            "video": "clip.mp4",
            "k": 3,
            "sampler": "random",
            "checkpoint": None,
            "candidates": 32,
            "start": 10.0,
            "end": 20.5,
            "seed": 7,
            "threads": 2,
            "timeout": 1.5,
            "salvage": True,
            "query": (),
            "backbone": None,
            "pretrained": "auto",
            "precision": "fp32",
            "min_gap": 0.0,
            "cache": False,
        }
    ]


def test_flags_win_over_set_and_set_over_files(
    run: Select, calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("k: 1\ncandidates: 1\nseed: 1\nsampler: random\n")
    words = "--config mine.yaml --set candidates=2 --set seed=2 --seed 3"
    assert run("clip.mp4", *words.split()).code == 0
    (call,) = calls
    assert [call[name] for name in ("k", "candidates", "seed", "sampler")] == [1, 2, 3, "random"]


def test_the_table(run: Select) -> None:
    ran = run("clip.mp4", "-k", "2")
    assert ran.err == ""
    assert ran.out.splitlines() == [
        "clip.mp4",
        "0:01:01.500 at 29.97 fps; coverage kept 2 of 64 candidates",
        "#  frame         time   score",
        "1      0  0:00:00.000  0.5000",
        "2     30  0:00:01.001       -",
    ]


def test_json_of_one_and_of_several(run: Select) -> None:
    one = run("clip.mp4", "-k", "2", "--json").json
    assert one == {
        "video": "clip.mp4",
        "sampler": "coverage",
        "duration": 61.5,
        "fps": 29.97003,
        "candidates": 64,
        "kept": [
            {"index": 0, "pts": 0, "time": 0.0, "score": 0.5},
            {"index": 30, "pts": 512, "time": 1.001, "score": None},
        ],
        "gmacs": 0.0,
        "seconds": {"decode": 0.25, "sample": 0.125},
    }
    several = run("clip.mp4", "more", "--json").json
    assert list(several) == ["videos"]
    names = [each["video"] for each in several["videos"]]
    assert names == ["clip.mp4", "more/clip.mp4", "more/other.mkv"]


def test_a_folder_has_the_shape_of_several_even_with_one_video(run: Select, tmp_path: Path) -> None:
    (tmp_path / "more" / "clip.mp4").unlink()
    assert [each["video"] for each in run("more", "--json").json["videos"]] == ["more/other.mkv"]


def test_csv(run: Select, tmp_path: Path) -> None:
    (tmp_path / "a,b.mp4").touch()
    rows = list(csv.reader(io.StringIO(run("clip.mp4", "a,b.mp4", "-k", "2", "--csv").out)))
    assert rows == [
        ["video", "index", "pts", "time", "score"],
        ["clip.mp4", "0", "0", "0.000000", "0.5"],
        ["clip.mp4", "30", "512", "1.001000", ""],
        ["a,b.mp4", "0", "0", "0.000000", "0.5"],
        ["a,b.mp4", "30", "512", "1.001000", ""],
    ]


def test_files_of_one_video(run: Select, tmp_path: Path) -> None:
    assert run("clip.mp4", "-k", "2", "--frames-dir", "a/b", "--sheet", "c/s.png").code == 0
    assert sorted(each.name for each in (tmp_path / "a/b").iterdir()) == [
        "00000000.jpg",
        "00000030.jpg",
    ]
    assert (tmp_path / "c/s.png").read_text() == "sheet of clip.mp4"


def test_files_of_several_videos(run: Select, tmp_path: Path) -> None:
    words = ["-k", "1", "--frames-dir", "out", "--sheet", "sheets/s.png"]
    assert run("clip.mp4", "more", *words).code == 0
    written = {
        str(each.relative_to(tmp_path)): each.read_text()
        for folder in ("out", "sheets")
        for each in (tmp_path / folder).rglob("*.*")
        if each.is_file()
    }
    assert written == {
        "out/clip/00000000.jpg": "frame of clip.mp4",
        "out/clip-2/00000000.jpg": "frame of more/clip.mp4",
        "out/other/00000000.jpg": "frame of more/other.mkv",
        "sheets/s-clip.png": "sheet of clip.mp4",
        "sheets/s-clip-2.png": "sheet of more/clip.mp4",
        "sheets/s-other.png": "sheet of more/other.mkv",
    }


def test_standard_input(
    run: Select,
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"video")))
    assert run("-", "--json", "--sheet", "s.png").json["video"] == "-"
    assert calls[0]["video"].startswith("/")
    assert not Path(calls[0]["video"]).exists()
    assert (tmp_path / "s.png").read_text() == "sheet of -"


def test_one_broken_video_among_several(run: Select) -> None:
    ran = run("some", "clip.mp4", "empty", "--json")
    assert ran.code == 3
    videos = ran.json["videos"]
    assert [each["video"] for each in videos] == [
        "some/a.mp4",
        "some/broken.mp4",
        "clip.mp4",
        "empty",
    ]
    assert videos[1] == {
        "video": "some/broken.mp4",
        "error": {
            "code": "truncated",
            "message": "some/broken.mp4: the file is cut off",
            "hint": "try --salvage",
        },
    }
    assert videos[3]["error"]["code"] == "missing"
    assert ran.err.splitlines()[:2] == [
        "error: some/broken.mp4: the file is cut off",
        "hint: try --salvage",
    ]
    assert ran.err.splitlines()[-1] == "2 of 4 videos failed"
    assert run("some").code == 3
    assert run("some", "--csv").code == 3


def test_all_of_several_broken(run: Select) -> None:
    assert run("some/broken.mp4", "empty").code == 3


@pytest.mark.parametrize(
    ("words", "code"),
    [(["some/broken.mp4"], "truncated"), (["empty"], "missing"), ([""], "missing")],
    ids=["broken", "empty folder", "no name"],
)
def test_the_only_one_broken(run: Select, words: list[str], code: str) -> None:
    ran = run(*words, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, code)
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("error: ") == 1


def test_fewer_frames_than_asked_for_are_mentioned(
    run: Select, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = sys.modules["vidsampler.select"]
    stand_in = module.select
    monkeypatch.setattr(module, "select", lambda video, k, **rest: stand_in(video, 1, **rest))
    ran = run("clip.mp4", "--json")
    assert ran.code == 0
    assert ran.err == "clip.mp4: 1 frame kept, 8 were asked for\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-k 0", "k (--top-k) must be at least 1, not 0"),
        ("-k -1", "k (--top-k) must be at least 1, not -1"),
        ("-k 2.5", "--top-k: expected a whole number, not 2.5"),
        ("-k many", "--top-k: expected a whole number, not 'many'"),
        ("--candidates 0", "candidates must be at least 1, not 0"),
        ("--sampler unifrom", "unknown sampler 'unifrom'; did you mean 'uniform'?"),
        ("--from later", "--from: 'later' is not a time; write seconds (75.5), mm:ss or"),
        ("--from 20 --to 10", "end (--to) must come after start (--from): 10 s is not after 20 s"),
        ("--timeout 0", "timeout must be more than 0 seconds, not 0"),
        ("--sampler topk", "topk is a learned sampler; it works inside a trained retriever"),
        ("--set kk=3", "--set: unknown key 'kk'; did you mean 'k'?"),
        ("--set k", "--set takes KEY=VALUE, not 'k'"),
        ("--config quik", "unknown preset 'quik'; did you mean 'quick'?"),
        ("--config none.yaml", "cannot read config none.yaml: No such file or directory"),
        ("--frames-dir text.txt", "--frames-dir text.txt: text.txt is not a folder"),
        ("--sheet text.txt/s.png", "text.txt is not a folder"),
        ("--sheet s.doc", "pictures are written as"),
        ("--json --csv", "choose one of --json and --csv"),
        ("--for qwen3", "unknown model to hand frames to (--for) 'qwen3'; did you mean 'qwen3-vl'"),
        ("--for openai --csv", "choose one of --for and --csv"),
        ("--max-width 100", "--max-width is for the frames of --frames-dir or --for"),
        ("--for openai --max-width 0", "--max-width must be at least 1 pixel, not 0"),
        ("--sheet-all", "--sheet-all is about the contact sheet"),
        ("--sampler aks", "aks chooses frames by a question, and there is none"),
        ("--query dog", "needs an image-text model that scores frames, and none is named"),
        ("--query= --backbone tiny", "the question (--query) is empty"),
        ("--query dog --backbone tiny --sampler coverage", "coverage does not look at a question"),
        ("--query dog --query cat --backbone tiny -k 1", "at least 2 must be kept, not 1"),
        ("--backbone tiny", "--backbone does nothing without a question"),
        ("--min-gap 2", "--min-gap does nothing without a question"),
        ("--query dog --backbone tiny --min-gap -1", "must be from 0 seconds on, not -1"),
        ("--query dog --backbone tiny --precision fp8", "--precision: unknown value 'fp8'"),
    ],
)
def test_bad_usage_stops_before_anything_is_decoded(
    run: Select, calls: list[dict[str, Any]], words: str, message: str
) -> None:
    ran = run("clip.mp4", *words.split())
    assert ran.code == 2
    if "--json" in words.split():
        ran = Ran(2, "", f"error: {ran.json['error']['message']}\n")
    assert ran.out == ""
    assert message in ran.err.splitlines()[0]
    assert "Traceback" not in ran.err
    assert calls == []
    assert run("clip.mp4", "--json", *words.split()).json["error"]["hint"] != ""


def test_dry_run_prints_settings_that_config_takes_back(
    run: Select, calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    words = "-k 3 --from 1:30 --sampler uniform --frames-dir out --dry-run"
    ran = run("clip.mp4", "more", *words.split())
    assert ran.code == 0
    assert "# video: more/other.mkv" in ran.out
    assert "# would write: out/clip-2" in ran.out
    assert calls == []
    assert not (tmp_path / "out").exists()
    (tmp_path / "again.yaml").write_text(ran.out)
    assert run("clip.mp4", "--config", "again.yaml").code == 0
    assert (calls[0]["k"], calls[0]["start"], calls[0]["sampler"]) == (3, 90.0, "uniform")
    plan = run("clip.mp4", "more", *words.split(), "--json").json
    assert plan["config"] == plainyaml.load(ran.out)
    assert plan["videos"] == ["clip.mp4", "more/clip.mp4", "more/other.mkv"]
    assert plan["writes"] == ["out/clip", "out/clip-2", "out/other"]


def test_message_content_in_place_of_a_table(run: Select, tmp_path: Path) -> None:
    words = "-k 2 --for gemini --frames-dir out --max-width 50"
    ran = run("clip.mp4", *words.split())
    assert (ran.code, ran.err) == (0, "")
    files = ["00000000.jpg", "00000030.jpg"]
    assert ran.json == {"for": "gemini", "files": files, "width": 50}
    assert (tmp_path / "out" / files[0]).read_text() == "frame of clip.mp4, 50"
    # With --json it is the same object; several videos have their names in it.
    assert run("clip.mp4", "-k", "2", "--for", "gemini", "--json").json == {
        "for": "gemini",
        "files": [],
        "width": None,
    }
    ran = run("some", "--for", "openai")
    assert ran.code == 3
    first, second = ran.json["videos"]
    assert first == {"video": "some/a.mp4", "for": "openai", "files": [], "width": None}
    assert second["error"]["code"] == "truncated"


def test_the_sheet_of_all_candidates(run: Select, tmp_path: Path) -> None:
    assert run("clip.mp4", "--sheet", "s.png", "--sheet-all").code == 0
    assert (tmp_path / "s.png").read_text() == "sheet of all of clip.mp4"


def bad_files(folder: Path) -> dict[str, Path]:
    """Files that are no video, by the code of their error."""
    files = {
        "missing": folder / "none.mp4",
        "empty": folder / "empty.mp4",
        "not-video": folder / "text.mp4",
    }
    files["empty"].touch()
    files["not-video"].write_text("This is no video.\n" * 100)
    return files


@pytest.mark.parametrize("code", ["missing", "empty", "not-video"])
def test_files_that_are_no_video(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, code: str
) -> None:
    file = bad_files(tmp_path)[code]
    ran = here(capsys, "select", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert file.name in ran.err
    ran = here(capsys, "select", str(file), "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, code)


def test_nothing_is_left_of_a_failed_run(tmp_path: Path) -> None:
    file = bad_files(tmp_path)["not-video"]
    out = tmp_path / "out"
    ran = apart("select", str(file), "--frames-dir", str(out), "--json")
    assert (ran.code, ran.err) == (2, "")
    assert list(json.loads(ran.out)) == ["error"]
    assert not out.exists()


def test_handing_over_imports_no_torch() -> None:
    clip = str(Path(__file__).parents[1] / "data" / "clip.mp4")
    modules = imported("select", clip, "-k", "2", "--for", "qwen3-vl", "--max-width", "64")
    assert "av" in modules
    assert not modules & {"torch", "open_clip", "webdataset"}


def test_torch_is_never_imported(tmp_path: Path) -> None:
    modules = imported("select", str(bad_files(tmp_path)["not-video"]))
    assert "av" in modules
    assert not modules & {"torch", "open_clip", "webdataset"}
