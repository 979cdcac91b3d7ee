"""The Ray engine: the tasks of the local engine on the nodes of a Ray cluster.

Each worker is an actor on one CPU, or on a share of a GPU for stages whose model runs there. A worker is used after it
has agreed to the terms of the run. One that is lost with its node costs the task that it had in hand, which runs again.
What is finished is read from the shards alone, as with every engine.
"""

from __future__ import annotations

import importlib.metadata
import pickle
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ClassVar

from mmpipe.core.errors import ClusterError, ResourceError, UsageError
from mmpipe.core.files import location
from mmpipe.manifests.io import FOLLOW_LINKS, follows_links
from mmpipe.pipeline.extraction.engines.agreement import marked, terms_of
from mmpipe.pipeline.extraction.engines.ray_cluster import connected
from mmpipe.pipeline.extraction.engines.ray_worker import RayWorker
from mmpipe.pipeline.extraction.engines.schedule import Schedule, lane_of
from mmpipe.pipeline.extraction.source import absolute
from mmpipe.pipeline.extraction.tasks import Task, TaskResult

__all__ = ["RayEngine"]

_POLL_SECONDS = 1.0
_LOOK_SECONDS = 5.0
"""How often the cluster is asked for its resources: nodes may join and leave."""
_PATIENCE_SECONDS = 300.0
"""How long a run waits for its first worker, or for another one after it has lost all."""
_STOP_SECONDS = 5.0
_MOST_LOSSES = 5
"""So many workers that are lost with the same task, or before their first one, end the run."""


class _Lost(Exception):  # noqa: N818 - its task runs again
    """A worker is gone; the text says what Ray knows of it."""


@dataclass(eq=False)
class _Member:
    """A worker of the cluster.

    Attributes:
        actor: its handle.
        lane: `cpu` or `cuda`.
        host: its machine, once it has said so.
        terms: the terms that it has agreed to.
    """

    actor: Any
    lane: str
    host: str = ""
    terms: bytes = b""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"the worker on {self.host}" if self.host else "a worker"


class RayEngine:
    """Runs tasks on a Ray cluster. Use it as a context manager; several extractions can share it.

    Args:
        workers: the most worker processes on CPUs; None takes as many as the cluster has CPUs.
        extractors: names of the extractors that will be asked for. The workers start at once and import what they need.
        address: HOST:PORT of the cluster's head, `auto`, or None, see `connected`.
        gpu_share: the part of a GPU that a worker of stages on GPUs takes: 0.5 lets two share one.

    Raises:
        UsageError: the share is not above 0 and at most 1.
    """

    options: ClassVar[tuple[str, ...]] = ("address", "gpu_share")
    is_remote: ClassVar[bool] = True

    def __init__(
        self,
        workers: int | None = None,
        extractors: Sequence[str] = (),
        *,
        address: str | None = None,
        gpu_share: float = 1.0,
    ) -> None:
        if not 0 < gpu_share <= 1:
            raise UsageError(f"--gpu-share {gpu_share}: expected a number above 0 and at most 1, such as 0.5")
        self.workers = workers or 1
        self._most, self._extractors, self._address, self._gpu_share = workers, extractors, address, gpu_share
        self._ray: Any = None
        self._open = ExitStack()
        self._crew: list[_Member] = []
        self._calls: dict[Any, tuple[_Member, Task | None]] = {}
        self._looked = self._met = 0.0
        self._sizes: dict[str, int] = {}
        self._lost_starts = 0

    def __enter__(self) -> RayEngine:
        self._ray = self._open.enter_context(connected(self._address, self._most))
        try:
            self._look()
            if not self._sizes["cpu"]:
                raise ClusterError("the Ray cluster has no CPU for workers: add a node with `ray start --address ...`")
            self.workers = self._sizes["cpu"]
            if self._extractors:
                self._staff("cpu")
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._dismiss()
        finally:
            self._open.close()

    def run(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
        """Run tasks in order, each after the task that makes its upstream shard; yield results as they come.

        Raises:
            ClusterError: a worker does not agree with this machine, or none can be had.
            ResourceError: a task was lost with its workers several times.
            MmpipeError: what a task raised.
        """
        if not tasks:
            return
        with marked(tasks[0].store) as mark:
            lanes = {
                lane: pickle.dumps(terms_of(own, mark))
                for lane in ("cpu", "cuda")
                if (own := [task for task in tasks if lane_of(task) == lane])
            }
            if "cuda" in lanes and not self._sizes["cuda"]:
                raise ClusterError(
                    "the Ray cluster has no GPU (`ray status` lists what it has): leave out --device cuda"
                )
            yield from self._run(Schedule(tasks), lanes)

    def _run(self, schedule: Schedule, lanes: dict[str, bytes]) -> Iterator[TaskResult]:
        losses = Counter[str]()
        self._met = time.monotonic()
        while schedule:
            for lane in lanes:
                self._staff(lane)
            self._hand_out(schedule, lanes)
            for call in self._answered():
                member, task = self._calls.pop(call)
                try:
                    answer = self._answer(call)
                except _Lost as loss:
                    self._drop(member)
                    if task is None:
                        self._count_start(loss)
                    else:
                        losses[str(task)] += 1
                        schedule.again(task, _wait_seconds(task, member, losses[str(task)], loss))
                    continue
                if task is None:
                    self._meet(member, answer)
                else:
                    schedule.done(task)
                    yield TaskResult(**_value(answer))

    def _look(self) -> None:
        """Ask the cluster what it has; nodes may have joined or left."""
        if self._sizes and time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        has = self._ray.cluster_resources()
        self._sizes = {
            "cpu": self._most or int(has.get("CPU", 0)),
            "cuda": int(has.get("GPU", 0)) * int(1 / self._gpu_share),
        }
        self._looked = time.monotonic()

    def _staff(self, lane: str) -> None:
        """Start workers of a lane, as many as the cluster has place for; where nodes have left, ask for fewer."""
        self._look()
        crew = [member for member in self._crew if member.lane == lane]
        for member in [member for member in crew if not member.host][: max(0, len(crew) - self._sizes[lane])]:
            self._drop(member)
        if len(crew) >= self._sizes[lane]:
            return
        takes = {"num_cpus": 1, "num_gpus": 0} if lane == "cpu" else {"num_cpus": 0, "num_gpus": self._gpu_share}
        kind = self._ray.remote(max_concurrency=2, max_restarts=0, scheduling_strategy="SPREAD", **takes)(RayWorker)
        environment = {FOLLOW_LINKS: "1" if follows_links() else "0"}
        for _ in range(self._sizes[lane] - len(crew)):
            member = _Member(kind.remote(environment, tuple(self._extractors)), lane)
            self._crew.append(member)
            self._calls[member.actor.hello.remote()] = member, None

    def _hand_out(self, schedule: Schedule, lanes: dict[str, bytes]) -> None:
        """Give each free worker the terms of the run, or the first task that it may run: one at a time."""
        busy = {member for member, _ in self._calls.values()}
        for member in self._crew:
            if member in busy or member.lane not in lanes:
                continue
            if member.terms != lanes[member.lane]:
                member.terms = lanes[member.lane]
                self._calls[member.actor.agree.remote(member.terms)] = member, None
            elif (task := schedule.take(member.lane)) is not None:
                placed = replace(task, root=location(absolute(task.root)), store=location(absolute(task.store)))
                self._calls[member.actor.run.remote(pickle.dumps(placed))] = member, task

    def _answered(self) -> list[Any]:
        """Calls that have an answer; waits for one, for a moment."""
        if any(member.host for member in self._crew):
            self._met = time.monotonic()
        elif time.monotonic() - self._met > _PATIENCE_SECONDS:
            raise ClusterError(
                f"no worker of the Ray cluster became free in {_PATIENCE_SECONDS:.0f} s (`ray status` says what it has "
                "and who uses it); finished shards are safe: wait for other jobs or add nodes, then run the same "
                "command again"
            )
        if not self._calls:
            time.sleep(_POLL_SECONDS)
            return []
        calls = list(self._calls)
        first, _ = self._ray.wait(calls, num_returns=1, timeout=_POLL_SECONDS)
        return self._ray.wait(calls, num_returns=len(calls), timeout=0)[0] if first else []

    def _answer(self, call: Any) -> Any:
        """The answer to a call.

        Raises:
            _Lost: the worker, or its node, is gone.
            ClusterError: the node cannot load this module.
        """
        try:
            return self._ray.get(call)
        except Exception as error:
            reason = " ".join(str(error).split())
            is_lost = isinstance(error, self._ray.exceptions.RayActorError)
            if is_lost and not getattr(error, "actor_init_failed", False):
                raise _Lost(reason[:300]) from error
            here = importlib.metadata.version("mmpipe")
            raise ClusterError(
                f"a node of the Ray cluster cannot load mmpipe {here} ({reason[-300:]}): install the same version with "
                "the same extras on every node"
            ) from error

    def _meet(self, member: _Member, answer: Any) -> None:
        """Take a worker that has said who it is, or that has agreed to the terms; refuse one that does not fit."""
        if isinstance(answer, dict):
            member.host, self._lost_starts = answer["host"], 0
            here = importlib.metadata.version("mmpipe")
            if answer["mmpipe"] != here:
                raise ClusterError(
                    f"{member.place} has mmpipe {answer['mmpipe']}, and this machine has {here}: install the same "
                    "version on every node"
                )
        elif problem := _value(answer):
            raise ClusterError(
                f"{member.place} {problem}: every node needs the same mmpipe with its extras, libraries and weights, "
                "and sees corpus and store at the same place (a shared folder, or a URL); finished shards are safe"
            )

    def _count_start(self, loss: _Lost) -> None:
        self._lost_starts += 1
        if self._lost_starts >= _MOST_LOSSES * max(1, *self._sizes.values()):
            raise ClusterError(
                f"the workers of the Ray cluster die before their first task ({loss}); finished shards are safe: look "
                "at the nodes (`ray status`) and their memory, then run the same command again"
            )

    def _drop(self, member: _Member) -> None:
        self._looked = 0.0  # its node may be gone
        self._crew.remove(member)
        for call in [call for call, (other, _) in self._calls.items() if other is member]:
            del self._calls[call]
        self._ray.kill(member.actor)

    def _dismiss(self) -> None:
        """End all workers; when this returns they write nothing any more, but for those of nodes that are lost."""
        stops = [member.actor.stop.remote() for member in self._crew if member.host]
        if stops:
            self._ray.wait(stops, num_returns=len(stops), timeout=_STOP_SECONDS)
        for member in [*self._crew]:
            self._drop(member)


def _wait_seconds(task: Task, member: _Member, lost: int, loss: _Lost) -> float:
    """How long a task waits that lost its worker for the `lost`-th time."""
    if lost >= _MOST_LOSSES:
        raise ResourceError(
            f"{task}: {lost} workers were lost while they made it, the last on {member.host} ({loss}); no row was "
            "written for it and finished shards are safe: look at the nodes (`ray status`) and their memory, then run "
            "the same command again"
        )
    return 2.0 ** (lost - 1)


def _value(answer: tuple[bool, Any]) -> Any:
    good, value = answer
    if good:
        return value
    raise value
