"""Runs on a Ray cluster of several nodes on this machine: equal bytes, deaths, nodes that do not fit, stops."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'mmpipe[ray]'")

from mmpipe.core.errors import ClusterError, ResourceError
from mmpipe.extractors.weights.checkpoints import PACKAGED_MODEL
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.samples import sample_root
from mmpipe.pipeline.extraction.corpus import extract_corpus
from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.engines.ray import RayEngine
from mmpipe.pipeline.extraction.request import ExtractRequest
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.tasks import TaskResult
from mmpipe.pipeline.store.feature_store import FeatureStore
from tests.pipeline.runs import contents, start
from tests.pipeline.test_engine import sentences, wait_for_shards
from tests.pipeline.toys import Counting, DeadOnArrival, Slow, toy

from .conftest import Nodes, descendants, held_by, raylet
from .toys import VERSIONED, holding

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def run(nodes: Nodes, manifest: pa.Table, store: Path, *stages: StageSpec, **options: Any) -> list[TaskResult]:
    made: list[TaskResult] = []
    with RayEngine(address=nodes.address, **options) as engine:
        run_plan(plan_extraction(manifest, "test", store.parent, store, stages), engine, made.append)
    return made


def local(manifest: pa.Table, store: Path, *stages: StageSpec) -> dict[str, bytes]:
    with LocalEngine(2) as engine:
        run_plan(plan_extraction(manifest, "test", store.parent, store, stages), engine)
    return contents(store)


def meanwhile(work: Callable[[], Any]) -> Thread:
    thread = Thread(target=work)
    thread.start()
    return thread


def test_a_sample_corpus_has_the_bytes_of_the_local_engine(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add()
    nodes.add()
    stages = {"text": {"model": PACKAGED_MODEL}, "faces": {"detector": "full-frame"}}
    names = ("audio", "faces", "expression", "text")
    common: dict[str, Any] = {"stages": names, "stage_options": stages, "device": "cpu"}
    ray: dict[str, Any] = {"engine": "ray", "engine_options": {"address": nodes.address}}
    extract_corpus(ExtractRequest("meld", sample_root("meld"), tmp_path / "ray", **common, **ray))
    extract_corpus(ExtractRequest("meld", sample_root("meld"), tmp_path / "local", **common, workers=2))
    assert {name.partition("/")[0] for name in contents(tmp_path / "ray")} > {*names}
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.parametrize("whose", ["process", "actor"])
def test_a_worker_that_is_killed_costs_nothing(nodes: Nodes, tmp_path: Path, whose: str) -> None:
    """The process that makes the rows, or the actor of Ray that looks after it."""
    nodes.add()
    marks, manifest = tmp_path / "marks", sentences(20, {3: "hold it"})
    marks.mkdir()

    def kill() -> None:
        process = held_by(marks / "it")
        if whose == "actor":
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(process, signal.SIGKILL)

    killer = meanwhile(kill)
    run(nodes, manifest, tmp_path / "ray", holding(marks))
    killer.join()
    assert FeatureStore(tmp_path / "ray").statuses("toy") == {"ok": 20}
    assert contents(tmp_path / "ray") == local(manifest, tmp_path / "local", holding(marks))


def test_a_run_waits_for_a_new_node_when_it_has_lost_the_only_one(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add()
    marks, manifest = tmp_path / "marks", sentences(20, {3: "hold it"})
    marks.mkdir()

    running = meanwhile(lambda: run(nodes, manifest, tmp_path / "ray", holding(marks)))
    nodes.kill(nodes.of_process(held_by(marks / "it")))
    time.sleep(2)
    assert running.is_alive()
    nodes.add()  # Ray starts nodes in the main thread only
    running.join()
    assert contents(tmp_path / "ray") == local(manifest, tmp_path / "local", holding(marks))


def test_a_task_that_loses_its_workers_again_and_again_ends_the_run_and_resumes(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.add()
    marks, manifest = tmp_path / "marks", sentences(20, {3: "hold it"})
    marks.mkdir()
    monkeypatch.setattr("mmpipe.pipeline.extraction.engines.ray._MOST_LOSSES", 1)
    killer = meanwhile(lambda: nodes.kill(nodes.of_process(held_by(marks / "it"))))
    with pytest.raises(ResourceError, match=r"stage toy, shard 0: 1 workers were lost .* finished shards are safe"):
        run(nodes, manifest, tmp_path / "ray", holding(marks))
    killer.join()
    nodes.add()
    run(nodes, manifest, tmp_path / "ray", holding(marks))
    assert contents(tmp_path / "ray") == local(manifest, tmp_path / "local", holding(marks))


def test_models_on_gpus_have_workers_of_their_own_that_share_one(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add(cpus=1, gpus=1)
    stages = [toy(Slow, "decoding", seconds=0.02), toy(Slow, "model", "cuda", seconds=0.01)]
    made = run(nodes, sentences(96), tmp_path / "ray", *stages, gpu_share=0.5)
    pids = {stage.name: {result.pid for result in made if result.stage == stage.name} for stage in stages}
    assert len(pids["decoding"]) == 1 and 1 <= len(pids["model"]) <= 2
    assert pids["model"].isdisjoint(pids["decoding"])
    order = [result.stage for result in made]
    assert order.index("model") < len(order) - 1 - order[::-1].index("decoding")
    assert contents(tmp_path / "ray") == local(sentences(96), tmp_path / "local", *stages)


def test_a_gpu_that_the_cluster_does_not_have_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add()
    with pytest.raises(ClusterError, match="the Ray cluster has no GPU"):
        run(nodes, sentences(3), tmp_path / "ray", toy(Counting, "toy", "cuda"))


def package(folder: Path, name: str, number: str) -> str:
    """A folder of the Python path in which a package has another version."""
    (folder / f"{name}-{number}.dist-info").mkdir(parents=True)
    (folder / f"{name}-{number}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {number}\n")
    return os.pathsep.join([str(folder), str(Path.cwd()), os.environ.get("PYTHONPATH", "")])


def test_a_node_with_another_mmpipe_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add(PYTHONPATH=package(tmp_path / "path", "mmpipe", "9.9"))
    with pytest.raises(ClusterError, match=rf"has mmpipe 9\.9, and this machine has {version('mmpipe')}: install"):
        run(nodes, sentences(3), tmp_path / "ray", VERSIONED)


def test_a_node_with_another_library_is_refused_and_the_run_goes_on_without_it(nodes: Nodes, tmp_path: Path) -> None:
    odd = nodes.add(PYTHONPATH=package(tmp_path / "path", "packaging", "9.9"))
    here = version("packaging")
    with pytest.raises(ClusterError, match=rf"makes other values in stage 'toy': packaging 9\.9 \(planned with {here}"):
        run(nodes, sentences(3), tmp_path / "ray", VERSIONED)
    assert not (tmp_path / "ray" / "toy").exists() and not list(tmp_path.rglob("*.part*"))
    nodes.remove(odd)
    nodes.add()
    assert len(run(nodes, sentences(3), tmp_path / "ray", VERSIONED)) == 1


@pytest.mark.parametrize(
    ("weights", "message"), [("none", "cannot run stage 'toy' .*toy.bin are missing"), ("f" * 64, r"toy\.bin f+ \(")]
)
def test_a_node_without_the_weights_is_refused(nodes: Nodes, tmp_path: Path, weights: str, message: str) -> None:
    nodes.add(TOY_WEIGHTS=weights)
    with pytest.raises(ClusterError, match=message):
        run(nodes, sentences(3), tmp_path / "ray", VERSIONED)


def test_a_node_without_mmpipe_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "path" / "mmpipe").mkdir(parents=True)
    (tmp_path / "path" / "mmpipe" / "__init__.py").touch()  # hides the one that is installed
    nodes.add(PYTHONPATH=str(tmp_path / "path"))
    with pytest.raises(ClusterError, match=r"cannot load mmpipe .*install the same version"):
        run(nodes, sentences(3), tmp_path / "ray", VERSIONED)


def test_a_model_that_kills_every_process_stops_the_run(nodes: Nodes, tmp_path: Path) -> None:
    nodes.add()
    with pytest.raises(Exception, match=r"dies again while it loads.*DeadOnArrival"):
        run(nodes, sentences(3), tmp_path / "ray", toy(DeadOnArrival))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_ends_its_workers_leaves_nothing_half_and_resumes(
    nodes: Nodes, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    nodes.add(cpus=2)
    store = tmp_path / "store"
    write_manifest(sentences(120), tmp_path / "manifest.parquet", {})
    stage = ["--stages", "text", "--set", "text.extractor=tests.pipeline.toys:Slow", "--set", "text.seconds=0.05"]
    where = ["--root", tmp_path, "--manifest", tmp_path / "manifest.parquet", "--out", store, "--device", "cpu"]
    command = ["extract", "--dataset", "folder", *where, *stage, "--engine", "ray", "--address", nodes.address]
    process = start(*command)
    wait_for_shards(store, 2)
    os.killpg(process.pid, number)  # as a terminal or a job scheduler does
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "run the same command again to go on" in errors) == (code, True), errors
    assert not [path for name in ("*.part*", "*.lock") for path in store.rglob(name)]
    left = len(list(store.glob("text/*.parquet")))
    assert 2 <= left < 8
    time.sleep(1.5)
    assert len(list(store.glob("text/*.parquet"))) == left
    again = start(*command)
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert re.search(rf"text +{8 - left} +ok 120", output)
    with LocalEngine(2) as engine:
        request = ExtractRequest(
            "folder",
            tmp_path,
            tmp_path / "local",
            manifest=tmp_path / "manifest.parquet",
            stages=["text"],
            stage_options={"text": {"extractor": "tests.pipeline.toys:Slow", "seconds": 0.05}},
            device="cpu",
        )
        extract_corpus(request, engine)
    assert contents(store) == contents(tmp_path / "local")


def test_workers_end_when_the_machine_that_started_the_run_is_lost(nodes: Nodes, tmp_path: Path) -> None:
    node = nodes.add()
    write_manifest(sentences(200), tmp_path / "manifest.parquet", {})
    stage = ["--stages", "text", "--set", "text.extractor=tests.pipeline.toys:Slow", "--set", "text.seconds=0.2"]
    where = ["--root", tmp_path, "--manifest", tmp_path / "manifest.parquet", "--out", tmp_path / "store"]
    engine = ["--engine", "ray", "--address", nodes.address, "--device", "cpu"]
    process = start("extract", "--dataset", "folder", *where, *stage, *engine)
    wait_for_shards(tmp_path / "store", 1)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(b"spawn_main" in _command(child) for child in descendants(raylet(node))):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.2)


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
