"""`vidsampler train --run 'mmsampler/*'`: several published runs, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from vidsampler.cli.output import INTERRUPTED, SOME_FAILED, Output
from vidsampler.errors import UsageError, VidsamplerError
from vidsampler.train_many import NUMBERS, TABLE, plan_runs, table_json, table_of
from vidsampler.training.launch import forwarding

_OWN = ("run", "output", "shards", "resume", "dry_run", "json")


def train_many(context: typer.Context, out: Output) -> None:
    """Trains all published runs that --run fits, each as a command of its own.

    What is trained already costs a look; what was begun goes on; a run that fails does not keep
    the others from theirs.

    Args:
        context: Of `train`, whose other flags are for every run.
        out: The sink.

    Raises:
        UsageError, InputError: As `plan_runs`; or a --resume that is for a single run.
        typer.Exit: Some runs failed or left videos out, or the user ended it.
    """
    given = context.params
    if given["resume"] not in (None, "auto"):
        raise UsageError(
            "--resume RUN is for a single run", hint="several runs go on by themselves"
        )
    shards = None if given["shards"] is None else Path(given["shards"])
    planned = plan_runs(given["run"], given["output"] or Path("runs"), shards)
    failed: dict[str, VidsamplerError] = {}
    code, some_left_out = 0, False
    for each in [] if given["dry_run"] else planned:
        if each.state() == "trained":
            continue
        out.note(f"{each.name}: {each.folder}")
        # The user's own words come last: their --sampler-from wins.
        code, said = start(["train", *each.words(), *_shared(context), "--json"])
        if code == INTERRUPTED:
            break
        if code == SOME_FAILED:
            some_left_out = True
        elif code:
            error = said.get("error", {})
            message = error.get("message", f"it ended with {code} and said nothing")
            failed[each.name] = VidsamplerError(message, hint=error.get("hint"))
            out.note(f"{each.name} failed: {message}")
    if out.json:
        errors = {name: error.to_json() for name, error in failed.items()}
        out.result(
            {"runs": [{**each, "error": errors.get(each["run"])} for each in table_json(planned)]}
        )
    else:
        out.table(TABLE, table_of(planned), numbers=NUMBERS)
    if code == INTERRUPTED:
        out.note("interrupted: run the same command again to go on")
        raise typer.Exit(INTERRUPTED)
    if failed:
        out.note(f"{len(failed)} of {len(planned)} runs failed: {', '.join(failed)}")
    if failed or some_left_out:
        raise typer.Exit(SOME_FAILED)


def start(words: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Runs a command in a process of its own, which has the terminal for what it says meanwhile.

    Returns:
        Its exit code, or 130 where the user ended it, whatever it made of that; and its JSON
        object, an empty one where it printed none.
    """
    command = [sys.executable, "-m", "vidsampler", *words]
    # A group of its own: Ctrl-C reaches this process alone, which passes it on.
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)

    asked = False

    def forward() -> None:
        nonlocal asked
        asked = True
        child.terminate()

    with forwarding(forward):
        text, _ = child.communicate()
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    return INTERRUPTED if asked else child.returncode, said


def _shared(context: typer.Context) -> list[str]:
    """The flags of the command that are for each run alike."""
    words: list[str] = []
    for option in context.command.params:
        value = context.params.get(str(option.name))
        if option.name in _OWN or value is None or value is False:
            continue
        flag = max(option.opts, key=len)
        if value is True:
            words.append(flag)
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [flag, str(each)]
    return words
