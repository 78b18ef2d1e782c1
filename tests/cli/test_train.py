"""`vidsampler train` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import here
from tests.training.tiny_run import tiny, write_shards
from vidsampler import plainyaml
from vidsampler.training.journal import read_log


def words(tmp_path: Path, method: str = "clip4clip", **more: object) -> list[str]:
    """A small run's command line."""
    config = tiny(tmp_path, method, **more)
    (tmp_path / "config.yaml").write_text(plainyaml.dump(config.to_plain()))
    return ["train", "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "run")]


def test_a_run_from_begin_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    ran = here(capsys, *words(tmp_path, "mmsampler"), "--json", "--seed", "3")
    assert ran.code == 0, ran.err
    run = tmp_path / "run"
    assert ran.json["run"] == str(run)
    assert (ran.json["steps"], ran.json["of"]) == (4, 4)
    assert ran.json["best"]["selected_on"] == "val"
    assert ran.json["best"]["chance"] == 25.0
    names = {"config.yaml", "last", "best", "log.jsonl", "curves.png"}
    assert names <= {path.name for path in run.iterdir()}
    assert json.loads((run / "best" / "result.json").read_text()) == ran.json["best"]
    saved = plainyaml.load((run / "config.yaml").read_text())
    assert [saved["seed"], saved["backbone"]["seed"], saved["sampler"]["seed"]] == [3, 3, 3]
    # A run goes on by its folder, or by its last checkpoint; here there is nothing left to do.
    for path, code in ((run, 0), (run / "last", 0), (run / "best", 2)):
        again = here(capsys, "train", "--resume", str(path))
        assert again.code == code, again.err
    assert "is not what a run goes on from" in again.err
    lines = [line for line in read_log(run) if "loss" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0].keys() >= {
        "terms",
        "rates",
        "temperature",
        "keep_ratio",
        "kept_at",
        "videos_per_second",
        "memory_gib",
    }
    assert set(lines[0]["terms"]) == {"retrieval", "uniform"}
    assert lines[0]["temperature"] == 5.0
    assert sum(lines[0]["kept_at"]) == pytest.approx(1, abs=1e-3)


def test_the_sampler_of_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    first = words(tmp_path, "adaclip", run={"evals_per_epoch": 0})
    assert here(capsys, *first).code == 0
    second = [*first[:-1], str(tmp_path / "second"), "--sampler-from", str(tmp_path / "run")]
    ran = here(capsys, *second, "--head", "mean", "--epochs", "1")
    assert ran.code == 0, ran.err
    third = [*first[:-1], str(tmp_path / "third"), "--sampler-from", str(tmp_path / "run")]
    ran = here(capsys, *third, "--sampler", "gate")
    assert ran.code == 2
    assert "does not fit the sampler gate" in ran.err


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(
        capsys, "train", "--dataset", "shapes", "--method", "tmass", "--sampler", "topk",
        "--top-k", "6", "--output", str(tmp_path / "run"), "--dry-run", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["config"]["sampler"]["k"] == 6
    assert ran.json["config"]["head"]["name"] == "tmass"
    assert not list(tmp_path.iterdir())


def test_flags_that_change_nothing_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["train", "--dataset", "shapes", "--output", str(tmp_path / "run"), "--dry-run"]
    ran = here(capsys, *plan, "--method", "mmsampler", "--top-k", "4", "--keep-target", "0.25")
    assert (ran.code, ran.err.count("note:")) == (0, 1)
    assert "--top-k changes nothing" in ran.err
    ran = here(capsys, *plan, "--method", "mmsampler", "--sampler", "uniform", "--top-k", "4")
    assert (ran.code, ran.err) == (0, "")
    ran = here(capsys, *plan, "--method", "adaclip", "--keep-target", "0.25")
    assert "--keep-target changes nothing: it is of gate, not of topk" in ran.err
    assert "learns nothing" not in ran.err
    ran = here(capsys, *plan, "--method", "adaclip", "--set", "sampler.hold_epochs=15")
    assert "the sampler learns nothing: the first 15 epochs keep every frame" in ran.err
    for more in (("--epochs", "0"), ("--sampler", "uniform")):
        ran = here(capsys, *plan, "--method", "adaclip", "--set", "sampler.hold_epochs=15", *more)
        assert (ran.code, ran.err) == (0, "")


def test_without_a_validation_split_the_ways_out_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(tmp_path / "shards", train=12, test=4)
    line = words(tmp_path)
    ran = here(capsys, *line)
    assert ran.code == 2
    assert "there is no split val (there are: test, train)" in ran.err
    assert "--select-on test" in ran.err
    assert "--evals-per-epoch 0" in ran.err
    assert not (tmp_path / "run").exists()
    # Nothing was trained, so nothing is in the way.
    ran = here(capsys, *line, "--select-on", "test", "--epochs", "1", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["best"]["selected_on"] == "test"


def test_a_bad_loss_names_the_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "shards", train=12, val=4)
    from vidsampler.retriever import Retriever

    losses = Retriever.losses
    calls = 0

    def broken(self, *args, **settings):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        found = losses(self, *args, **settings)
        if calls == 3:
            found.terms["retrieval"] = found.terms["retrieval"] * float("nan")
        return found

    monkeypatch.setattr(Retriever, "losses", broken)
    ran = here(capsys, *words(tmp_path))
    assert ran.code == 1
    assert "the loss is nan in step 1 of epoch 2, with the videos train" in ran.err
    last = read_log(tmp_path / "run")[-1]
    assert len(last["videos"]) == 6
    assert all(key in ran.err for key in last["videos"])
    # The checkpoint of the first epoch is whole, and the run goes on from it.
    monkeypatch.setattr(Retriever, "losses", losses)
    ran = here(capsys, *words(tmp_path), "--resume", "auto", "--json")
    assert (ran.code, ran.json["steps"]) == (0, 4)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--method", "adaclp", "--dataset", "shapes"], 2, "did you mean 'adaclip'"),
        (["--method", "xpool"], 2, "no dataset is named"),
        (["--method", "xpool", "--dataset", "msrvtt"], 2, "where are the shards of msrvtt"),
        (["--run", "adaclip/msrvt"], 2, "did you mean 'adaclip/msrvtt'"),
        (["--resume", "nowhere"], 2, "nowhere is no run"),
        (["--config", "full.yaml", "--method", "xpool"], 2, "would change the name alone"),
        (["--method", "xpool", "--dataset", "msvd", "--shards", "bare"], 2, "without splits"),
        (["--method", "xpool", "--dataset", "msrvtt", "--shards", "no"], 2, "no such folder"),
        (["--method", "xpool", "--dataset", "shapes", "--batch-size", "1"], 2, "at least 2"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full.yaml").write_text("{method: adaclip, head: mlp, dataset: {name: shapes}}")
    Path("bare").mkdir()
    Path("bare", "000000.tar").touch()
    # What is wrong is found before the weights of a backbone are.
    ran = here(capsys, "train", *more, "--pretrained", "none", "--device", "cpu")
    assert ran.code == code
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_where_nothing_can_be_written_nothing_is_rendered_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(tmp_path / "nothing")
    words = ["--dataset", "shapes", "--method", "clip4clip", "--device", "cpu", "--output"]
    for output, what in ((file / "run", file), (link, link)):
        ran = here(capsys, "train", *words, str(output))
        assert (ran.code, ran.err) == (2, f"error: {output}: {what} is not a folder\n")
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_shapes_needs_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDSAMPLER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    small = [f"dataset.render.{split}={size}" for split, size in (("train", 20), ("val", 8))]
    line = ["train", "--dataset", "shapes", "--method", "adaclip", "--top-k", "4", "--epochs", "1"]
    line += ["--batch-size", "10", "--device", "cpu"]
    for each in (*small, "dataset.render.test=8"):
        line += ["--set", each]
    ran = here(capsys, *line, "--json")
    assert ran.code == 0, ran.err
    test = ran.json["test"]
    assert (ran.json["run"], ran.json["steps"]) == ("runs/shapes-adaclip", 2)
    assert (test["videos"], test["chance"], test["frames_kept"]) == (8, 12.5, 4.0)
    assert 0 <= test["informative"] <= test["showing_a_fact"] <= 1
    ran = here(capsys, *line, "--resume", "auto")
    assert ran.code == 0, ran.err
    assert "chance 12.5" in ran.out
    assert "are informative" in ran.out
