"""The local engine: processes on this machine, one thread each.

A process that dies costs the utterance that killed it: its shard is made again alone, by halves, until the utterances
on which it dies are found. Stages whose model runs on a GPU have one process of their own, so that the others decode
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import wait
from types import TracebackType
from typing import ClassVar

from mmpipe.extractors.registry import load_libraries
from mmpipe.pipeline.extraction.engines.crashes import make_again
from mmpipe.pipeline.extraction.engines.schedule import Schedule, lane_of
from mmpipe.pipeline.extraction.engines.worker import Worker, WorkerDied
from mmpipe.pipeline.extraction.tasks import Task, TaskResult, run_task
from mmpipe.pipeline.hardware import available_cores

__all__ = ["LocalEngine"]


class LocalEngine:
    """Runs tasks in `workers` processes. Use it as a context manager; several extractions can share it.

    Args:
        workers: number of processes; None takes the cores that this process may use.
        extractors: names of the extractors that will be asked for. The processes start at once and import what these
            need, so that they are ready when the tasks are.
    """

    options: ClassVar[tuple[str, ...]] = ()
    is_remote: ClassVar[bool] = False

    def __init__(self, workers: int | None = None, extractors: Sequence[str] = ()) -> None:
        self.workers = workers or available_cores()
        self._extractors = extractors
        self._pool: dict[str, list[Worker]] = {"cpu": [], "cuda": []}

    def __enter__(self) -> LocalEngine:
        if self._extractors:
            first = partial(load_libraries, self._extractors)
            self._pool["cpu"] = [Worker(first) for _ in range(self.workers)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        everyone = [*self._pool["cpu"], *self._pool["cuda"]]
        if error is None:
            for worker in everyone:
                worker.connection.close()  # so that all free their models at the same time
        for worker in everyone:
            worker.kill() if error is not None else worker.stop()
        self._pool = {"cpu": [], "cuda": []}

    def run(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
        """Run tasks in order, each after the task that makes its upstream shard; yield results as they come.

        Raises:
            StoreError: a worker process dies already when it loads its model.
            ResourceError: memory is short, see `make_again`.
            MmpipeError: what a task raised.
        """
        schedule = Schedule(tasks)
        running: dict[Worker, Task] = {}
        while schedule:
            self._hand_out(schedule, running)
            at = {worker.connection: worker for worker in running}
            for connection in wait(list(at)):
                worker = at[connection]  # type: ignore[index]  # wait answers with what it was given
                task = running.pop(worker)
                try:
                    result = worker.answer()
                except WorkerDied as death:
                    self._pool[lane_of(task)].remove(worker)
                    result = make_again(task, death)
                schedule.done(task)
                yield result

    def _hand_out(self, schedule: Schedule, running: dict[Worker, Task]) -> None:
        """Give every free worker the first task that it may run; start workers as long as there is work for them."""
        for lane in self._pool:
            while self._has_room(lane, running) and (task := schedule.take(lane)) is not None:
                worker = self._free(lane, running)
                worker.send(partial(run_task, task))
                running[worker] = task

    def _size(self, lane: str) -> int:
        return self.workers if lane == "cpu" else 1

    def _has_room(self, lane: str, running: dict[Worker, Task]) -> bool:
        return sum(lane_of(task) == lane for task in running.values()) < self._size(lane)

    def _free(self, lane: str, running: dict[Worker, Task]) -> Worker:
        free = next((worker for worker in self._pool[lane] if worker not in running), None)
        if free is None:
            free = Worker()
            self._pool[lane].append(free)
        return free
