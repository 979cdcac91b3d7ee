"""What a run of a million utterances costs the process that plans and hands out: `python -m benchmarks.scheduling`.

Four stages that do nothing, one of them on the crops of another, on utterances with text and media spans: 3,907 shards
of each. The workers read, write and seal every shard as in any run. Measured is the driver alone, in a process of its
own: its processor seconds and its peak memory, with the local engine and with Ray. With `--driver-alone` the workers
answer at once and write nothing, which leaves the driver's part as it is. `--slow` compares the wall time of both on
stages that take a while, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from mmpipe.extractors.contract import ExtractorConfig, InputKind, PerItemExtractor, Row
from mmpipe.manifests.io import read_manifest, write_manifest
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table
from mmpipe.pipeline.extraction.engines import local, ray
from mmpipe.pipeline.extraction.engines.local import LocalEngine
from mmpipe.pipeline.extraction.engines.ray import RayEngine
from mmpipe.pipeline.extraction.engines.ray_worker import RayWorker
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.tasks import Task, TaskResult

WORKERS = 2
MEDIA = 2_000
ENGINES: dict[str, type[LocalEngine] | type[RayEngine]] = {"local": LocalEngine, "ray": RayEngine}


class NothingConfig(ExtractorConfig):
    """Config of `Nothing`."""

    seconds: float = 0.0
    """Time that an utterance takes."""


class Nothing(PerItemExtractor):
    """Makes one empty list a row."""

    input: ClassVar[InputKind] = "words"
    Config: ClassVar[type[ExtractorConfig]] = NothingConfig
    config: NothingConfig

    def columns(self) -> list[pa.Field]:
        """Crops, so that another stage can read them."""
        return [pa.field("crops", pa.list_(pa.binary()))]

    def weights(self) -> dict[str, str]:
        """None."""
        return {}

    def versions(self) -> dict[str, str]:
        """None."""
        return {}

    def extract_one(self, item: Any) -> Row:
        """Do nothing, or keep a processor busy."""
        until = time.process_time() + self.config.seconds
        while time.process_time() < until:
            pass
        return {"crops": []}


def answered(task: Task) -> TaskResult:
    """The result of a task that is not run."""
    rows = task.rows.num_rows
    return TaskResult(task.stage.name, task.shard, rows, rows, {"ok": rows}, 0.0, "nowhere", os.getpid(), task.reason)


class AnsweringWorker(RayWorker):
    """A worker of the Ray engine that runs no task."""

    def run(self, task: bytes) -> tuple[bool, Any]:
        """Answer."""
        return True, asdict(answered(pickle.loads(task)))


class NothingOfCrops(Nothing):
    """The same, of the crops of another stage."""

    input: ClassVar[InputKind] = "crops"


def stages(seconds: float) -> list[StageSpec]:
    """Four stages, of which `expression` waits for `faces`."""
    options = {"seconds": seconds}
    names = {"audio": "Nothing", "faces": "Nothing", "expression": "NothingOfCrops", "text": "Nothing"}
    return [StageSpec(name, f"benchmarks.scheduling:{kind}", options) for name, kind in names.items()]


def utterance(number: int) -> Utterance:
    """One of them."""
    span = MediaSpan(f"m{number % MEDIA:04d}.mkv", float(number // MEDIA), number // MEDIA + 5.0)
    text = "so it is said again and again"
    return Utterance(f"bench/{number:07d}", "bench", audio=span, video=span, speaker=f"s{number % 100}", text=text)


def utterances(count: int) -> pa.Table:
    """Utterances with text and spans of `MEDIA` recordings."""
    starts = range(0, count, 100_000)
    parts = [to_table(utterance(number) for number in range(first, min(count, first + 100_000))) for first in starts]
    return pa.concat_tables(parts).combine_chunks()


def measure(engine: str, manifest: Path, folder: Path, seconds: float, *, alone: bool) -> None:
    """Plan and run in this process; print what it took as JSON."""
    if alone:
        vars(local)["run_task"], vars(ray)["RayWorker"] = answered, AnsweringWorker
    began, before = time.perf_counter(), time.process_time()
    with ENGINES[engine](WORKERS) as pool:
        started = time.process_time()
        planned = plan_extraction(
            read_manifest(manifest), "bench", folder, folder / engine, stages(seconds), threads=WORKERS
        )
        done = time.process_time()
        result = run_plan(planned, pool)
    rows = planned.manifest.num_rows
    assert all(counts == {"ok": rows} for counts in result.statuses.values()), result.statuses
    found = {
        "engine": engine,
        "utterances": rows,
        "tasks": len(planned.tasks),
        "start_cpu_seconds": started - before,
        "plan_cpu_seconds": done - started,
        "run_cpu_seconds": time.process_time() - done,
        "cpu_seconds": time.process_time() - before,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "wall_seconds": time.perf_counter() - began,
    }
    print(json.dumps({name: round(value, 1) if isinstance(value, float) else value for name, value in found.items()}))


def in_own_process(engine: str, manifest: Path, folder: Path, seconds: float, *, alone: bool) -> dict[str, Any]:
    """`measure` in a process of its own, whose peak memory is that of this run."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scheduling",
        "--measure",
        engine,
        str(manifest),
        str(folder),
        str(seconds),
    ]
    command += ["--driver-alone"] if alone else []
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(run.stdout.splitlines()[-1]))


def main() -> None:
    """Parse the options and print a line of JSON for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=[*ENGINES], action="append", help="default: both")
    parser.add_argument("--slow", type=float, default=0.0, metavar="SECONDS", help="processor time of each row")
    parser.add_argument("--pairs", type=int, default=1, help="runs of each engine, in turns")
    parser.add_argument("--driver-alone", action="store_true", help="the workers answer at once and write nothing")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        engine, manifest, folder, seconds = options.measure
        measure(engine, Path(manifest), Path(folder), float(seconds), alone=options.driver_alone)
        return
    for _ in range(options.pairs):
        for engine in options.engine or ENGINES:
            with tempfile.TemporaryDirectory() as folder:
                manifest = Path(folder) / "manifest.parquet"
                for number in range(MEDIA):
                    (Path(folder) / f"m{number:04d}.mkv").touch()
                write_manifest(utterances(options.utterances), manifest, {})
                found = in_own_process(engine, manifest, Path(folder), options.slow, alone=options.driver_alone)
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
