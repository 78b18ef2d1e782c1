"""The README's examples do what they print."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vidsampler.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = {command.name for command in app.registered_commands if command.name}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def console() -> list[tuple[str, str]]:
    """(command, output) of every command of a console block."""
    found = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what the examples name, in which they may write."""
    (tmp_path / "tests").mkdir()
    shutil.copytree(ROOT / "tests" / "data", tmp_path / "tests" / "data")
    return tmp_path


def environment(checkout: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "VIDSAMPLER_CACHE": str(checkout / "cache"),
    }


def without_times(text: str) -> str:
    """Seconds that a run took differ from run to run."""
    text = re.sub(r'("(?:decode|sample)": )[\d.]+', r"\1TIME", text)
    return re.sub(r"^seconds +[\d.]+$", "seconds TIME", text, flags=re.MULTILINE).strip()


@pytest.mark.parametrize(("command", "output"), console(), ids=[c for c, _ in console()])
def test_commands(checkout: Path, command: str, output: str) -> None:
    program = f'"{sys.executable}" -m vidsampler'
    words = "|".join([*sorted(COMMANDS), "--"])
    shell = re.sub(rf"\bvidsampler (?={words})", f"{program} ", command)
    shell = re.sub(r"\bpython -c", lambda _: f'"{sys.executable}" -c', shell)
    run = subprocess.run(
        shell,
        shell=True,
        cwd=checkout,
        capture_output=True,
        text=True,
        env=environment(checkout) | {"COLUMNS": "80", "NO_COLOR": "1"},
        check=False,
    )
    assert "Traceback" not in run.stderr
    if output.strip():
        assert without_times(run.stdout + run.stderr) == without_times(output)
    else:
        assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("code", blocks("python"))
def test_python(checkout: Path, code: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=checkout,
        env=environment(checkout),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    printed = re.findall(r"# prints (.*)", code)
    assert run.stdout.splitlines() == printed


def test_there_are_examples() -> None:
    assert len(console()) >= 5
    assert blocks("python")


def test_every_relative_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target
