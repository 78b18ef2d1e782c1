"""Starts a command once for each process of a distributed run on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def under_torchrun() -> bool:
    """Whether this process is a rank already."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def launch(words: Sequence[str], processes: int) -> int:
    """Runs `vidsampler WORDS` in so many processes by torchrun, and waits for them.

    Ctrl-C and SIGTERM reach each of them once: they save and leave.

    Args:
        words: Of the command line.
        processes: How many.

    Returns:
        The exit code: 0; 130 where the user ended it; else 1.
    """
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        # After "--", torchrun does not take --run for the beginning of an option of its own.
        *("--nproc-per-node", str(processes), "-m", "--", "vidsampler", *words),
    ]
    # torchrun sets 1 with a warning otherwise; each process has its share of the machine.
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    # A group of its own: the terminal's Ctrl-C reaches this process alone, which passes it on.
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    asked = False

    def forward(number: int, frame: Any) -> None:
        nonlocal asked
        asked = True
        child.send_signal(signal.SIGTERM)

    before = {each: signal.signal(each, forward) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        return 130
    return 0 if code == 0 else 1
