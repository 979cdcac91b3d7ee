"""A run on two Ray nodes, one of which is killed while it holds a shard, gives the bytes of the local engine."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'mmpipe[ray]'")

from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.engines.ray import RayEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.store.feature_store import FeatureStore
from tests.pipeline.runs import contents
from tests.pipeline.test_engine import sentences

from .conftest import Nodes, held_by
from .toys import holding


def test_a_node_that_is_killed_costs_its_shard_in_hand_which_runs_again(nodes: Nodes, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    manifest = sentences(33, {3: "hold node", 32: "crash"})
    for _ in range(2):
        nodes.add()
    killer = Thread(target=lambda: nodes.kill(nodes.of_process(held_by(marks / "node"))))
    killer.start()
    made: list[TaskResult] = []
    with RayEngine(address=nodes.address) as engine:
        planned = plan_extraction(manifest, "test", tmp_path, tmp_path / "ray", [holding(marks)])
        run_plan(planned, engine, made.append)
    killer.join()
    assert [result.shard for result in made].count(0) == 1
    assert FeatureStore(tmp_path / "ray").statuses("toy") == {"ok": 32, "worker_crashed": 1}
    with LocalEngine(2) as local:
        run_plan(plan_extraction(manifest, "test", tmp_path, tmp_path / "local", [holding(marks)]), local)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
