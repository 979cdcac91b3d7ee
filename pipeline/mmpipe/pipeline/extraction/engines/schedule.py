"""Which task may run next: each after the task that makes its upstream shard, in the order of the plan.

Every step costs the logarithm of the number of tasks, so that a million utterances are handed out in seconds.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence

from mmpipe.pipeline.extraction.tasks import Task

__all__ = ["Schedule", "lane_of"]

_Key = tuple[str, int]


def lane_of(task: Task) -> str:
    """Where a task runs, `cpu` or `cuda`: models on a GPU have processes of their own, and others decode meanwhile."""
    return task.stage.device


class Schedule:
    """The tasks of a run that are not done yet; it is true while there are any.

    Args:
        tasks: in the order of the plan: a task comes after the one that makes its upstream shard.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks: dict[_Key, Task] = {}
        self._order: dict[_Key, int] = {}
        self._ready: dict[str, list[tuple[int, _Key]]] = {}
        self._after: dict[_Key, list[_Key]] = {}
        self._later: list[tuple[float, int, _Key]] = []
        upstream = {task.stage.name: task.stage.needs for task in tasks}
        for number, task in enumerate(tasks):
            key = (task.stage.name, task.shard)
            self._tasks[key], self._order[key] = task, number
            needed = (upstream[task.stage.name] or "", task.shard)
            if needed in self._tasks:
                self._after.setdefault(needed, []).append(key)
            else:
                self._make_ready(key)

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def has_lane(self, lane: str) -> bool:
        """Whether some task of the run belongs to a lane."""
        return any(lane_of(task) == lane for task in self._tasks.values())

    def take(self, lane: str) -> Task | None:
        """The first task of a lane that may run now; None if there is none."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._make_ready(heapq.heappop(self._later)[2])
        ready = self._ready.get(lane)
        return self._tasks[heapq.heappop(ready)[1]] if ready else None

    def done(self, task: Task) -> None:
        """A task that was taken is done: those that read its shard may run."""
        key = (task.stage.name, task.shard)
        del self._tasks[key]
        for waiting in self._after.pop(key, ()):
            self._make_ready(waiting)

    def again(self, task: Task, seconds: float) -> None:
        """A task that was taken must run again, not before so many seconds have passed."""
        key = (task.stage.name, task.shard)
        heapq.heappush(self._later, (time.monotonic() + seconds, self._order[key], key))

    def _make_ready(self, key: _Key) -> None:
        heapq.heappush(self._ready.setdefault(lane_of(self._tasks[key]), []), (self._order[key], key))
