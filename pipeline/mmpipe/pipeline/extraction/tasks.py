"""A task makes one shard of one stage. Every engine runs tasks through `run_task`, so all give the same files."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmpipe.core.errors import Rejected, StoreError
from mmpipe.core.object_cache import ObjectCache
from mmpipe.core.parquet import Footer
from mmpipe.core.statuses import FAILURES
from mmpipe.extractors.contract import Extractor, Row
from mmpipe.manifests.schema import Utterance, to_utterances
from mmpipe.pipeline.extraction.apply import Answer, run_stage
from mmpipe.pipeline.extraction.media_guard import MediaGuard
from mmpipe.pipeline.extraction.stages import MEDIA_COLUMNS, StageSpec
from mmpipe.pipeline.extraction.watch import Watch, refusing_failures
from mmpipe.pipeline.store.shards import (
    made_with,
    misplaced,
    read_shard_file,
    read_table,
    shard_path,
    shard_schema,
    write_shard,
)
from mmpipe.pipeline.store.vectors import misfit

__all__ = [
    "Task",
    "TaskResult",
    "due_places",
    "finish_task",
    "lost_row",
    "make_rows",
    "prepare_task",
    "run_task",
]


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
        retry: make the rows that failed only, and keep the others of the shard that is there.
        media: by uri, the state of each media file when it was hashed.
        keep: places of rows that are taken over from the shard that is there: their media are gone, or only others are
            repaired.
        gone: media that could not be read when the run was planned.
        lenient: write a row without features for whatever cannot be read.
        cache: keeps the media of an object store on a local disk; None reads them by ranges.
    """

    stage: StageSpec
    shard: int
    rows: pa.Table
    root: Path
    store: Path
    provenance: dict[str, Any]
    reason: str
    retry: bool = False
    media: dict[str, str] = field(default_factory=dict)
    keep: tuple[int, ...] = ()
    gone: frozenset[str] = frozenset()
    lenient: bool = False
    cache: ObjectCache | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets: a pickled slice of the manifest would carry the whole manifest along."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.rows.schema) as stream:
            stream.write_table(self.rows)
        return {**self.__dict__, "rows": sink.getvalue().to_pybytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What a worker makes of it."""
        self.__dict__.update(state, rows=pa.ipc.open_stream(state["rows"]).read_all())

    @property
    def path(self) -> Path:
        """The file that the task writes."""
        return shard_path(self.store, self.stage.name, self.shard)

    def __str__(self) -> str:
        return f"stage {self.stage.name}, shard {self.shard}"


@dataclass(frozen=True)
class TaskResult:
    """What a task did: its statuses, time and place. Kept in the store's logs.

    Attributes:
        stage: the stage's name.
        shard: the shard's number.
        rows: rows of the shard.
        made: rows of it that were made now: none if another run made the shard, some if the task retried.
        statuses: rows by status.
        seconds: what it took.
        host: where.
        pid: the process.
        reason: why the shard was due.
    """

    stage: str
    shard: int
    rows: int
    made: int
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


def prepare_task(task: Task) -> None:
    """Load the task's model.

    Raises:
        WeightsError: it cannot be loaded.
    """
    _extractor(task.stage)


def run_task(task: Task) -> TaskResult:
    """Make the shard and write it whole. A shard that another run has made meanwhile is left as it is.

    Raises:
        StoreError: the shard that it is made from is not the planned one.
        WeightsError: a model cannot be loaded; errors of single utterances become rows.
        StorageError: the shard cannot be written.
        ResourceError: the environment failed, see `watch`.
    """
    began = time.perf_counter()
    with refusing_failures(str(task)):
        if not task.retry and made_with(task.path, task.provenance, _upstream_seal(task)):
            made = read_table(task.path, ["status"])
            return _result(replace(task, reason="up to date by now"), made, 0, time.perf_counter() - began)
        places = due_places(task)
        return finish_task(task, places, [make_rows(task, places)], time.perf_counter() - began)


def due_places(task: Task) -> list[int]:
    """Which rows of the shard are to be made: all but those that are kept, or those that failed if the task retries."""
    if task.keep:
        return sorted(set(range(task.rows.num_rows)) - {*task.keep})
    if not (task.retry and made_with(task.path, task.provenance, _upstream_seal(task))):
        return list(range(task.rows.num_rows))
    statuses = read_table(task.path, ["status"]).column("status").to_pylist()
    return [place for place, status in enumerate(statuses) if status in FAILURES]


def make_rows(task: Task, places: Sequence[int]) -> pa.Table:
    """The rows of the shard at `places`, as they will be in the file.

    Raises:
        ResourceError: the environment failed, see `watch`.
        StoreError: the shard that they are made from is not the planned one.
    """
    with refusing_failures(str(task)):
        extractor, taken = _extractor(task.stage), pa.array(places, pa.int64())
        utterances = to_utterances(task.rows.take(taken))
        upstream, seal = None, None
        if task.stage.needs:
            whole, footer = _upstream(task)
            upstream, seal = whole.take(taken), footer.seal
        uris = [_uri(task, utterance) for utterance in utterances]
        known = [None if uri is None else uri not in task.gone for uri in uris]
        watch = Watch(str(task), [u.utterance_id for u in utterances], known, lenient=task.lenient)
        guard = MediaGuard(task.root, filter(None, uris), task.provenance.get("media", {}), task.media)
        answers = run_stage(task.stage, extractor, utterances, task.root, upstream, watch, task.cache)
        changed = guard.changed()
        for place, uri in enumerate(uris):
            if uri in changed:
                watch.see(place, changed[uri])
                answers[place] = Answer(changed[uri])
        return _marked(_table(extractor.columns(), utterances, answers), seal)


_MADE_FROM = b"upstream"
"""The key under which the schema of new rows names the SHA-256 of the shard that they were made from."""


def _marked(table: pa.Table, seal: str | None) -> pa.Table:
    return table if seal is None else table.replace_schema_metadata({_MADE_FROM: seal})


def _upstream(task: Task, columns: Sequence[str] | None = None) -> tuple[pa.Table, Footer]:
    """The shard that the task reads; it must be the one that was planned."""
    path = shard_path(task.store, str(task.stage.needs), task.shard)
    table, footer = read_shard_file(path, columns)
    same = footer.metadata.get("fingerprint") == task.provenance["upstream"] and misplaced(path, footer) is None
    if not same or not table.column("utterance_id").equals(task.rows.column("utterance_id")):
        raise StoreError(
            f"{path} is not the shard that stage {task.stage.name!r} was planned to read: another run has replaced it; "
            "wait until that has ended, then run the same command again"
        )
    return table, footer


def _upstream_seal(task: Task) -> str | None:
    return _upstream(task, ["utterance_id"])[1].seal if task.stage.needs else None


def _uri(task: Task, utterance: Utterance) -> str | None:
    """The media file that the stage reads of an utterance, if it reads one."""
    column = MEDIA_COLUMNS.get(task.stage.input)
    span = getattr(utterance, column) if column else None
    return None if span is None else str(span.uri)


def lost_row(task: Task, place: int, message: str) -> pa.Table:
    """The row of an utterance on which every process dies."""
    rejected = Rejected("worker_crashed", message)
    row = _table(_extractor(task.stage).columns(), to_utterances(task.rows.slice(place, 1)), [Answer(rejected)])
    return _marked(row, _upstream_seal(task))


def finish_task(task: Task, places: Sequence[int], tables: Sequence[pa.Table], seconds: float) -> TaskResult:
    """Write the shard from the rows at `places`, which `tables` hold in order, and the other rows of the file there.

    Args:
        task: the task.
        places: from `due_places`.
        tables: from `make_rows` and `lost_row`.
        seconds: what making the rows took, for the log.

    Raises:
        StoreError: the rows were made from different shards.
        StorageError: the shard cannot be written.
    """
    began = time.perf_counter()
    made_from = {seal for table in tables if (seal := (table.schema.metadata or {}).get(_MADE_FROM))}
    table = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
    if len(places) < task.rows.num_rows:
        whole, footer = read_shard_file(task.path)
        kept = whole.replace_schema_metadata(None)
        if not task.keep:  # rows that are kept were made from rows that the new shard took over
            made_from |= {seal.encode() for seal in [footer.metadata.get("upstream")] if seal}
        source = list(range(kept.num_rows))
        for number, place in enumerate(places):
            source[place] = kept.num_rows + number
        table = pa.concat_tables([kept, table]).take(source)
    if len(made_from) > 1:
        raise StoreError(
            f"stage {task.stage.needs!r} changed while shard {task.shard} of stage {task.stage.name!r} was made from "
            "it: run the same command again when no other run works on the store"
        )
    write_shard(task.path, table.combine_chunks(), task.provenance, *(seal.decode() for seal in made_from))
    return _result(task, table, len(places), seconds + time.perf_counter() - began)


def _result(task: Task, table: pa.Table, made: int, seconds: float) -> TaskResult:
    statuses = Counter(table.column("status").to_pylist())
    return TaskResult(
        task.stage.name,
        task.shard,
        table.num_rows,
        made,
        dict(statuses),
        round(seconds, 3),
        socket.gethostname(),
        os.getpid(),
        task.reason,
    )


def _table(columns: list[pa.Field], utterances: Sequence[Utterance], answers: Sequence[Answer]) -> pa.Table:
    rows = [_checked(columns, answer.row) for answer in answers]
    arrays: list[pa.Array] = [
        pa.array([u.utterance_id for u in utterances], pa.string()),
        pa.array([row.status if isinstance(row, Rejected) else "ok" for row in rows], pa.string()),
        pa.array(
            [row.message if isinstance(row, Rejected) else a.warning for row, a in zip(rows, answers, strict=True)],
            pa.string(),
        ),
    ]
    schema = shard_schema(columns)
    for column in columns:
        values = [None if isinstance(row, Rejected) else row[column.name] for row in rows]
        arrays.append(_array(values, schema.field(column.name).type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _checked(columns: list[pa.Field], row: Row | Rejected) -> Row | Rejected:
    """The row, or why there is none: what the extractor says, or vectors of another width than it declares."""
    if isinstance(row, Rejected) or (problem := misfit(row, columns)) is None:
        return row
    return Rejected("extractor_error", problem)


def _array(values: list[Any], type_: pa.DataType) -> pa.Array:
    """An Arrow array; matrices [N, W] of list<fixed_size_list[W]> columns are used without a Python loop."""
    if not (pa.types.is_list(type_) and pa.types.is_fixed_size_list(type_.value_type)):
        return pa.array(values, type_)
    inner = type_.value_type
    dtype = inner.value_type.to_pandas_dtype()
    present = [np.asarray(value, dtype).reshape(-1, inner.list_size) for value in values if value is not None]
    flat = np.concatenate(present).reshape(-1) if present else np.empty(0, dtype)
    items = pa.FixedSizeListArray.from_arrays(pa.array(flat, inner.value_type), type=inner)
    offsets = np.cumsum([0, *(0 if value is None else len(value) for value in values)]).astype(np.int32)
    mask = pa.array([value is None for value in values], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets), items, type=type_, mask=mask)
