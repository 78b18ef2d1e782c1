"""`main`: one sentence and the right exit code for every error, JSON where it was asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.running import CHECKOUT, apart, here
from vidsampler import __version__, registry
from vidsampler.cli.app import main
from vidsampler.errors import VidsamplerError

USAGE = [
    (["selct"], "select"),
    (["select", "a.mp4", "--smapler", "uniform"], "--sampler"),
    (["select", "a.mp4", "--bogus"], "--bogus"),
    (["select"], "VIDEOS"),
    (["select", "a.mp4", "-k"], "-k"),
    (["select", "a.mp4", "--csv=3"], "--csv"),
    (["completion"], "SHELL"),
    (["list", "samplers", "heads"], "heads"),
    (["list", "sampler"], "'samplers'"),
    (["--bogus"], "--bogus"),
]


@pytest.mark.parametrize(("words", "named"), USAGE, ids=lambda value: " ".join(value)[:40])
def test_bad_usage_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    ran = here(capsys, *words)
    assert ran.code == 2
    assert ran.out == ""
    error, hint = ran.err.splitlines()
    assert error.startswith("error: ")
    assert named in error
    assert hint.startswith("hint: see: vidsampler")


@pytest.mark.parametrize(("words", "named"), USAGE, ids=lambda value: " ".join(value)[:40])
def test_bad_usage_as_json(
    capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    ran = here(capsys, words[0], "--json", *words[1:]) if words else here(capsys, "--json")
    assert ran.code == 2
    assert ran.err == ""
    (error,) = ran.json.values()
    assert set(error) == {"code", "message", "hint"}
    assert error["code"] == "usage"
    assert named in error["message"]


def test_json_without_a_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "--json")
    assert (ran.code, ran.json["error"]["message"]) == (2, "no command was given")


def test_a_video_called_like_an_option_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "select", "--dry-run", "--", "--json")
    assert ran.code == 2
    assert ran.err == "error: --json: no such file\n"


def test_an_address_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "select", "--dry-run", "https://example.org/clip.mp4")
    assert ran.code == 2
    assert ran.err.endswith("no such file\nhint: only files are read: download it first\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert here(capsys, "--version").out == f"vidsampler {__version__}\n"
    assert here(capsys, "--version", "--json").json == {"version": __version__}


def test_an_unexpected_exception_is_an_internal_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(registry, "names", broken)
    ran = here(capsys, "list")
    assert ran.code == 1
    assert ran.err.splitlines()[0] == "error: internal error: KeyError: 'bug'"
    assert "--debug" in ran.err
    assert "Traceback" not in ran.err
    ran = here(capsys, "list", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "internal")
    ran = here(capsys, "list", "--json", "--debug")
    assert ran.json["error"]["code"] == "internal"
    assert "Traceback" in ran.err
    assert "KeyError: 'bug'" in ran.err


def test_a_failure_of_the_system_names_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device", "frames/1.jpg")

    monkeypatch.setattr(registry, "names", full)
    ran = here(capsys, "list")
    assert (ran.code, ran.err) == (1, "error: frames/1.jpg: No space left on device\n")


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (VidsamplerError("the disk is gone"), 1, "the disk is gone"),
    ],
)
def test_exit_codes_of_what_is_raised(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    message: str,
) -> None:
    def stop(_: str) -> None:
        raise raised

    monkeypatch.setattr(registry, "names", stop)
    ran = here(capsys, "list")
    assert (ran.code, ran.err) == (code, f"error: {message}\n")


def test_an_interrupt_ends_quickly_and_leaves_no_file(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "vidsampler", "select", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        cwd=CHECKOUT,
        text=True,
    )
    deadline = time.monotonic() + 20
    # Its temporary file shows that it waits for standard input now. (Python's own, with which it
    # looks whether it may write there, comes first and has another name.)
    while not list(tmp_path.glob("vidsampler-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.glob("vidsampler-*"))
    process.send_signal(signal.SIGINT)
    # Standard input stays open: the interrupt alone must end it.
    assert process.wait(20) == 130
    assert process.stdout is not None
    assert process.stderr is not None
    assert (process.stdout.read(), process.stderr.read()) == ("", "error: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["list"], ["--help"], ["completion", "zsh"]], ids=" ".join)
def test_a_reader_that_leaves_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-m", "vidsampler", *words],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=CHECKOUT,
        text=True,
        check=False,
    )
    os.close(writing)
    assert run.stderr.replace("none yet: heads, backbones, methods, datasets\n", "") == ""
    assert run.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "vidsampler", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=CHECKOUT,
            text=True,
            check=False,
        )
    assert run.returncode == 1
    assert run.stderr == "error: cannot write the output: No space left on device\n"


def test_a_name_that_no_locale_can_print() -> None:
    name = os.fsdecode(b"\xff[red]\x1b[31m.yaml")
    ran = apart("select", "a.mp4", "--config", name, PYTHONIOENCODING="ascii")
    assert ran.code == 2
    assert ran.err == (
        r"error: cannot read config \udcff[red]\x1b[31m.yaml: No such file or directory" "\n"
    )


def test_main_takes_the_words_of_the_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["vidsampler", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"vidsampler {__version__}\n"
