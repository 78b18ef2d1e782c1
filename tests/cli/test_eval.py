"""`vidsampler eval`: anybody's matrix, and results side by side."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import here, imported
from vidsampler.cli import eval as command
from vidsampler.errors import VidsamplerError
from vidsampler.evaluation.published import WHICH
from vidsampler.evaluation.ranks import METRICS, V2T_CONVENTIONS, rank_matrix
from vidsampler.evaluation.rerank import METHODS, Rerank, rank_reranked

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A square matrix, a tall one with its owners and banks, and the folder they are in."""
    generator = np.random.default_rng(6)
    np.save(tmp_path / "square.npy", generator.normal(size=(30, 30)) + 2 * np.eye(30))
    np.save(tmp_path / "tall.npy", generator.uniform(-0.1, 0.4, (40, 12)).astype(np.float16))
    np.save(tmp_path / "owners.npy", generator.permutation(np.arange(40) % 11).astype(np.uint16))
    np.save(tmp_path / "bank.npy", generator.uniform(-0.1, 0.4, (25, 12)))
    np.save(tmp_path / "video_bank.npy", generator.uniform(-0.1, 0.4, (40, 25)))
    return tmp_path


def test_the_choices_are_those_of_the_evaluation() -> None:
    assert command.RERANKS == METHODS
    assert command.CONVENTIONS == V2T_CONVENTIONS
    assert command.PUBLISHED == WHICH


def test_a_square_matrix(capsys: Capture, files: Path) -> None:
    path = str(files / "square.npy")
    ranks = rank_matrix(np.load(path))
    printed = here(capsys, "eval", "--similarity", path, "--json").json
    assert (printed["queries"], printed["videos"]) == (30, 30)
    assert printed["t2v"]["R@1"] == pytest.approx(100 * np.mean(ranks.t2v == 1))
    assert printed["v2t"]["MnR"] == pytest.approx(ranks.v2t.mean())
    assert printed["similarity"] == path
    assert printed["transductive"] is False
    assert "ranks" not in printed
    text = here(capsys, "eval", "--similarity", path)
    lines = text.out.splitlines()
    assert lines[0].split() == list(METRICS)
    assert [line.split()[0] for line in lines[1:]] == ["t2v", "v2t"]
    assert lines[1].split()[1] == f"{printed['t2v']['R@1']:.1f}"
    assert text.err == "30 texts, 30 videos\n"


def test_a_tall_matrix_needs_owners(capsys: Capture, files: Path) -> None:
    words = ("eval", "--similarity", str(files / "tall.npy"))
    ran = here(capsys, *words)
    assert ran.code == 2
    assert "40 texts x 12 videos is not square" in ran.err
    assert "hint: --owners FILE" in ran.err
    ran = here(capsys, *words, "--owners", str(files / "owners.npy"), "--json")
    assert ran.code == 0
    ranks = rank_matrix(np.load(files / "tall.npy"), np.load(files / "owners.npy"))
    assert ran.json["t2v"]["MnR"] == ranks.t2v.mean()
    assert ran.err == "1 videos have no caption: candidates of t2v, not in v2t\n"
    grouped = here(capsys, *words, "--owners", str(files / "owners.npy"), "--v2t", "grouped")
    assert grouped.code == 0


def test_reranking(capsys: Capture, files: Path) -> None:
    words = ("eval", "--similarity", str(files / "tall.npy"), "--owners", str(files / "owners.npy"))
    scores, owners = np.load(files / "tall.npy"), np.load(files / "owners.npy")
    dsl = here(capsys, *words, "--rerank", "dsl", "--json")
    ranks = rank_reranked(scores, owners, Rerank("dsl"))
    assert dsl.json["t2v"]["MnR"] == ranks.t2v.mean()
    assert dsl.json["v2t"]["MnR"] == ranks.v2t.mean()
    assert dsl.json["transductive"] is True
    assert dsl.json["reranked"] == ["t2v", "v2t"]
    assert "transductive: dsl uses all queries" in dsl.err
    with_bank = (*words, "--rerank", "qb-norm", "--bank", str(files / "bank.npy"))
    one = here(capsys, *with_bank, "--json")
    assert (one.json["transductive"], one.json["reranked"]) == (False, ["t2v"])
    assert "v2t has the scores as they are" in one.err
    both = here(capsys, *with_bank, "--video-bank", str(files / "video_bank.npy"), "--json")
    assert both.json["reranked"] == ["t2v", "v2t"]
    assert both.json["t2v"] == one.json["t2v"]


def test_results_side_by_side(capsys: Capture, files: Path) -> None:
    scores = np.load(files / "square.npy")
    np.save(files / "better.npy", scores + np.eye(30))
    names = []
    for name in ("square", "better"):
        names.append(str(files / f"{name}.json"))
        words = ("--similarity", str(files / f"{name}.npy"), "--dataset", "msvd")
        assert here(capsys, "eval", *words, "--output", names[-1]).code == 0
    written = json.loads(Path(names[0]).read_text())
    assert written["ranks"]["t2v"] == rank_matrix(scores).t2v.tolist()
    text = here(capsys, "eval", "--compare", *names)
    assert "almost all were chosen on the test split" in text.err
    assert "EMCL-Net, ViT-B/32" in text.out
    table = here(capsys, "eval", "--compare", *names, "--table", "csv", "--published", "none")
    rows = list(csv.DictReader(io.StringIO(table.out)))
    assert [(row["direction"], row["system"]) for row in rows] == [
        (direction, name) for direction in ("t2v", "v2t") for name in names
    ]
    assert table.err == ""
    data = here(capsys, "eval", "--compare", *names, "--json").json
    assert [each["file"] for each in data["results"]] == names
    change = data["differences"][0]
    assert rows[1]["difference in R@1"] == (
        f"{change['difference']:+.1f} [{change['low']:+.1f}, {change['high']:+.1f}]"
    )
    assert {line["dataset"] for line in data["published"]} == {"msvd"}
    lines = here(capsys, "eval", *names, "--compare", "--table", "md").out.splitlines()
    assert lines[1].startswith("| --- | --- | ---: |")


def test_results_of_other_queries_have_no_interval(capsys: Capture, files: Path) -> None:
    one, other = str(files / "one.json"), str(files / "other.json")
    tall = ("--similarity", str(files / "tall.npy"), "--owners", str(files / "owners.npy"))
    here(capsys, "eval", "--similarity", str(files / "square.npy"), "--output", one)
    here(capsys, "eval", *tall, "--output", other)
    ran = here(capsys, "eval", "--compare", one, other)
    assert ran.code == 0
    assert f"no interval for {other}: it has not the queries of {one} (queries 30 and 40)" in (
        ran.err
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give a CHECKPOINT with --dataset NAME, or --similarity FILE, or --compare"),
        (("--similarity", "square.npy", "--compare"), "give either"),
        (("--compare",), "--compare needs result files"),
        (("--compare", "nothing.json"), "nothing.json: cannot be read: No such file"),
        (("--compare", "square.npy"), "square.npy: not a result file"),
        (("--compare", "a.json", "--rerank", "dsl"), "--rerank is not for --compare"),
        (("--similarity", "square.npy", "--table", "md"), "--table is not for --similarity"),
        (("--similarity", "square.npy", "other.json"), "result files are for --compare"),
        (("--similarity", "square.npy", "--rerank", "dls"), "did you mean 'dsl'?"),
        (("--similarity", "square.npy", "--v2t", "group"), "did you mean 'grouped'?"),
        (("--similarity", "square.npy", "--dataset", "msvdd"), "did you mean 'msvd'?"),
        (("--similarity", "square.npy", "--rerank", "qb-norm"), "qb-norm needs a bank"),
        (("--similarity", "square.npy", "--bank", "bank.npy"), "a bank is for qb-norm"),
        (("--similarity", "square.npy", "--owners", "owners.npy"), "30 texts need as many owners"),
        (("--similarity", "square.npy", "--owners", "bank.npy"), "whole numbers, not float64"),
        (("--similarity", "nothing.npy"), "nothing.npy: cannot be read: No such file"),
        (("--similarity", "text.npy"), "not a .npy file"),
        (("--similarity", "nan.npy"), "3 of 9 scores are NaN or infinite"),
        (("--similarity", "line.npy"), "has the shape (5,)"),
        (("--similarity", "whole.npy"), "not int64"),
        (("--similarity", "objects.npy"), "never unpickled"),
    ],
)
def test_mistakes(
    capsys: Capture,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(files)
    Path("text.npy").write_text("1 2 3")
    np.save("nan.npy", np.diag([np.nan, np.inf, -np.inf]).astype(np.float32))
    np.save("line.npy", np.ones(5))
    np.save("whole.npy", np.eye(3, dtype=np.int64))
    np.save("objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    ran = here(capsys, "eval", *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err
    as_json = here(capsys, "eval", *words, "--json")
    assert message in as_json.json["error"]["message"]


def test_the_result_goes_to_a_new_folder(capsys: Capture, files: Path) -> None:
    path = files / "new" / "below" / "a.json"
    ran = here(capsys, "eval", "--similarity", str(files / "square.npy"), "--output", str(path))
    assert ran.code == 0
    assert json.loads(path.read_text())["queries"] == 30


def test_a_place_that_cannot_be_written(
    capsys: Capture, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*words: object) -> None:
        raise AssertionError("it is too late to look at the place")

    with monkeypatch.context() as patch:
        patch.setattr("vidsampler.cli.eval._rank", never)
        for path, message in (
            (files, f"--output {files} is a folder"),
            (files / "square.npy" / "a.json", "square.npy is not a folder"),
        ):
            words = ("--similarity", str(files / "square.npy"), "--output", str(path))
            ran = here(capsys, "eval", *words)
            assert (ran.code, ran.out) == (2, "")
            assert message in ran.err


def test_what_was_measured_is_said_where_it_cannot_be_written(
    capsys: Capture, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *more: object) -> None:
        raise VidsamplerError(f"{path}: cannot be written: No space left", code="unwritable")

    monkeypatch.setattr("vidsampler.evaluation.results.write_file", full)
    words = ("--similarity", str(files / "square.npy"), "--output", str(files / "a.json"))
    ran = here(capsys, "eval", *words)
    assert ran.code == 1
    assert "t2v" in ran.out
    assert "error: " in ran.err
    assert "a.json: cannot be written: No space left" in ran.err
    ran = here(capsys, "eval", *words, "--json")
    assert ran.code == 1
    ranks = rank_matrix(np.load(files / "square.npy"))
    assert ran.json["t2v"]["R@1"] == pytest.approx(100 * np.mean(ranks.t2v == 1))
    assert "a.json: cannot be written: No space left" in ran.err


def test_no_torch_for_a_matrix(files: Path) -> None:
    assert not imported("eval", "--similarity", str(files / "square.npy")) & {"torch", "av", "rich"}
