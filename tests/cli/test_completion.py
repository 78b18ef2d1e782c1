"""The shell scripts in `completions/` are what the app and the registry give."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import CHECKOUT, here
from vidsampler import registry
from vidsampler.cli import completion

COMPLETIONS = CHECKOUT / "completions"


@pytest.mark.parametrize("shell", completion.FILES)
def test_the_committed_script_is_up_to_date(shell: str) -> None:
    committed = (COMPLETIONS / completion.FILES[shell]).read_text(encoding="utf-8")
    assert committed == completion.script(shell), "run: python -m vidsampler.cli.completion"


def test_nothing_else_lies_there(tmp_path: Path) -> None:
    completion.write(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {
        each.name for each in COMPLETIONS.iterdir()
    }


@pytest.mark.parametrize("shell", completion.FILES)
def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert here(capsys, "completion", shell).out == completion.script(shell)
    assert here(capsys, "completion", shell, "--json").json == {
        "shell": shell,
        "script": completion.script(shell),
    }


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "completion", "bsh")
    assert ran.code == 2
    assert "did you mean 'bash'?" in ran.err


@pytest.mark.parametrize("shell", completion.FILES)
def test_the_shell_takes_it(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    run = subprocess.run(
        [shell, "-n", str(COMPLETIONS / completion.FILES[shell])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def in_bash(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    program = (
        f'source "{COMPLETIONS}/vidsampler.bash"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        r' _vidsampler; [ ${#COMPREPLY[@]} = 0 ] || printf "%s\n" "${COMPREPLY[@]}"'
    )
    run = subprocess.run(
        ["bash", "-c", program, "bash", "vidsampler", *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
    )
    assert run.stderr == ""
    return run.stdout.splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sel"], ["select"]),
        (["select", "--sampler", ""], list(registry.names("samplers"))),
        (["select", "clip.mp4", "--sampler", "u"], ["uniform"]),
        (["select", "--fr"], ["--from", "--frames-dir"]),
        (["select", "--config", "qu"], ["quick"]),
        (["select", "-k", ""], []),
        (["select", "pyproj"], ["pyproject.toml"]),
        (["select", "--frames-dir", "pyproj"], []),
        (["list", ""], [*registry.KINDS, "runs"]),
        (["completion", "z"], ["zsh"]),
        (["env", ""], []),
    ],
    ids=lambda value: " ".join(value)[:40] or "nothing",
)
def test_what_bash_offers(words: list[str], offered: list[str]) -> None:
    assert in_bash(*words) == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_what_fish_offers() -> None:
    program = f"source {COMPLETIONS}/vidsampler.fish; complete -C 'vidsampler select --sampler '"
    run = subprocess.run(["fish", "-N", "-c", program], capture_output=True, text=True, check=True)
    offered = [line.partition("\t")[0] for line in run.stdout.splitlines()]
    assert offered == list(registry.names("samplers"))
