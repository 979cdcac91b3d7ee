"""The local engine: a pool of processes on this machine, one thread each."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

from mmpipe.manifests.errors import StoreError
from mmpipe.pipeline.tasks import Task, TaskResult, run_task

__all__ = ["LocalEngine", "available_cores"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def available_cores() -> int:
    """Cores that this process may use (a job's share, not the machine's)."""
    return len(os.sched_getaffinity(0))


def _start_worker() -> None:
    """One thread a process: workers x threads stay within the cores."""
    import signal

    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C for all
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


class LocalEngine:
    """Runs tasks in `workers` processes. Use it as a context manager; several extractions can share it.

    Args:
        workers: number of processes; None takes the cores that this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or available_cores()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            if error is not None:
                for process in list((self._pool._processes or {}).values()):
                    process.terminate()
            self._pool.shutdown(wait=error is None, cancel_futures=True)
            self._pool = None

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # OpenMP reads its variables when a library is loaded, before any code of the worker runs.
            saved = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
            os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_start_worker)
            for _ in range(self.workers):
                self._pool.submit(os.getpid)  # a process starts with each call, as long as none is idle
            for name, value in saved.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        return self._pool

    def run(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
        """Run tasks in order, each after the task that makes its upstream shard; yield results as they come.

        Raises:
            StoreError: a worker process died.
            MmpipeError: what a task raised.
        """
        pool = self._start()
        due = {(task.stage.name, task.shard): task for task in tasks}
        running: dict[Future[TaskResult], tuple[str, int]] = {}
        while due or running:
            self._submit(pool, due, running)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                task_key = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool as error:
                    raise StoreError(
                        f"a worker process died while it made shard {task_key[1]} of stage {task_key[0]!r} "
                        "(out of memory, or a crash in a decoder); finished shards are safe: run the same command "
                        "again, with fewer --workers if memory was short"
                    ) from error

    def _submit(
        self,
        pool: ProcessPoolExecutor,
        due: dict[tuple[str, int], Task],
        running: dict[Future[TaskResult], tuple[str, int]],
    ) -> None:
        """Keep every worker busy and one task waiting for each, so that a stop loses little."""
        unfinished = {*due, *running.values()}
        for key, task in list(due.items()):
            if len(running) >= 2 * self.workers:
                return
            if task.stage.needs and (task.stage.needs, task.shard) in unfinished:
                continue
            running[pool.submit(run_task, due.pop(key))] = key
