"""torchrun, which says in a file which process failed first, in place of a page of text."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

from vidsampler.training.launch import ERRORS, FIRST


def main() -> int:
    """Takes torchrun's words; started by `launch`."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    try:
        torchrun(sys.argv[1:])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        facts = {"rank": rank, "exit_code": failure.exitcode}
        Path(os.environ[ERRORS], FIRST).write_text(json.dumps(facts), encoding="utf-8")
        return 1
    except SignalException as error:
        # The ranks were told too, and have saved.
        return 128 + int(error.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main())
