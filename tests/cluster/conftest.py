"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.toys import ROOT

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
STARTS = 5
"""A raylet gives its helpers 15 seconds to start, which is too short on a busy machine: it is started again."""


class Nodes:
    """A cluster whose head runs no worker, so that every other node can be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(initialize_head=True, head_node_args=self._options(0))
        self._others: list[Any] = []

    @property
    def address(self) -> str:
        """HOST:PORT of the head."""
        return str(self._cluster.address)

    def add(self, cpus: int = 1, gpus: int = 0, **environment: str) -> Any:
        """Start a node with some CPUs, GPUs in name, and more variables in its environment."""
        for attempt in range(STARTS):
            try:
                node = self._cluster.add_node(**self._options(cpus, gpus, environment))
            except Exception as error:
                if "timed out during startup" not in str(error) or attempt == STARTS - 1:
                    raise
            else:
                self._others.append(node)
                break
        return node

    def of_process(self, process: int) -> Any:
        """The node on which a process runs."""
        return next(node for node in self._others if process in descendants(raylet(node)))

    def kill(self, node: Any) -> None:
        """Kill the raylet of a node and all processes below it."""
        for process in [raylet(node), *descendants(raylet(node))]:
            os.kill(process, signal.SIGKILL)
        self.remove(node, says_so=False)

    def remove(self, node: Any, *, says_so: bool = True) -> None:
        """End a node, which tells the head or not."""
        self._others.remove(node)
        self._cluster.remove_node(node, allow_graceful=says_so)

    def clear(self) -> None:
        """End all nodes but the head."""
        for node in [*self._others]:
            self.remove(node)

    def close(self) -> None:
        """End the cluster."""
        self._cluster.shutdown()

    def _options(self, cpus: int, gpus: int = 0, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "include_dashboard": False,
            "object_store_memory": 80 << 20,
            "env_vars": {**QUIET, "PYTHONPATH": path, **(environment or {})},
        }


def raylet(node: Any) -> int:
    """The process of a node's raylet."""
    return int(node.all_processes["raylet"][0].process.pid)


def descendants(process: int) -> list[int]:
    """All processes below one, by /proc/PID/task/*/children."""
    found: list[int] = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *descendants(child)]
    return found


def held_by(mark: Path) -> int:
    """The process that has written a mark, as soon as it has."""
    deadline = time.monotonic() + 240
    while not (mark.exists() and mark.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"nobody came to {mark.name}"
        time.sleep(0.02)
    return int(mark.read_text())


@pytest.fixture(scope="session")
def _nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'mmpipe[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        cluster = Nodes()
        yield cluster
        cluster.close()


@pytest.fixture
def nodes(_nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """The cluster; the nodes that a test adds end with it."""
    monkeypatch.syspath_prepend(ROOT)
    yield _nodes
    _nodes.clear()
