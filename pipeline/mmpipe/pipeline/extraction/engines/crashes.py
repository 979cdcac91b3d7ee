"""A shard whose worker died is made again alone, by halves, until the utterances on which it dies are found.

Engines that have processes share this, so that a crash gives the same rows with each of them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from mmpipe.core.environment import MAX_EQUAL_FAILURES
from mmpipe.core.errors import ResourceError, StoreError
from mmpipe.pipeline.extraction.engines.worker import Worker, WorkerDied
from mmpipe.pipeline.extraction.tasks import (
    Task,
    TaskResult,
    due_places,
    finish_task,
    lost_row,
    make_rows,
    prepare_task,
)

__all__ = ["make_again"]


def make_again(task: Task, death: WorkerDied) -> TaskResult:
    """Make the shard of a task whose worker died; the utterances that kill a process get a row that says so.

    Args:
        task: the task.
        death: how its worker died.

    Raises:
        StoreError: the process dies already when it loads its model.
        ResourceError: the system kills the processes of several utterances: memory is short.
    """
    return _Search(task).run(death)


class _Search:
    """The search for the utterances of a task that kill a process."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._lone: Worker | None = None
        self._killed = 0

    def run(self, death: WorkerDied) -> TaskResult:
        """See `make_again`."""
        began, task = time.perf_counter(), self._task
        try:
            self._alone(partial(prepare_task, task))
            places = due_places(task)
            tables = self._halves(places)
        except WorkerDied as again:
            raise StoreError(
                f"a worker process died while it made shard {task.shard} of stage {task.stage.name!r} ({death}), and "
                f"dies again while it loads {task.stage.extractor!r} ({again}); finished shards are safe: run the same "
                "command again, with fewer --workers if memory was short"
            ) from again
        finally:
            if self._lone:
                self._lone.stop()
        return finish_task(task, places, tables, time.perf_counter() - began)

    def _halves(self, places: Sequence[int]) -> list[pa.Table]:
        """The rows at `places`, made in a process of their own; where it dies, each half in turn."""
        call = partial(make_rows, self._task, places)
        try:
            return [self._alone(call)]
        except WorkerDied:
            if len(places) > 1:
                middle = len(places) // 2
                return self._halves(places[:middle]) + self._halves(places[middle:])
        try:
            return [self._alone(call)]
        except WorkerDied as death:
            self._refuse_killing(death)
            message = f"the process that made this row alone died twice: {death}"
            return [self._alone(partial(lost_row, self._task, places[0], message))]

    def _refuse_killing(self, death: WorkerDied) -> None:
        """Stop the run where the system kills the processes of several rows of a task: then its memory is too small."""
        self._killed += signal.SIGKILL.name in str(death)
        if self._killed >= MAX_EQUAL_FAILURES:
            raise ResourceError(
                f"{self._task}: the processes of {self._killed} utterances that were made alone were {death}; no row "
                "was written for them and finished shards are safe: free memory, or take fewer --workers, then run the "
                "same command again"
            )

    def _alone(self, call: Callable[[], Any]) -> Any:
        self._lone = self._lone or Worker()
        try:
            return self._lone.call(call)
        except WorkerDied:
            self._lone = None
            raise
