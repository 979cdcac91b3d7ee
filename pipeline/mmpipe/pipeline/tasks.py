"""A task makes one shard of one stage. Every engine runs tasks through `run_task`, so all give the same files."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmpipe.extractors.contract import Extractor, Row
from mmpipe.manifests.errors import Rejected
from mmpipe.manifests.schema import Utterance, to_utterances
from mmpipe.pipeline.stages import StageSpec, run_stage
from mmpipe.pipeline.store import shard_path, shard_schema, write_shard

__all__ = ["Task", "TaskResult", "run_task"]


@dataclass(frozen=True)
class Task:
    """One shard of one stage.

    Attributes:
        stage: what to run.
        shard: its number.
        rows: the shard's rows of the manifest.
        root: the corpus root.
        store: the feature store's folder.
        provenance: what the footer will say; its hash is the shard's fingerprint.
        reason: why the task is due, for the log.
    """

    stage: StageSpec
    shard: int
    rows: pa.Table
    root: Path
    store: Path
    provenance: dict[str, Any]
    reason: str

    @property
    def path(self) -> Path:
        """The file that the task writes."""
        return shard_path(self.store, self.stage.name, self.shard)


@dataclass(frozen=True)
class TaskResult:
    """What a task did: its statuses, time and place. Kept in the store's logs."""

    stage: str
    shard: int
    rows: int
    statuses: dict[str, int]
    seconds: float
    host: str
    pid: int
    reason: str


_prepared: OrderedDict[str, Extractor] = OrderedDict()
"""The extractors that this process used last, so that a worker loads each model once."""

_KEPT_MODELS = 2
"""Tasks come stage by stage: older models need not stay in memory."""


def _extractor(spec: StageSpec) -> Extractor:
    key = repr(spec)
    if key not in _prepared:
        extractor = spec.build()
        extractor.prepare()
        _prepared[key] = extractor
        if len(_prepared) > _KEPT_MODELS:
            _prepared.popitem(last=False)
    return _prepared[key]


def run_task(task: Task) -> TaskResult:
    """Make the shard and write it whole.

    Raises:
        WeightsError: a model cannot be loaded; errors of single utterances become rows.
    """
    began = time.perf_counter()
    spec = task.stage
    extractor = _extractor(spec)
    utterances = to_utterances(task.rows)
    upstream = pq.read_table(shard_path(task.store, spec.needs, task.shard)) if spec.needs else None
    answers = run_stage(spec, extractor, utterances, task.root, upstream)
    write_shard(task.path, _table(extractor.columns(), utterances, answers), task.provenance)
    statuses = Counter("ok" if not isinstance(answer, Rejected) else answer.status for answer in answers)
    return TaskResult(
        spec.name,
        task.shard,
        len(utterances),
        dict(statuses),
        round(time.perf_counter() - began, 3),
        socket.gethostname(),
        os.getpid(),
        task.reason,
    )


def _table(columns: list[pa.Field], utterances: Sequence[Utterance], answers: Sequence[Row | Rejected]) -> pa.Table:
    rejected = [answer if isinstance(answer, Rejected) else None for answer in answers]
    arrays: list[pa.Array] = [
        pa.array([u.utterance_id for u in utterances], pa.string()),
        pa.array([r.status if r else "ok" for r in rejected], pa.string()),
        pa.array([r.message if r else None for r in rejected], pa.string()),
    ]
    for column in columns:
        values = [None if isinstance(answer, Rejected) else answer[column.name] for answer in answers]
        arrays.append(_array(values, column.type))
    return pa.Table.from_arrays(arrays, schema=shard_schema(columns))


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    """An Arrow array; matrices [N, W] of list<fixed_size_list[W]> columns are taken over without a Python loop."""
    if not (pa.types.is_list(type_) and pa.types.is_fixed_size_list(type_.value_type)):
        return pa.array(values, type_)
    inner = type_.value_type
    dtype = inner.value_type.to_pandas_dtype()
    present = [np.asarray(value, dtype).reshape(-1, inner.list_size) for value in values if value is not None]
    flat = np.concatenate(present).reshape(-1) if present else np.empty(0, dtype)
    items = pa.FixedSizeListArray.from_arrays(pa.array(flat, inner.value_type), type=inner)
    offsets = np.cumsum([0, *(0 if value is None else len(value) for value in values)]).astype(np.int32)
    mask = pa.array([value is None for value in values])
    return pa.ListArray.from_arrays(pa.array(offsets), items, type=type_, mask=mask)
