"""Threads that decode."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def start_threads(count: int) -> ThreadPoolExecutor:
    """Threads in which PyTorch uses no threads of its own: there are enough of them."""
    started = threading.Barrier(count + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread takes over what was set last when it first asks: now
        started.wait()

    pool = ThreadPoolExecutor(count, "decode", initializer=begin)
    for _ in range(count):
        pool.submit(int)  # starts a thread, for those before are not free yet
    started.wait()
    # Threads that others begin later are to take over what was set before.
    torch.set_num_threads(torch.get_num_threads())
    return pool


def submit(
    pool: ThreadPoolExecutor | None, call: Callable[..., Any], *args: Any
) -> Callable[[], Any]:
    """Waits for a call that a pool does, or does it now where there is none."""
    if pool is None:
        result = call(*args)
        return lambda: result
    future: Future[Any] = pool.submit(call, *args)
    return future.result


def begun_ahead(
    begin: Callable[[int], Callable[[], T]], steps: Iterable[int], ahead: int
) -> Generator[T, None, None]:
    """What comes of some steps, in their order, while later ones are being worked on.

    Args:
        begin: Starts the work of a step; what it gives waits for the work's end.
        steps: Their numbers.
        ahead: So many are begun at once, the one that is waited for among them.
    """
    left = iter(steps)
    waiting: deque[Callable[[], T]] = deque()
    while True:
        while len(waiting) < ahead and (step := next(left, None)) is not None:
            waiting.append(begin(step))
        if not waiting:
            return
        done = waiting.popleft()()
        yield done
        del done  # else its memory would not be free for the next one
