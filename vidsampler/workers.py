"""Worker processes that a hanging or crashing task cannot harm.

A worker is a fresh Python (nothing is forked, and nothing of the caller's main module is run
again), so this works from scripts, notebooks and threads alike. Each works on one task at a time.
One that takes too long is killed and replaced; one that dies takes only its own task with it, and
that too only where it dies twice over it: the first time may have been anybody's doing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any

from vidsampler.errors import DeadlineError, InputError, VidsamplerError

GRACE = 5.0
"""Seconds that a worker has, beyond a task's deadline, to give up by itself."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]);"
    "from vidsampler.workers import serve; serve(int(sys.argv[1]), sys.argv[3])"
)


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Attributes:
        tag: What `WorkerPool.submit` was given to know it by.
        result: What the function returned.
        error: Why there is no result.
    """

    tag: Any
    result: Any = None
    error: VidsamplerError | None = None


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    tag: Any = None
    busy: bool = False
    end: float | None = None
    label: str = ""
    timeout: float | None = None
    ready: bool = False
    task: Any = None
    again: bool = False


@dataclass
class WorkerPool:
    """Processes that call one function.

    Args:
        function: "module:function"; called with one picklable argument.
        count: How many processes.

    Use it in a ``with`` block; leaving it ends the processes, whatever they are doing.
    """

    function: str
    count: int
    _workers: list[_Worker] = field(default_factory=list)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
        self._workers.clear()

    @property
    def idle(self) -> int:
        """How many tasks may be submitted now."""
        return self.count - self.running

    @property
    def running(self) -> int:
        """How many tasks are being worked on."""
        return sum(worker.busy for worker in self._workers)

    def submit(self, tag: Any, task: Any, label: str, timeout: float | None = None) -> None:
        """Gives a task to an idle worker.

        Args:
            tag: Comes back with the answer.
            task: The function's argument.
            label: What errors call it, such as a file's name.
            timeout: Seconds after which it is given up; None: no limit.
        """
        for dead in [each for each in self._workers if each.process.poll() is not None]:
            if not dead.busy:  # it was killed between two tasks, and takes none with it
                self._discard(dead)
        worker = next((each for each in self._workers if not each.busy), None)
        if worker is None:
            worker = self._start()
            self._workers.append(worker)
        self._give(worker, tag, task, label, timeout)

    def _give(
        self, worker: _Worker, tag: Any, task: Any, label: str, timeout: float | None
    ) -> None:
        worker.tag, worker.task, worker.label = tag, task, label
        worker.timeout, worker.busy = timeout, True
        worker.end = None if timeout is None else time.monotonic() + timeout + GRACE
        # If it has died, `wait_some` notices.
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            worker.pipe.send(task)

    def wait_some(self, seconds: float = 0.5) -> list[Answer]:
        """The answers that have come, after waiting for one at most so long.

        Raises:
            VidsamplerError: A worker cannot even start.
        """
        end = time.monotonic() + seconds
        answers: list[Answer] = []
        while self.running and not answers:
            left = end - time.monotonic()
            answers += self._look(max(0.0, left))
            if left <= 0:
                break
        return answers

    def _look(self, seconds: float) -> list[Answer]:
        busy = {worker.pipe: worker for worker in self._workers if worker.busy}
        answers = []
        for pipe in wait(list(busy), seconds):
            assert isinstance(pipe, Connection)
            if (answer := self._receive(busy[pipe])) is not None:
                answers.append(answer)
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.busy and worker.end is not None and now > worker.end:
                self._discard(worker)
                error = DeadlineError(
                    f"{worker.label}: not done after {worker.timeout:g} s, and hanging",
                    hint="give it longer with --timeout SECONDS",
                )
                answers.append(Answer(worker.tag, error=error))
        return answers

    def _receive(self, worker: _Worker) -> Answer | None:
        """What a worker sent: that it is ready, or an answer."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):  # OSError: it died in the midst of a message
            code = self._discard(worker)
            if not worker.ready and code >= 0:
                raise VidsamplerError(
                    f"a worker process could not start: it ended with exit code {code}",
                    hint="what it printed tells why; see also: vidsampler env",
                    code="worker",
                ) from None
            if not worker.again:
                fresh = self._start()
                fresh.again = True
                self._workers.append(fresh)
                self._give(fresh, worker.tag, worker.task, worker.label, worker.timeout)
                return None
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            died = InputError(
                f"{worker.label}: the worker process was ended {how} while it read the file, twice",
                code="crashed",
            )
            return Answer(worker.tag, error=died)
        if not worker.ready:
            worker.ready = True
            return None
        worker.busy = worker.again = False
        worker.task = None
        result, error = message
        return Answer(worker.tag, result, error)

    def _discard(self, worker: _Worker) -> int:
        """Ends a worker; gives its exit code."""
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.kill()
        return worker.process.wait()

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), _paths(), self.function],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-C at the terminal is for the main process to act on.
                start_new_session=True,
            )
        return _Worker(process, Connection(ours.detach()))


def _paths() -> str:
    # "" means the current folder, and stays what it is for whoever starts Python.
    return json.dumps([os.path.abspath(path) if path == "" else path for path in sys.path])


def _end_with_parent() -> None:
    """Has this process killed when the one that started it is: it may hang, and see nothing."""
    if sys.platform == "linux":
        import ctypes

        parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


def serve(descriptor: int, function: str) -> None:
    """A worker's life: a task in, an answer out, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    module, _, name = function.partition(":")
    call = getattr(import_module(module), name)
    with Connection(descriptor) as pipe:
        pipe.send("ready")
        while True:
            try:
                task = pipe.recv()
            except (EOFError, ConnectionError):
                return
            answer: tuple[Any, VidsamplerError | None]
            try:
                answer = call(task), None
            except VidsamplerError as error:
                answer = None, error
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                answer = None, VidsamplerError(f"internal error: {what}", code="internal")
            try:
                pipe.send(answer)
            except (BrokenPipeError, ConnectionError):
                return
