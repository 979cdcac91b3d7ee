"""What an extraction would take: a handful of the utterances that are due is extracted into a temporary store."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmpipe.core.parquet import glance
from mmpipe.pipeline.extraction.engines.worker import Worker
from mmpipe.pipeline.extraction.run import ExtractPlan
from mmpipe.pipeline.extraction.tasks import Task, TaskResult, prepare_task, run_task
from mmpipe.pipeline.store.shards import read_table, shard_path, write_shard

__all__ = ["Estimate", "estimate"]

_SAMPLE_UTTERANCES = 8


@dataclass(frozen=True)
class Estimate:
    """What one stage would take.

    Attributes:
        stage: its name.
        utterances: how many are due.
        sampled: how many were tried.
        seconds: time of one worker for all that are due.
        bytes: size of the shards that are due.
    """

    stage: str
    utterances: int
    sampled: int
    seconds: float
    bytes: int


def estimate(planned: ExtractPlan) -> list[Estimate]:
    """Try some utterances of each stage that has something due, in a process of its own and a temporary folder.

    Raises:
        WorkerDied: the process died.
        WeightsError: a model cannot be loaded.
    """
    worker = Worker()
    try:
        with tempfile.TemporaryDirectory(prefix="mmpipe-dry-run-") as folder:
            due = {
                s.name: [t for t in planned.tasks if t.stage.name == s.name and t.rows.num_rows] for s in planned.stages
            }
            made: dict[str, pa.Table] = {}
            answers = []
            for name, tasks in due.items():
                if tasks:
                    task = _sample(tasks, made, Path(folder))
                    made[name] = task.rows
                    worker.call(partial(prepare_task, task))
                    answers.append(_scaled(tasks, worker.call(partial(run_task, task)), task.path))
            return answers
    finally:
        worker.kill()


def _sample(tasks: Sequence[Task], made: dict[str, pa.Table], folder: Path) -> Task:
    """A task of the stage with some of its rows, and the upstream rows that it needs."""
    first, needs = tasks[0], tasks[0].stage.needs
    upstream = None
    if needs in made:
        rows = made[needs]
    elif needs:
        rows = first.rows.slice(0, _SAMPLE_UTTERANCES)
        upstream = read_table(shard_path(first.store, needs, first.shard)).slice(0, rows.num_rows)
    else:
        everything = pa.concat_tables(task.rows for task in tasks)
        count = min(_SAMPLE_UTTERANCES, everything.num_rows)
        rows = everything.take(np.linspace(0, everything.num_rows - 1, count).round().astype(int))
    if needs and upstream is not None:
        write_shard(shard_path(folder, needs, 0), upstream.replace_schema_metadata(None), {})
    provenance = dict(first.provenance)
    if needs:
        provenance["upstream"] = glance(shard_path(folder, needs, 0)).metadata["fingerprint"]
    return replace(first, shard=0, rows=rows, store=folder, provenance=provenance, retry=False, media={})


def _scaled(tasks: Sequence[Task], result: TaskResult, path: Path) -> Estimate:
    utterances = sum(task.rows.num_rows for task in tasks)
    share = utterances / result.rows
    group = pq.read_metadata(path).row_group(0)
    data = sum(group.column(number).total_compressed_size for number in range(group.num_columns))
    footers = (path.stat().st_size - data) * len(tasks)
    return Estimate(result.stage, utterances, result.rows, result.seconds * share, round(data * share) + footers)
