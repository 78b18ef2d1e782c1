"""Threads that decode."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch


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
