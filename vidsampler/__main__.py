"""The entry point: `vidsampler` and `python -m vidsampler`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Runs the command line; Ctrl-C while it is still being imported ends it quietly too.

    Returns:
        The exit code.
    """
    try:
        for name, mode in (("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY)):
            # Where a stream was closed by the caller, Python has None, and printing would fail.
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(os.open(os.devnull, mode), "w"))
        from vidsampler.cli.app import main as run

        code = run()
    except KeyboardInterrupt:
        code = 130
    # The result is said: another Ctrl-C while Python ends changes nothing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(main())
