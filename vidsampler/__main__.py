"""The entry point: `vidsampler` and `python -m vidsampler`."""

from __future__ import annotations

import os
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

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
