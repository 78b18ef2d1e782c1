"""Runs the command line as a user does, in a process of its own or in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vidsampler.cli.app import main

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Ran:
    """What a run gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


def here(capsys: pytest.CaptureFixture[str], *words: str) -> Ran:
    """Runs the command line in this process."""
    code = main(words)
    captured = capsys.readouterr()
    return Ran(code, captured.out, captured.err)


def apart(*words: str, python: Sequence[str] = (), **settings: str) -> Ran:
    """Runs the command line in a process of its own.

    Args:
        words: The words after "vidsampler".
        python: Options of Python itself.
        settings: Environment variables to set.
    """
    run = subprocess.run(
        [sys.executable, *python, "-m", "vidsampler", *words],
        capture_output=True,
        text=True,
        env=os.environ | settings,
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Ran(run.returncode, run.stdout, run.stderr)


def imported(*words: str) -> set[str]:
    """The names of all modules that a run imports."""
    ran = apart(*words, python=("-X", "importtime"))
    lines = [line for line in ran.err.splitlines() if line.startswith("import time:")]
    assert len(lines) > 50
    return {line.rpartition("|")[2].strip() for line in lines}
