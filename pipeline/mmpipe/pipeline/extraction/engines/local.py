"""The local engine: processes on this machine, one thread each.

A process that dies costs the utterance that killed it: its shard is made again alone, by halves, until the utterances
on which it dies are found. Stages whose model runs on a GPU have one process of their own, so that the others decode
meanwhile.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any

import pyarrow as pa

from mmpipe.core.environment import MAX_EQUAL_FAILURES
from mmpipe.core.errors import ResourceError, StoreError
from mmpipe.extractors.registry import load_libraries
from mmpipe.pipeline.extraction.engines.worker import Worker, WorkerDied
from mmpipe.pipeline.extraction.tasks import (
    Task,
    TaskResult,
    due_places,
    finish_task,
    lost_row,
    make_rows,
    prepare_task,
    run_task,
)
from mmpipe.pipeline.hardware import available_cores

__all__ = ["LocalEngine"]

_Key = tuple[str, int]


class LocalEngine:
    """Runs tasks in `workers` processes. Use it as a context manager; several extractions can share it.

    Args:
        workers: number of processes; None takes the cores that this process may use.
        extractors: names of the extractors that will be asked for. The processes start at once and import what these
            need, so that they are ready when the tasks are.
    """

    def __init__(self, workers: int | None = None, extractors: Sequence[str] = ()) -> None:
        self.workers = workers or available_cores()
        self._extractors = extractors
        self._pool: dict[str, list[Worker]] = {"cpu": [], "cuda": []}
        self._lone: Worker | None = None
        self._killed = 0

    def __enter__(self) -> LocalEngine:
        if self._extractors:
            first = partial(load_libraries, self._extractors)
            self._pool["cpu"] = [Worker(first) for _ in range(self.workers)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        everyone = [*self._pool["cpu"], *self._pool["cuda"], *([self._lone] if self._lone else [])]
        if error is None:
            for worker in everyone:
                worker.connection.close()  # so that all free their models at the same time
        for worker in everyone:
            worker.kill() if error is not None else worker.stop()
        self._pool, self._lone = {"cpu": [], "cuda": []}, None

    def run(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
        """Run tasks in order, each after the task that makes its upstream shard; yield results as they come.

        Raises:
            StoreError: a worker process dies already when it loads its model.
            MmpipeError: what a task raised.
        """
        due = {(task.stage.name, task.shard): task for task in tasks}
        running: dict[Worker, Task] = {}
        while due or running:
            self._hand_out(due, running)
            at = {worker.connection: worker for worker in running}
            for connection in wait(list(at)):
                worker = at[connection]  # type: ignore[index]  # wait answers with what it was given
                task = running.pop(worker)
                try:
                    result = worker.answer()
                except WorkerDied as death:
                    self._pool[_lane(task)].remove(worker)
                    result = self._recover(task, death)
                yield result

    def _hand_out(self, due: dict[_Key, Task], running: dict[Worker, Task]) -> None:
        """Give every free worker the first task that it may run; start workers as long as there is work for them."""
        unfinished = {*due, *((task.stage.name, task.shard) for task in running.values())}
        for key, task in list(due.items()):
            if task.stage.needs and (task.stage.needs, task.shard) in unfinished:
                continue
            worker = self._free(_lane(task), running)
            if worker is None:
                if not any(self._has_room(lane, running) for lane in self._pool):
                    return
                continue
            worker.send(partial(run_task, due.pop(key)))
            running[worker] = task

    def _size(self, lane: str) -> int:
        return self.workers if lane == "cpu" else 1

    def _has_room(self, lane: str, running: dict[Worker, Task]) -> bool:
        return sum(_lane(task) == lane for task in running.values()) < self._size(lane)

    def _free(self, lane: str, running: dict[Worker, Task]) -> Worker | None:
        free = next((worker for worker in self._pool[lane] if worker not in running), None)
        if free is None and len(self._pool[lane]) < self._size(lane):
            free = Worker()
            self._pool[lane].append(free)
        return free

    def _recover(self, task: Task, death: WorkerDied) -> TaskResult:
        """Make the shard of a task whose worker died; the utterances that kill a process get a row that says so."""
        began, self._killed = time.perf_counter(), 0
        try:
            self._alone(partial(prepare_task, task))
            places = due_places(task)
            tables = self._halves(task, places)
        except WorkerDied as again:
            raise StoreError(
                f"a worker process died while it made shard {task.shard} of stage {task.stage.name!r} ({death}), and "
                f"dies again while it loads {task.stage.extractor!r} ({again}); finished shards are safe: run the same "
                "command again, with fewer --workers if memory was short"
            ) from again
        finally:
            if self._lone:
                self._lone.stop()
                self._lone = None
        return finish_task(task, places, tables, time.perf_counter() - began)

    def _halves(self, task: Task, places: Sequence[int]) -> list[pa.Table]:
        """The rows at `places`, made in a process of their own; where it dies, each half in turn."""
        call = partial(make_rows, task, places)
        try:
            return [self._alone(call)]
        except WorkerDied:
            if len(places) > 1:
                middle = len(places) // 2
                return self._halves(task, places[:middle]) + self._halves(task, places[middle:])
        try:
            return [self._alone(call)]
        except WorkerDied as death:
            self._refuse_killing(task, death)
            message = f"the process that made this row alone died twice: {death}"
            return [self._alone(partial(lost_row, task, places[0], message))]

    def _refuse_killing(self, task: Task, death: WorkerDied) -> None:
        """Stop the run where the system kills the processes of several rows of a task: then its memory is too small."""
        self._killed += signal.SIGKILL.name in str(death)
        if self._killed >= MAX_EQUAL_FAILURES:
            raise ResourceError(
                f"{task}: the processes of {self._killed} utterances that were made alone were {death}; no row was "
                "written for them and finished shards are safe: free memory, or take fewer --workers, then run the "
                "same command again"
            )

    def _alone(self, call: Callable[[], Any]) -> Any:
        self._lone = self._lone or Worker()
        try:
            return self._lone.call(call)
        except WorkerDied:
            self._lone = None
            raise


def _lane(task: Task) -> str:
    """Where a task runs: stages that call a model on a GPU share one process, so that its memory holds them."""
    return task.stage.device
