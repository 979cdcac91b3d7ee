"""The serial engine: tasks one after another in this process, for small jobs and scripts without a main guard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmpipe.pipeline.extraction.tasks import Task, TaskResult, run_task

__all__ = ["SerialEngine"]


class SerialEngine:
    """Runs tasks here. A crash of a decoder ends this process, where `LocalEngine` loses one row."""

    workers = 1

    def run(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
        """Run the tasks in order."""
        for task in tasks:
            yield run_task(task)
