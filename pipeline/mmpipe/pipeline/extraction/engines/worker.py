"""One worker process at the end of a pipe: it runs calls one at a time, and its death is an error that can be caught.

A pool of the standard library breaks as a whole when one process dies, and does not say which call killed it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Worker", "WorkerDied"]

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
}
"""What a worker starts with. torch, NumPy and OpenCV take their number of threads from it: workers x threads stay
within the cores. glibc keeps freed memory for a network's next call instead of asking the kernel for new pages."""
_CONTEXT = multiprocessing.get_context("spawn")
_FAREWELL_SECONDS = 5.0


class WorkerDied(Exception):  # noqa: N818 - it is caught by the engine, which finds the culprit
    """A worker process died while it ran a call; the text says how."""


class Worker:
    """A process with one thread a library, started at once. It ends when `stop` is called or this process dies.

    Args:
        first: what the process calls before anything is sent to it.
    """

    def __init__(self, first: Callable[[], None] | None = None) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, first), daemon=True)
        self._was_asked = False
        # Libraries read these variables when they are loaded. SIGINT stays blocked in the worker (the parent answers
        # Ctrl-C for all), if only the tracker runs already: starting it would unblock SIGINT.
        resource_tracker.ensure_running()
        saved = {name: os.environ.get(name) for name in _ENVIRONMENT}
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        os.environ.update(_ENVIRONMENT)
        try:
            self._process.start()
        finally:
            for name, value in saved.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()

    def send(self, call: Callable[[], Any]) -> None:
        """Let the process run `call` (picklable); its answer is fetched with `answer`.

        A process that died meanwhile shows in `answer`.
        """
        self._was_asked = True
        try:
            self.connection.send(call)
        except (BrokenPipeError, ConnectionResetError):
            self._process.join(_FAREWELL_SECONDS)

    def answer(self) -> Any:
        """Wait for the call's answer and return it.

        Raises:
            WorkerDied: the process died.
            Exception: what the call raised, with the worker's traceback as a note.
        """
        try:
            good, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(_FAREWELL_SECONDS)
            raise WorkerDied(_death(self._process.exitcode)) from None
        if good:
            return value
        raise value

    def call(self, call: Callable[[], Any]) -> Any:
        """Send a call and wait for its answer; errors as in `answer`."""
        self.send(call)
        return self.answer()

    def stop(self) -> None:
        """End the process after its present call; kill it if that takes long, or if nothing was asked of it yet."""
        self.connection.close()
        if self._was_asked:
            self._process.join(_FAREWELL_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join(_FAREWELL_SECONDS)
        self.connection.close()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hints = {"SIGKILL": " (out of memory?)", "SIGILL": " (an instruction that this processor lacks)"}
        hint = hints.get(name, "")
        return f"killed by {name}{hint}"
    return f"exited with code {code}"


def _serve(connection: Connection, first: Callable[[], None] | None) -> None:
    """The worker's loop: receive a call, run it, send its answer."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    if first is not None:
        first()
    while True:
        try:
            call = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, call())
        except Exception as error:  # it is raised again where the call was asked for
            error.add_note("in the worker process:\n" + traceback.format_exc())
            answer = (False, error)
        connection.send(answer)


def _die_with(sentinel: int) -> None:
    """End this process when its parent dies: nobody waits for its shard any more."""
    wait([sentinel])
    os._exit(1)
