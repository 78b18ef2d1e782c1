"""`vidsampler eval CHECKPOINT` as a user runs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Ran, apart, here, imported
from tests.evaluated import write_run, write_videos
from vidsampler import plainyaml
from vidsampler.cli.app import main
from vidsampler.training import launch

pytestmark = pytest.mark.usefixtures("own_cache")
Capture = pytest.CaptureFixture[str]
CONTRACT = {
    *("dataset", "split", "protocol", "queries", "videos", "t2v", "v2t", "frames_kept"),
    *("gmacs_per_video", "seconds", "selected_on", "rerank", "seed", "checkpoint", "versions"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of adaclip and one of clip4clip, and their shards."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("adaclip", "clip4clip"):
        write_run(folder, method)
    return folder


def evaluate(capsys: Capture, *words: str) -> Ran:
    """`vidsampler eval` on the dataset `captions`."""
    return here(capsys, "eval", *words, "--dataset", "captions", "--device", "cpu")


def test_a_run(capsys: Capture, folder: Path, tmp_path: Path) -> None:
    run = str(folder / "adaclip")
    ran = evaluate(capsys, run, "--json", "--output", str(tmp_path / "result.json"))
    assert ran.code == 0, ran.err
    found = ran.json
    assert found.keys() >= CONTRACT
    assert "ranks" not in found
    assert (found["queries"], found["videos"], found["selected_on"]) == (9, 9, "val")
    assert found["frames_kept"] == {"mean": 2.0, "p50": 2.0, "p95": 2.0}
    written = json.loads((tmp_path / "result.json").read_text())
    assert len(written["ranks"]["t2v"]) == 9
    assert {key: written[key] for key in found} == found
    text = evaluate(capsys, run)
    assert text.out.splitlines()[0].split() == ["R@1", "R@5", "R@10", "R@50", "MdR", "MnR"]
    assert "9 texts, 9 videos\n2.00 frames kept of a video" in text.err
    assert "the checkpoint was chosen on: val" in text.err
    fewer = evaluate(capsys, run, "--sampler", "uniform", "-k", "1", "--json", "--no-cache")
    assert fewer.json["frames_kept"]["mean"] == 1.0
    # Other weights beside: a table of both.
    assert (
        evaluate(capsys, str(folder / "clip4clip"), "--output", str(tmp_path / "b.json")).code == 0
    )
    names = [str(tmp_path / name) for name in ("result.json", "b.json")]
    compared = here(capsys, "eval", "--compare", *names, "--json").json
    assert len(compared["differences"]) == 2


def test_a_dry_run_writes_nothing(capsys: Capture, folder: Path, tmp_path: Path) -> None:
    ran = evaluate(capsys, str(folder / "adaclip"), "-k", "1", "--dry-run")
    assert ran.code == 0, ran.err
    plain: Any = plainyaml.load(ran.out)
    assert plain["checkpoint"] == str(folder / "adaclip" / "best")
    assert plain["data"] == {
        "dataset": "captions",
        "split": "test",
        "shards": str(folder / "shards"),
    }
    assert plain["sampler"]["k"] == 1
    assert evaluate(capsys, str(folder / "adaclip"), "--dry-run", "--json").json["frames"] == 4
    assert not (tmp_path / "cache").exists()


def test_missing_videos_are_named_and_make_an_exit_code(
    capsys: Capture, folder: Path, tmp_path: Path
) -> None:
    captions = [("a.mp4", "a thing"), ("b.mp4", "another"), ("gone", "a third one")]
    videos = write_videos(tmp_path / "videos", captions)
    ran = evaluate(capsys, str(folder / "adaclip"), "--videos", str(videos), "--json")
    assert ran.code == 3
    assert (ran.json["queries"], ran.json["missing"]) == (2, ["gone"])
    assert ran.err == (
        "1 of 3 videos of split test are missing, and their captions are left out: gone\n"
    )


class Alone:
    """Stands for torchrun: the first process of what it should start, in this one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, ended: bool = False) -> None:
        self._monkeypatch = monkeypatch
        self._ended = ended
        self.codes: list[int] = []
        monkeypatch.setattr(launch, "_wait", self)

    def __call__(
        self, command: Sequence[str], environment: dict[str, str], *more: object
    ) -> tuple[int, bool]:
        if self._ended:
            return 143, True
        with self._monkeypatch.context() as patch:
            for name, value in (("RANK", "0"), ("WORLD_SIZE", "1")):
                patch.setenv(name, value)
            patch.setenv(launch.ERRORS, environment[launch.ERRORS])
            self.codes.append(main(command[command.index("vidsampler") + 1 :]))
        return int(self.codes[-1] != 0), False

    def evaluate(self, capsys: Capture, *words: str) -> Ran:
        """`vidsampler eval --nproc 2 --json`."""
        line = ["eval", *words, "--dataset", "captions", "--device", "cpu", "--nproc", "2"]
        line.append("--json")
        self._monkeypatch.setattr("sys.argv", ["vidsampler", *line])
        return here(capsys, *line)


def test_missing_videos_of_several_processes_are_no_failure(
    capsys: Capture, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = write_videos(tmp_path / "videos", [("a.mp4", "a thing"), ("gone", "another")])
    alone = Alone(monkeypatch)
    ran = alone.evaluate(capsys, str(folder / "adaclip"), "--videos", str(videos))
    assert alone.codes == [0]
    assert (ran.code, ran.json["queries"], ran.json["missing"]) == (3, 1, ["gone"])


def test_an_error_of_several_processes_is_said_once(
    capsys: Capture, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = write_videos(tmp_path / "videos", [("a.mp4", "a thing")], split="train")
    alone = Alone(monkeypatch)
    ran = alone.evaluate(capsys, str(folder / "adaclip"), "--videos", str(videos))
    assert (alone.codes, ran.code) == ([2], 2)
    assert "unknown split 'test'" in ran.json["error"]["message"]
    # And Ctrl-C.
    ran = Alone(monkeypatch, ended=True).evaluate(capsys, str(folder / "adaclip"))
    assert (ran.code, ran.json["error"]["code"]) == (130, "interrupted")


def test_other_processes_than_the_first_print_no_json(
    capsys: Capture, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    ran = evaluate(capsys, str(folder / "adaclip"), "--which", "worst", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "unknown choice of weights 'worst'" in ran.err


@pytest.mark.slow
def test_two_processes_find_what_one_finds(folder: Path, tmp_path: Path) -> None:
    found = []
    for name, more in (("one", ()), ("two", ("--nproc", "2"))):
        words = ["eval", str(folder / "adaclip"), "--dataset", "captions", "--device", "cpu"]
        words += ["--batch-size", "2", "--no-cache", "--json", *more]
        words += ["--output", str(tmp_path / f"{name}.json"), "--rerank", "qb-norm"]
        ran = apart(*words, OMP_NUM_THREADS="1")
        assert ran.code == 0, ran.err
        result = json.loads((tmp_path / f"{name}.json").read_text())
        assert {key: result[key] for key in ran.json} == ran.json
        del result["seconds"]
        found.append(result)
    assert found[0] == found[1]


@pytest.mark.slow
def test_what_two_processes_leave_out_and_refuse(folder: Path, tmp_path: Path) -> None:
    captions = [("a.mp4", "a thing"), ("b.mp4", "another"), ("gone", "a third one")]
    videos = write_videos(tmp_path / "videos", captions)
    words = ["eval", str(folder / "adaclip"), "--dataset", "captions", "--device", "cpu"]
    words += ["--nproc", "2", "--videos", str(videos), "--json"]
    ran = apart(*words, OMP_NUM_THREADS="1")
    assert (ran.code, ran.json["missing"]) == (3, ["gone"]), ran.err
    ran = apart(*words, "--split", "val", OMP_NUM_THREADS="1")
    assert ran.code == 2
    assert "unknown split 'val'" in ran.json["error"]["message"]
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no dataset is named"),
        (("--dataset", "captoins"), "did you mean 'captions'"),
        (("--dataset", "msvd"), "where are the videos of msvd?"),
        (("--dataset", "captions", "--split", "val"), "there is no split val (there are: test"),
        (("--dataset", "captions", "--which", "worst"), "unknown choice of weights 'worst'"),
        (("--dataset", "captions", "--backbone", "tiny"), "--backbone is for zero-shot"),
        (("--dataset", "captions", "--head", "mlp"), "--head is for zero-shot"),
        (("--dataset", "captions", "--owners", "x.npy"), "--owners is not for a checkpoint"),
        (("--dataset", "captions", "--sampler", "gate"), "no weights for the sampler gate"),
        (("--dataset", "captions", "--sampler", "gaet"), "did you mean 'gate'"),
        (("--dataset", "captions", "--rerank", "dls"), "did you mean 'dsl'"),
        (("--dataset", "captions", "--set", "head.trials=3"), "head.trials"),
        (("--dataset", "captions", "--annotations", "x"), "are for videos (--videos)"),
        (("again", "--dataset", "captions"), "one CHECKPOINT is evaluated at a time, not 2"),
    ],
)
def test_mistakes(capsys: Capture, folder: Path, words: tuple[str, ...], message: str) -> None:
    ran = here(capsys, "eval", str(folder / "adaclip"), *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_what_is_no_checkpoint(capsys: Capture, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"")
    (tmp_path / "run" / "last").mkdir(parents=True)
    for name, message in (
        ("weights.bin", "weights.bin is a file, not the folder of a checkpoint"),
        ("nothing", "nothing: no such folder"),
        ("run", "run is a run without best weights"),
    ):
        ran = evaluate(capsys, str(tmp_path / name))
        assert (ran.code, ran.out) == (2, "")
        assert message in ran.err
    shutil.copytree(folder / "adaclip" / "best", tmp_path / "run" / "last", dirs_exist_ok=True)
    ran = evaluate(capsys, str(tmp_path / "run"))
    assert f"hint: {tmp_path / 'run' / 'last'} is a checkpoint: give that\n" in ran.err
    ran = here(capsys, "eval", str(folder / "adaclip"), "--dataset", "folder", "--split", "val")
    assert ran.code == 2
    assert "videos of a folder have no captions that retrieval is measured by" in ran.err
    ran = here(capsys, "eval", "--dataset", "captions", "--videos", str(tmp_path))
    assert ran.code == 2
    assert "neither a checkpoint nor a backbone" in ran.err
    # A checkpoint of another method: its weights are not those of the head that is asked for.
    other = ("--set", "head=xpool")
    ran = evaluate(capsys, str(folder / "clip4clip"), *other)
    assert ran.code == 2
    assert "has no weights for the head xpool as it is set" in ran.err


def test_what_is_asked_for_is_refused_before_torch_is_imported(folder: Path) -> None:
    words = ("eval", str(folder / "adaclip"), "--dataset", "captions", "--owners", "x.npy")
    assert not imported(*words) & {"torch", "av", "rich"}
