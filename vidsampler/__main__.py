"""`python -m vidsampler` is `vidsampler`."""

from __future__ import annotations

import sys

from vidsampler.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
