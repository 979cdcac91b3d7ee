"""The serial engine: tasks one after another in this process, for small jobs and scripts without a main guard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmpipe.pipeline.extraction.tasks import Task, TaskResult, prepare_task, run_task
from mmpipe.pipeline.hardware import one_thread

__all__ = ["SerialEngine"]


class SerialEngine:
    """Runs tasks here, on one thread as a worker does.

    A crash of a decoder ends this process, where `LocalEngine` loses one row.
    """

    workers = 1

    def run(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
        """Run the tasks in order."""
        for task in tasks:
            prepare_task(task)  # so that torch is there, if the stage needs it
            with one_thread():
                result = run_task(task)
            yield result
