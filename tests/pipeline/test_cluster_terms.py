"""What a cluster engine does before Ray has any part in it: the order of tasks, terms of workers, addresses."""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mmpipe.core.errors import ClusterError, UsageError
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.extraction.engines.agreement import disagreement, marked, terms_of
from mmpipe.pipeline.extraction.engines.ray import RayEngine
from mmpipe.pipeline.extraction.engines.ray_cluster import connected
from mmpipe.pipeline.extraction.engines.registry import ENGINES
from mmpipe.pipeline.extraction.engines.schedule import Schedule
from mmpipe.pipeline.extraction.run import commit_plan, plan_extraction
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.tasks import Task

from .conftest import tone, write_wav
from .toys import Counting, GrayFaces, Samples, toy

pytestmark = pytest.mark.usefixtures("importable")


def task(stage: StageSpec, shard: int) -> Task:
    return Task(stage, shard, pa.table({}), Path(), Path(), {}, "")


def taken(schedule: Schedule, lane: str = "cpu") -> list[str]:
    return [str(found) for found in iter(lambda: schedule.take(lane), None)]


FACES = replace(toy(GrayFaces), name="faces")
MODEL = replace(toy(Counting), name="expression", extractor="densenet-ferplus", device="cuda")


def test_tasks_run_in_order_by_lane_each_after_the_one_that_makes_its_upstream_shard() -> None:
    tasks = [task(stage, shard) for stage in (FACES, MODEL, toy(Counting, "text")) for shard in (0, 1)]
    schedule = Schedule(tasks)
    assert taken(schedule, "cuda") == []
    assert taken(schedule) == [
        "stage faces, shard 0",
        "stage faces, shard 1",
        "stage text, shard 0",
        "stage text, shard 1",
    ]
    schedule.done(tasks[1])
    assert taken(schedule, "cuda") == ["stage expression, shard 1"]
    schedule.again(tasks[0], 0.0)
    assert taken(schedule) == ["stage faces, shard 0"]
    schedule.done(tasks[0])
    assert taken(schedule, "cuda") == ["stage expression, shard 0"]
    for one in tasks[2:]:
        assert schedule
        schedule.done(one)
    assert not schedule


def test_a_task_that_must_run_again_waits_as_long_as_it_is_told() -> None:
    schedule = Schedule([one := task(toy(Counting), 0)])
    assert taken(schedule) == [str(one)]
    schedule.again(one, 0.2)
    assert taken(schedule) == []
    time.sleep(0.21)
    assert taken(schedule) == [str(one)]


def test_sixteen_thousand_tasks_are_handed_out_within_two_seconds_of_the_processor() -> None:
    tasks = [
        task(stage, shard) for stage in (FACES, MODEL, *(toy(Counting, n) for n in "ab")) for shard in range(4_000)
    ]
    began, schedule, count = time.process_time(), Schedule(tasks), 0
    while schedule:
        for lane in ("cpu", "cuda"):
            if (found := schedule.take(lane)) is not None:
                schedule.done(found)
                count += 1
    assert count == 16_000
    assert time.process_time() - began < 2


@contextmanager
def planned(folder: Path) -> Iterator[tuple[list[Task], Path | None]]:
    """The tasks of a store in `folder/store` of a wav file in `folder/corpus`, and the store's mark."""
    (folder / "corpus").mkdir()
    write_wav(folder / "corpus" / "a.wav", tone(0.5))
    rows = to_table([Utterance("test/a", "test", audio=MediaSpan("a.wav"), text="so it is")])
    made = plan_extraction(rows, "test", folder / "corpus", folder / "store", [toy(Samples), toy(Counting, "text")])
    commit_plan(made)
    with marked(folder / "store") as mark:
        yield list(made.tasks), mark


def test_a_worker_that_is_like_this_machine_agrees_and_the_mark_is_gone_afterwards(tmp_path: Path) -> None:
    with planned(tmp_path) as (tasks, mark):
        assert disagreement(terms_of(tasks, mark)) is None
    assert not list(tmp_path.rglob("*.part*"))


def test_a_worker_that_does_not_see_corpus_or_store_says_so(tmp_path: Path) -> None:
    with planned(tmp_path) as (tasks, mark):
        terms = terms_of(tasks, mark)
        (tmp_path / "corpus").rename(tmp_path / "elsewhere")
        assert disagreement(terms) == f"does not see the corpus root {tmp_path / 'corpus'} (a.wav: missing)"
        assert mark is not None
        mark.unlink()  # as in a copy of the store on a disk of the worker's own
        assert "sees another folder at" in str(disagreement(terms))
        (tmp_path / "store").rename(tmp_path / "other")
        assert f"does not see the store {tmp_path / 'store'}" in str(disagreement(terms))
        (tmp_path / "other").rename(tmp_path / "store")


def test_a_worker_names_every_version_and_weight_that_differs(tmp_path: Path) -> None:
    with planned(tmp_path) as (tasks, mark):
        other: dict[str, Any] = {**tasks[0].provenance, "weights": {"net": "ab"}}
        other["versions"] = {**other["versions"], "av": "1.0", "gone": "2"}
        answer = disagreement(terms_of([replace(tasks[0], provenance=other)], mark))
    assert answer is not None and answer.startswith("makes other values in stage 'toy': ")
    assert "(planned with 1.0)" in answer and "gone None (planned with 2)" in answer and "weights net None" in answer


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "somewhere", "host:0", ":6379", "host:99999"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'mmpipe[ray]'")
    with (
        pytest.raises(UsageError, match=r"expected HOST:PORT of the cluster's head, .* or auto"),
        connected(address, 1),
    ):
        pass


def test_an_address_where_nobody_answers_is_refused_at_once() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'mmpipe[ray]'")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        began = time.monotonic()
        with (
            pytest.raises(ClusterError, match=rf"no Ray cluster answers at {address}.*ray start"),
            connected(address, 1),
        ):
            pass
    assert time.monotonic() - began < 10


@pytest.mark.cluster
def test_an_address_where_something_else_answers_is_refused_within_a_minute() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'mmpipe[ray]'")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ClusterError, match="is not the head of a Ray cluster"), connected(address, 1):
            pass
    assert time.monotonic() - began < 60


def test_without_ray_the_engine_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else found(name, *rest))
    with pytest.raises(UsageError, match=r"pip install 'mmpipe\[ray\]'"), RayEngine():
        pass


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_a_share_of_a_gpu_is_a_part_of_one(share: float) -> None:
    with pytest.raises(UsageError, match="--gpu-share"):
        RayEngine(gpu_share=share)


def test_an_engine_that_does_not_exist_is_refused_with_the_valid_names() -> None:
    with pytest.raises(UsageError, match=r"engine 'rays' does not exist.*valid names: local, ray"):
        ENGINES.load("rays")
