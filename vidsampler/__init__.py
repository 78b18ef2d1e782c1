"""vidsampler chooses the frames of a video that matter.

    import vidsampler
    chosen = vidsampler.select("clip.mp4", k=8)

Names are imported when they are first used, so that `import vidsampler` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidsampler.embed import embed as embed
    from vidsampler.evaluate import evaluate as evaluate
    from vidsampler.extract import extract as extract
    from vidsampler.retriever import Retriever as Retriever
    from vidsampler.search.index import Index as Index
    from vidsampler.select import select as select
    from vidsampler.selection import Selection as Selection
    from vidsampler.shard import shard as shard
    from vidsampler.train import train as train
    from vidsampler.verify import verify as verify

__version__ = "0.1.0"
__all__ = [
    "Index",
    "Retriever",
    "Selection",
    "__version__",
    "embed",
    "evaluate",
    "extract",
    "select",
    "shard",
    "train",
    "verify",
]

_HOME = {
    "Index": "vidsampler.search.index",
    "Retriever": "vidsampler.retriever",
    "Selection": "vidsampler.selection",
    "embed": "vidsampler.embed",
    "evaluate": "vidsampler.evaluate",
    "extract": "vidsampler.extract",
    "select": "vidsampler.select",
    "shard": "vidsampler.shard",
    "train": "vidsampler.train",
    "verify": "vidsampler.verify",
}


class _Package(ModuleType):
    """Keeps `vidsampler.select` the function, although a module has the same name.

    The import system stores every imported submodule as an attribute of its package. Without
    this, `vidsampler.select` would be the function or the module, depending on what was imported
    before.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


sys.modules[__name__].__class__ = _Package
