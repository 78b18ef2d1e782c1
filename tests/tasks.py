"""Functions that worker processes of the tests run."""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from typing import Any

from vidsampler.errors import InputError


def act(task: Any) -> Any:
    """Does what the task says: a number is doubled, a word is a misfortune."""
    if task == "fail":
        raise InputError("x.mp4: it is bad", code="damaged", hint="throw it away")
    if task == "bug":
        raise ZeroDivisionError("no")
    if task == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "exit":
        os._exit(7)
    if task == "half an answer":
        os.write(int(sys.argv[1]), struct.pack("!i", 100) + b"so far")
        os._exit(7)
    if task == "hang":
        while True:
            time.sleep(1)
    if task == "pid":
        return os.getpid()
    return 2 * task
