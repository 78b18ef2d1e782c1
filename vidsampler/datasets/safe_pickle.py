"""Pickle files of plain containers, read so that nothing in them can run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from vidsampler.errors import InputError


class _PlainUnpickler(pickle._Unpickler):
    """Refuses every name of a module, and with it every class and function.

    It is the standard library's own in Python, not the one in C: that one makes room for as many
    objects as the file says that it has, and a file of eight bytes can say four thousand million.
    The price is 0.8 s in place of 0.3 s for the captions of MSVD.
    """

    # A bytearray's room is made before its bytes are there, too.
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}; expected only lists, dicts, text and numbers"
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it asks for an object outside the file")


def read_plain_pickle(path: Path) -> Any:
    """Reads a pickle of lists, tuples, dicts, sets, text, bytes and numbers.

    Raises:
        InputError: It cannot be read, is damaged, or asks for anything else, which is refused.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be read: {reason}", code="unreadable") from error
    if not data:
        raise InputError(f"{path}: the file is empty", code="empty")
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
    except MemoryError as error:
        raise InputError(f"{path}: the pickle asks for too much memory", code="damaged") from error
    except Exception as error:
        # The documentation of pickle says that damaged data can raise any exception.
        reason = str(error) or type(error).__name__
        if not isinstance(error, pickle.UnpicklingError):
            reason = f"expected a pickle of lists, dicts, text and numbers ({reason})"
        raise InputError(
            f"{path}: the pickle cannot be read: {reason}",
            code="damaged",
            hint="nothing in it was run",
        ) from error
