"""A worker that dies costs the utterance that killed it; nothing else is lost, and Ctrl-C stops at once."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from mmpipe.core.errors import StoreError
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.engines.worker import Worker, WorkerDied
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import shard_path

from .runs import session_processes, start
from .toys import Counting, Deadly, DeadlyOnce, DeadOnArrival, Flaky, Needy, Slow, toy

pytestmark = pytest.mark.usefixtures("importable")


def sentences(count: int, special: dict[int, str] | None = None) -> pa.Table:
    texts = {number: f"sentence {number}" for number in range(count)} | (special or {})
    return to_table(Utterance(f"test/{number:06d}", "test", text=text) for number, text in texts.items())


def run(manifest: pa.Table, store: Path, *stages: StageSpec, workers: int = 2) -> list[TaskResult]:
    results: list[TaskResult] = []
    with LocalEngine(workers) as engine:
        run_plan(plan_extraction(manifest, "test", store.parent, store, stages), engine, results.append)
    return results


def test_a_worker_that_dies_costs_the_utterance_that_killed_it_and_nothing_else(tmp_path: Path) -> None:
    run(sentences(20, {18: "crash"}), tmp_path / "crashed", toy(Deadly))
    planned = plan_extraction(sentences(20), "test", tmp_path, tmp_path / "whole", [toy(Deadly)])
    run_plan(planned, SerialEngine())
    crashed, whole = (FeatureStore(tmp_path / name).read("toy") for name in ("crashed", "whole"))
    assert crashed.to_pylist()[18] == {
        "utterance_id": "test/000018",
        "status": "worker_crashed",
        "error": "the process that made this row alone died twice: killed by SIGSEGV",
        "count": None,
    }
    kept = [number for number in range(20) if number != 18]
    assert crashed.take(kept).equals(whole.take(kept))
    untouched = shard_path(tmp_path / "crashed", "toy", 0).read_bytes()
    assert untouched == shard_path(tmp_path / "whole", "toy", 0).read_bytes()


@pytest.mark.parametrize(
    ("call", "how"),
    [
        (partial(signal.raise_signal, signal.SIGKILL), r"killed by SIGKILL \(out of memory\?\)"),
        (partial(os._exit, 7), "exited with code 7"),
    ],
)
def test_a_death_says_how_it_came(call: Callable[[], None], how: str) -> None:
    worker = Worker()
    with pytest.raises(WorkerDied, match=how):
        worker.call(call)


def test_a_death_that_does_not_repeat_costs_nothing(tmp_path: Path) -> None:
    run(sentences(20), tmp_path / "store", toy(DeadlyOnce, marker=str(tmp_path / "marker")))
    assert FeatureStore(tmp_path / "store").statuses("toy") == {"ok": 20}


def test_a_model_that_kills_every_process_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"dies again while it loads.*DeadOnArrival.*fewer --workers"):
        run(sentences(3), tmp_path / "store", toy(DeadOnArrival))


def test_failed_rows_alone_are_made_again_when_asked(tmp_path: Path) -> None:
    store, helper = tmp_path / "store", tmp_path / "helper"
    manifest = sentences(40, {2: f"unless {helper}", 30: f"unless {helper}"})
    stage, other = toy(Flaky), Path(f"{helper}.asked")
    run_plan(plan_extraction(manifest, "test", tmp_path, store, [stage]), SerialEngine())
    assert FeatureStore(store).statuses("toy") == {"ok": 38, "extractor_error": 2}
    assert plan_extraction(manifest, "test", tmp_path, store, [stage]).tasks == ()
    other.unlink()
    helper.touch()
    again = plan_extraction(manifest, "test", tmp_path, store, [stage], retry_failed=True)
    assert again.reasons == {("toy", "rows failed"): 2}
    made: list[TaskResult] = []
    run_plan(again, SerialEngine(), made.append)
    assert [result.made for result in made] == [1, 1]
    assert other.read_text() == "xx"
    assert plan_extraction(manifest, "test", tmp_path, store, [stage], retry_failed=True).tasks == ()
    run_plan(plan_extraction(manifest, "test", tmp_path, tmp_path / "fresh", [stage]), SerialEngine())
    for shard in range(3):
        assert shard_path(store, "toy", shard).read_bytes() == shard_path(tmp_path / "fresh", "toy", shard).read_bytes()


def test_a_shard_that_another_run_made_meanwhile_is_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first, second = (plan_extraction(sentences(20), "test", tmp_path, store, [toy(Counting)]) for _ in range(2))
    run_plan(first, SerialEngine())
    written = {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")}
    results: list[TaskResult] = []
    run_plan(second, SerialEngine(), results.append)
    assert [(result.made, result.reason) for result in results] == [(0, "up to date by now")] * 2
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")} == written


def test_gpu_models_share_one_process_while_the_others_go_on(tmp_path: Path) -> None:
    stages = [toy(Slow, "decoding", seconds=0.05), toy(Slow, "model", "cuda", seconds=0.01)]
    results = run(sentences(64), tmp_path / "store", *stages, workers=2)
    pids = {stage.name: {result.pid for result in results if result.stage == stage.name} for stage in stages}
    assert len(pids["model"]) == 1
    assert len(pids["decoding"]) == 2
    assert pids["model"].isdisjoint(pids["decoding"])
    order = [result.stage for result in results]
    assert order.index("model") < len(order) - 1 - order[::-1].index("decoding")


def test_a_task_carries_its_own_rows_to_the_worker(tmp_path: Path) -> None:
    planned = plan_extraction(sentences(5_000), "test", tmp_path, tmp_path / "store", [toy(Counting)])
    assert len(pickle.dumps(planned.tasks[0])) < 60_000


def test_a_worker_uses_one_thread_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    worker = Worker()
    assert worker.call(_threads) == (1, 1)
    worker.stop()


def test_workers_import_what_the_extractors_need_while_the_run_is_planned(tmp_path: Path) -> None:
    with LocalEngine(1, ["tests.pipeline.toys:Needy", "no-such-extractor"]) as engine:
        (worker,) = engine._pool["cpu"]
        assert worker.call(_imported) == [True, True]
        results = list(engine.run(plan_extraction(sentences(3), "t", tmp_path, tmp_path / "s", [toy(Counting)]).tasks))
        assert [result.statuses for result in results] == [{"ok": 3}]
        assert {result.pid for result in results} == {worker._process.pid}


def _imported() -> list[bool]:
    return [name in sys.modules for name in ("tests.pipeline.toys", *Needy.libraries)]


def test_workers_that_had_nothing_to_do_end_at_once() -> None:
    with LocalEngine(1, ["bert"]) as engine:
        (worker,) = engine._pool["cpu"]
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert worker._process.exitcode == -signal.SIGKILL  # it was not waited for


def _threads() -> tuple[int, int]:
    import cv2
    import torch

    return torch.get_num_threads(), cv2.getNumThreads()


def start_slowly(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    """`mmpipe extract` on slow toys."""
    write_manifest(sentences(200), tmp_path / "manifest.parquet", {})
    stage = ["--stages", "text", "--set", "text.extractor=tests.pipeline.toys:Slow", "--set", f"text.seconds={seconds}"]
    where = ["--root", tmp_path, "--manifest", tmp_path / "manifest.parquet", "--out", tmp_path / "store"]
    return start("extract", "--dataset", "folder", *where, *stage, "--workers", 2, "--device", "cpu")


def wait_for_shards(store: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(store.glob("*/0*.parquet"))) < count:
        assert time.monotonic() < deadline, "no shard was made in a minute"
        time.sleep(0.02)


def test_ctrl_c_stops_within_two_seconds_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start_slowly(tmp_path, 0.05)
    wait_for_shards(tmp_path / "store", 2)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < 2
    assert process.returncode == 130
    assert "run the same command again to go on" in errors
    assert "Traceback" not in errors
    wait_for_the_end_of_all(process.pid, began + 2)
    assert not list((tmp_path / "store").rglob("*.part"))
    assert not list((tmp_path / "store").rglob("*.lock"))


def wait_for_the_end_of_all(session: int, deadline: float) -> None:
    while session_processes(session):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.05)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = start_slowly(tmp_path, 0.5)
    deadline = time.monotonic() + 60
    while len(session_processes(process.pid)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    wait_for_the_end_of_all(process.pid, time.monotonic() + 10)
