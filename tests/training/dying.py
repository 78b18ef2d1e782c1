"""A rank that dies in the midst of an evaluation; started by torchrun in place of `vidsampler`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from vidsampler.cli.app import main
from vidsampler.retriever import Retriever

_embed_videos = Retriever.embed_videos


def embed_videos(self: Retriever, *given: Any) -> Any:
    """Rank 1 is gone while rank 0 waits for what it has made."""
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return _embed_videos(self, *given)


if __name__ == "__main__":
    Retriever.embed_videos = embed_videos  # type: ignore[assignment, method-assign]
    # torchrun ends the other as soon as it sees it; here it has the time to say something.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(main())
