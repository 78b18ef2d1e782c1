"""Help is quick, narrow, and has an example for every command."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.cli.running import CHECKOUT, here, imported
from vidsampler.cli.app import app

GROUP: Any = typer.main.get_command(app)
COMMANDS = tuple(GROUP.commands)


def test_the_commands() -> None:
    assert COMMANDS == (
        "select",
        "extract",
        "shard",
        "verify",
        "train",
        "eval",
        "embed",
        "search",
        "flops",
        "import",
        "export",
        "list",
        "env",
        "completion",
    )


def test_help_takes_little_more_than_typer_itself(tmp_path: Path) -> None:
    """Beside the smallest app of two commands; a machine's speed is in both."""
    smallest = tmp_path / "smallest.py"
    smallest.write_text(
        "import typer\n"
        "app = typer.Typer(add_completion=False, rich_markup_mode=None)\n"
        "app.command('one')(lambda: None)\n"
        "app.command('two')(lambda: None)\n"
        "app()\n"
    )

    def seconds(*words: str) -> float:
        # Of a processor: the machine may be busy with other tests.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *words, "--help"], cwd=CHECKOUT, capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    pairs = [(seconds("-m", "vidsampler"), seconds(str(smallest))) for _ in range(7)]
    ours, theirs = (min(column) for column in zip(*pairs, strict=True))
    assert 0 < ours < 3 * theirs


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("select", "--help"),
        ("eval", "--help"),
        ("--version",),
        ("list",),
        ("completion", "bash"),
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported_for_help_and_completion(words: tuple[str, ...]) -> None:
    heavy = {"torch", "numpy", "av", "PIL", "rich", "webdataset", "open_clip"}
    assert not imported(*words) & heavy


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns_and_ends_with_an_example(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words = [command] if command else []
    ran = here(capsys, *words, "--help")
    assert ran.code == 0
    assert ran.err == ""
    lines = ran.out.rstrip().splitlines()
    assert max(map(len, lines)) <= 80
    assert "Example" in ran.out
    assert "vidsampler" in lines[-1]
    # A cut summary in the list of commands.
    assert "..." not in ran.out.partition("Commands:")[2]
    assert here(capsys, *words, "-h").out == ran.out


def test_no_words_give_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert here(capsys).out.strip() == here(capsys, "--help").out.strip()


def test_defaults_in_the_help_are_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    from vidsampler import registry
    from vidsampler.config import SelectConfig

    default = SelectConfig().explicit()
    text = " ".join(here(capsys, "select", "--help").out.split())
    for flag, value in (
        ("--top-k K", f"the checkpoint's, or {default.k}"),
        ("--sampler NAME", registry.default_sampler()),
        ("--candidates N", f"the checkpoint's, or {default.candidates}"),
        ("--seed S", default.seed),
        ("--pretrained TAG", default.pretrained),
        ("--precision P", default.precision),
    ):
        assert f"[default: {value}]" in text.partition(flag)[2][:80]
