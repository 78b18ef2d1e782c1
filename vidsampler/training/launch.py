"""Starts a command once for each process of a distributed run on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vidsampler.errors import RANK_LOST, VidsamplerError

ERRORS = "VIDSAMPLER_RANK_ERRORS"
"""The folder in which ranks that `launch` started leave their errors, in place of printing them:
when one fails all others do, and only the first has something to say."""
PROCESS = "{rank}.pid"
"""Left there by a rank that saves and leaves when it is asked to."""
FIRST = "first.json"
CODE = "code"


def under_torchrun() -> bool:
    """Whether this process is a rank already."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def launched() -> bool:
    """Whether this process is a rank that `launch` started."""
    return under_torchrun() and ERRORS in os.environ


def launch(words: Sequence[str], processes: int) -> int:
    """Runs `vidsampler WORDS` in so many processes by torchrun, and waits for them.

    Ctrl-C, SIGTERM and a terminal that closes reach each of them once: they save and leave. A
    second one kills them.

    Args:
        words: Of the command line.
        processes: How many.

    Returns:
        The exit code: what `leave_code` was told, or 130 where the user ended it.

    Raises:
        VidsamplerError: That of the process which failed first, or that it was killed.
    """
    with tempfile.TemporaryDirectory(prefix="vidsampler-") as errors:
        command = [
            *(sys.executable, "-m", "vidsampler.training.torchrun", "--standalone"),
            # After "--", torchrun does not take --run for the beginning of an option of its own.
            *("--nproc-per-node", str(processes), "-m", "--", "vidsampler", *words),
        ]
        # torchrun sets 1 with a warning otherwise; each process has its share of the machine.
        threads = max(1, len(os.sched_getaffinity(0)) // processes)
        environment = {
            "OMP_NUM_THREADS": str(threads),
            # Of gloo and nccl; what a user can do about a lost connection, we say.
            "TORCH_CPP_LOG_LEVEL": "FATAL",
            **os.environ,
            ERRORS: errors,
        }
        code, asked = _wait(command, environment, Path(errors), processes)
        found = cause(Path(errors), processes)
        if found is not None and not (asked and found.code == RANK_LOST):
            raise found
        if code and not asked:
            raise VidsamplerError(f"torchrun ended with code {code}", hint="see what it says above")
        left = Path(errors, CODE)
        if code:
            return 130
        # Whoever asked when all was done was too late to change anything.
        return int(left.read_text(encoding="ascii")) if left.is_file() else 0


def _wait(
    command: Sequence[str], environment: dict[str, str], folder: Path, processes: int
) -> tuple[int, bool]:
    """The exit code of torchrun, and whether the user ended it."""
    # A group of its own: the terminal's Ctrl-C reaches this process alone, which passes it on.
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    asked = False

    def forward() -> None:
        nonlocal asked
        ranks = _ranks(folder, processes)
        for rank in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank, signal.SIGKILL if asked else signal.SIGTERM)
        # torchrun kills ranks that have not left in half a minute, and a step, with what is to be
        # saved, may take longer. Ranks that have nothing to save yet end by it at once.
        if not ranks:
            child.send_signal(signal.SIGTERM)
        asked = True

    with forwarding(forward):
        code = child.wait()
    return code, asked


def _ranks(folder: Path, processes: int) -> list[int]:
    """The processes of all ranks, once each of them saves when it is asked to leave."""
    paths = [folder / PROCESS.format(rank=rank) for rank in range(processes)]
    try:
        return [int(path.read_text(encoding="ascii")) for path in paths]
    except (OSError, ValueError):
        return []


@contextlib.contextmanager
def forwarding(forward: Callable[[], None]) -> Iterator[None]:
    """Calls this in place of ending, at Ctrl-C, SIGTERM, and when the terminal closes."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    # One that is started by nohup is to outlive its terminal.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {each: signal.signal(each, lambda number, frame: forward()) for each in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_error(error: VidsamplerError) -> bool:
    """Leaves a rank's error to `launch`; False where it has not started this process."""
    if not launched():
        return False
    facts = {**error.to_json(), "exit_code": error.exit_code}
    path = Path(os.environ[ERRORS], f"{os.environ['RANK']}.json")
    path.write_text(json.dumps(facts), encoding="utf-8")
    return True


def leave_process() -> None:
    """Tells `launch` that this rank, from now on, saves and leaves when it is asked to."""
    if launched():
        path = Path(os.environ[ERRORS], PROCESS.format(rank=os.environ["RANK"]))
        path.write_text(str(os.getpid()), encoding="ascii")


def leave_code(code: int) -> None:
    """Leaves the exit code of a run that has worked to `launch`, if that started this process."""
    if launched():
        Path(os.environ[ERRORS], CODE).write_text(str(code), encoding="ascii")


def cause(folder: Path, processes: int) -> VidsamplerError | None:
    """Why ranks failed: the error of one that has lost no other, or the signal that killed one.

    Args:
        folder: Where they left their errors, and torchrun its own account in `FIRST`.
        processes: How many there were.
    """
    errors = [
        _as_error(json.loads(path.read_text(encoding="utf-8")))
        for rank in range(processes)
        if (path := folder / f"{rank}.json").is_file()
    ]
    # What a lost connection is called depends on torch; a process that was killed is more certain.
    told = [error for error in errors if error.code not in (RANK_LOST, "internal")]
    if told:
        return told[0]
    killed = _killed(folder, processes)
    if killed is not None:
        return killed
    return next(
        (error for error in errors if error.code != RANK_LOST), errors[0] if errors else None
    )


def _killed(folder: Path, processes: int) -> VidsamplerError | None:
    """What torchrun says of the process that ended first, if a signal ended it."""
    if not (folder / FIRST).is_file():
        return None
    first = json.loads((folder / FIRST).read_text(encoding="utf-8"))
    if first["exit_code"] >= 0:
        return None
    name = signal.Signals(-first["exit_code"]).name
    return VidsamplerError(
        f"process {first['rank']} of {processes} (they count from 0) was killed by {name}",
        hint="SIGKILL often means that memory ran out: take a smaller --batch-size or less "
        "--workers, and run it again; train goes on from its last checkpoint, which is whole, "
        "with --resume auto",
        code=RANK_LOST,
    )


def _as_error(facts: dict[str, Any]) -> VidsamplerError:
    error = VidsamplerError(facts["message"], hint=facts["hint"], code=facts["code"])
    error.exit_code = facts["exit_code"]  # type: ignore[misc]
    return error
