"""Ctrl-C that asks first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stop:
    """Whether the run is to end: the first Ctrl-C (or SIGTERM) asks, the second interrupts.

    Use it in a ``with`` block around the run; outside the main thread it does nothing.

    Args:
        asked: Called when the first one comes.
        patient: The second one does nothing either: a launcher passes Ctrl-C on to processes that
            the terminal has told of it already.
    """

    def __init__(self, asked: Callable[[], None] | None = None, *, patient: bool = False) -> None:
        self.requested = False
        self._asked = asked
        self._patient = patient
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def until_closing(self) -> Iterator[None]:
        """The block in which a second one interrupts: what is open around it closes in peace.

        It comes last in a ``with`` statement: ``with Stop() as stop, file, stop.until_closing():``.
        """
        try:
            yield
        finally:
            self._patient = True

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self._patient:
            raise KeyboardInterrupt
        if self.requested:
            return
        self.requested = True
        if self._asked is not None:
            self._asked()
