"""What runs on the nodes of a Ray cluster: an actor that looks after one worker process, as the local engine does.

The actor imports nothing heavy and never dies of an utterance: its process does, and the actor sees how. So a crash
gives the same row as with the local engine, and Ray reports an actor as lost only where its node or its memory is.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import pickle
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from mmpipe.core.errors import MmpipeError
from mmpipe.extractors.registry import load_libraries
from mmpipe.pipeline.extraction.engines.worker import Worker, WorkerDied

__all__ = ["RayWorker"]

_Answer = tuple[bool, Any]
"""Whether a call was good, and its value or the error that it raised: Ray's own errors are those of the cluster."""


class RayWorker:
    """An actor with one worker process. `stop` may be called while another call runs.

    Args:
        environment: variables that the machine that started the run sets for its own workers.
        extractors: what they need is imported at once.
    """

    def __init__(self, environment: dict[str, str], extractors: Sequence[str]) -> None:
        # A spawned process imports its parent's main module: here it would import Ray, which no task needs.
        sys.modules["__main__"].__file__ = None
        os.environ.update(environment)
        self._first = partial(load_libraries, tuple(extractors))
        self._worker: Worker | None = None
        self._stopped = threading.Event()

    def hello(self) -> dict[str, str]:
        """Start the process; who is here, as plain values, which any other version of mmpipe can read."""
        self._worker = Worker(self._first)
        return {"mmpipe": importlib.metadata.version("mmpipe"), "host": socket.gethostname()}

    def agree(self, terms: bytes) -> _Answer:
        """What this worker lacks of the pickled terms of a run, see `agreement.disagreement`."""
        return self._call(partial(_disagreement, terms))

    def run(self, task: bytes) -> _Answer:
        """Run a pickled task; the value is its result as plain values."""
        return self._call(partial(_run, task), task)

    def stop(self) -> None:
        """End the process at once: when this returns, nothing is written any more."""
        self._stopped.set()
        for process in multiprocessing.active_children():
            process.kill()
            process.join()

    def _call(self, call: partial[Any], task: bytes | None = None) -> _Answer:
        self._worker = self._worker or Worker()
        try:
            return True, self._worker.call(call)
        except WorkerDied as death:
            self._worker = None
            if self._stopped.is_set():
                return False, None
            if task is None:
                return True, f"has a worker process that dies while it loads its libraries ({death})"
            return _made_again(task, death)
        except Exception as error:
            return False, _placed(error)


def _disagreement(terms: bytes) -> str | None:
    from mmpipe.pipeline.extraction.engines.agreement import disagreement

    return disagreement(pickle.loads(terms))


def _run(task: bytes) -> dict[str, Any]:
    from mmpipe.pipeline.extraction.tasks import run_task

    return asdict(run_task(pickle.loads(task)))


def _made_again(task: bytes, death: WorkerDied) -> _Answer:
    from mmpipe.pipeline.extraction.engines.crashes import make_again

    try:
        return True, asdict(make_again(pickle.loads(task), death))
    except Exception as error:
        return False, _placed(error)


def _placed(error: Exception) -> Exception:
    """The error, with the name of this machine in its text if it is one of mmpipe's."""
    if isinstance(error, MmpipeError) and len(error.args) == 1:
        error.args = (f"on {socket.gethostname()}: {error}",)
    return error
