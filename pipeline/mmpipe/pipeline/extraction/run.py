"""Extraction: a manifest and its media become a feature store.

Every (stage, shard) whose footer does not carry the fingerprint that the present manifest, media, config, weights and
library versions give is due; all others are left alone. So running twice does nothing, and a killed run goes on.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import CorpusError, StoreError
from mmpipe.core.exclusive import exclusive
from mmpipe.core.files import append_line, explained, is_local, write_json
from mmpipe.core.object_cache import ObjectCache
from mmpipe.core.parquet import glance
from mmpipe.core.scratch import sweep_parts
from mmpipe.core.statuses import FAILURES
from mmpipe.pipeline.extraction.recovery import KnownStore, flow_order, known_store
from mmpipe.pipeline.extraction.resume import Due, find_due
from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES, StageSpec, describe_all
from mmpipe.pipeline.extraction.tasks import Task, TaskResult
from mmpipe.pipeline.extraction.vanished import media_of, refuse_lost_root
from mmpipe.pipeline.media.content_hash import MediaHashes, hash_media
from mmpipe.pipeline.store.exclusions import Exclusions
from mmpipe.pipeline.store.plan import plan
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import read_statuses, shard_path
from mmpipe.pipeline.store.soundness import extra_files
from mmpipe.pipeline.store.writing import write_store

__all__ = [
    "KEPT_ROWS",
    "NO_SHARD",
    "Engine",
    "ExtractPlan",
    "ExtractResult",
    "commit_plan",
    "plan_extraction",
    "rows_by_shard",
    "run_plan",
]


KEPT_ROWS = "kept_rows.json"
"""In the store's logs: the utterances, by stage, that kept their features though their media are gone."""


NO_SHARD = (0, 1)
"""The part of a store that has no shard: its plan is the manifest and the record alone."""


class Engine(Protocol):
    """What runs tasks: `mmpipe.pipeline.extraction.engines.local.LocalEngine`, for one.

    Those that have a name (`engines.registry`) are context managers, with the names of the `options` that their class
    takes, and `is_remote`: whether they run on machines whose devices this one does not see.

    Attributes:
        workers: how many tasks it can run at once.
    """

    workers: int

    def run(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
        """Run the tasks and yield their results as they come."""


@dataclass(frozen=True)
class ExtractPlan(Due):
    """What is to do. Making a plan writes nothing; `commit_plan` writes what it says.

    Attributes:
        corpus: the corpus's name.
        store: the feature store's folder.
        manifest: its manifest, rows in shard order.
        written: the manifest that the store has now; None where it has none.
        stages: the stages of this run.
        described: what makes the features of each stage of the store, those of other runs included.
        shards: the shards of this run: all, or those of its slice.
        part: the slice: its number, counted from 1, and the number of slices.
        media: content hashes of the media that the stages read.
        damage: files that are written again since they are damaged, and why; None if there are none.
        excluded: utterances that a list of marks left out of the manifest; None where none was given.
    """

    corpus: str
    store: Path
    manifest: pa.Table
    written: pa.Table | None
    stages: tuple[StageSpec, ...]
    described: dict[str, StageProvenance]
    shards: tuple[int, ...]
    part: tuple[int, int]
    media: MediaHashes
    damage: str | None = None
    excluded: Exclusions | None = None

    @property
    def rows_due(self) -> dict[str, int]:
        """Utterances that are due, by stage."""
        return {s.name: sum(t.rows.num_rows for t in self.tasks if t.stage.name == s.name) for s in self.stages}


@dataclass
class ExtractResult:
    """What a run did.

    Attributes:
        store: the feature store's folder.
        shards: shards made, by stage.
        statuses: statuses of the utterances of the store (of the run's slice of it), by stage.
        seconds: wall time of the run.
    """

    store: Path
    shards: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Utterances whose media or extractor failed in some stage (a missing face or transcript is not a failure)."""
        failures = (sum(n for s, n in counts.items() if s in FAILURES) for counts in self.statuses.values())
        return max(failures, default=0)


def plan_extraction(
    manifest: pa.Table,
    corpus: str,
    root: Path,
    store: Path,
    stages: Sequence[StageSpec],
    *,
    threads: int = 2,
    part: tuple[int, int] = (1, 1),
    retry_failed: bool = False,
    only_known: bool = False,
    accept_missing: bool = False,
    cache: ObjectCache | None = None,
    excluded: Exclusions | None = None,
) -> ExtractPlan:
    """Plan the shards and find what is due. Nothing is written.

    Args:
        manifest: rows of `MANIFEST_SCHEMA`.
        corpus: the corpus's name.
        root: the corpus root, against which media are resolved.
        store: the feature store's folder; it may not exist yet.
        stages: what to run, in the order of the flow.
        threads: media files hashed at once.
        part: the slice of the store to work on: (number from 1, number of slices). Slice i takes every shard k with
            k % n == i - 1, of all stages.
        retry_failed: rows that failed are due, whatever their fingerprint says.
        only_known: hash no media: those that were not hashed before count as changed.
        accept_missing: media that are gone are meant to be: rows of finished shards are replaced because of them.
        cache: keeps the media of an object store on a local disk; None reads them by ranges.
        excluded: utterances that were left out of `manifest`, for the record.

    Raises:
        CorpusError: the manifest is empty, or, unless `accept_missing`: the root or all media are not there, or most
            media of finished shards are gone, or some that a shard needs which must be made again.
        ResourceError: the disk or network of the media does not answer.
        StoreError: the store belongs to another corpus, holds utterances that the manifest lacks, or files that are not
            its own.
        UsageError: a stage's option is wrong.
        WeightsError: weights are missing.
    """
    if manifest.num_rows == 0:
        raise CorpusError(f"the manifest of {corpus} holds no utterance: nothing to extract from {root}")
    described = describe_all(stages)
    known = _existing(store, corpus)
    written = known.manifest
    ordered = plan(manifest, written)
    all_stages = known.described | described
    _refuse_extra_files(store, all_stages, 1 + pc.max(ordered.column("shard")).as_py())
    shards = {number: rows for number, rows in rows_by_shard(ordered).items() if number % part[1] == part[0] - 1}
    uris = media_of(pa.concat_tables(shards.values()), stages) if shards else set()
    media = hash_media(root, uris, store / "logs", threads, only_known=only_known, cache=cache)
    if uris and not accept_missing:
        refuse_lost_root(root, ordered, media, stages)
    again = {"retry_failed": retry_failed, "accept_missing": accept_missing}
    due = find_due(shards, root, store, stages, described, media, **again, threads=threads)
    return ExtractPlan(
        tuple(replace(task, cache=cache) for task in due.tasks),
        due.done,
        due.reasons,
        due.kept,
        corpus,
        store,
        ordered,
        written,
        tuple(stages),
        {name: all_stages[name] for name in flow_order(all_stages)},
        tuple(shards),
        part,
        media,
        known.damage,
        excluded,
    )


def _refuse_extra_files(store: Path, stages: Iterable[str], shards: int) -> None:
    for stage in stages:
        for file in extra_files(store, stage, shards):
            raise StoreError(f"{store / file} is not a shard of this store, and its readers refuse it: remove it")


def commit_plan(planned: ExtractPlan) -> None:
    """Write manifest.parquet, store.json and the cache of media hashes of a plan; what is equal is left alone.

    Raises:
        StoreError: another run has changed the store's manifest since the plan was made.
        StorageError: the store cannot be written.
    """
    if is_local(planned.store):
        with explained(planned.store):
            (planned.store / "logs").mkdir(parents=True, exist_ok=True)
    with exclusive(planned.store / "logs" / "plan.lock"):
        known = _existing(planned.store, planned.corpus)
        present, planned_before = known.manifest, [m for m in (planned.written, planned.manifest) if m is not None]
        if present is not None and not any(present.equals(manifest) for manifest in planned_before):
            raise StoreError(f"{planned.store} was changed by another run since this one was planned: run it again")
        sweep_parts(planned.store)
        version = importlib.metadata.version("mmpipe")
        own = {spec.name: planned.described[spec.name] for spec in planned.stages}
        all_stages = planned.described | known.described | own  # another slice may have added a stage
        described = {name: all_stages[name] for name in flow_order(all_stages)}
        excluded = None if planned.excluded is None else planned.excluded.to_json()
        write_store(planned.store, planned.corpus, planned.manifest, described, version, present, excluded)
        planned.media.remember(planned.store / "logs")
        if planned.kept:
            write_json(planned.store / "logs" / KEPT_ROWS, {name: list(ids) for name, ids in planned.kept.items()})


def _existing(store: Path, corpus: str) -> KnownStore:
    if not (store / "store.json").exists():
        _refuse_foreign(store)
    known = known_store(store)
    if known is None:
        return KnownStore(corpus, None, {})
    if known.corpus not in (None, corpus):
        raise StoreError(f"{store} holds features of {known.corpus!r}, not of {corpus!r}: give another --out")
    return known


def _statuses(planned: ExtractPlan, stage: str, made: Mapping[tuple[str, int], Mapping[str, int]]) -> dict[str, int]:
    """Utterances by status in the shards of the run, the most frequent first; the other slices may differ yet.

    Those of the shards that were `made` now are known; the others are read.
    """
    counts = Counter[str]()
    for shard in planned.shards:
        if (known := made.get((stage, shard))) is None:
            known = Counter(read_statuses(shard_path(planned.store, stage, shard)).column("status").to_pylist())
        counts.update(known)
    return dict(counts.most_common())


def _refuse_foreign(store: Path) -> None:
    """Refuse a folder whose manifest or shards mmpipe did not write: they would be replaced."""
    stages = [f for f in store.iterdir() if f.is_dir() and f.name in DEFAULT_STAGES] if store.is_dir() else []
    for path in (store / "manifest.parquet", *(shard for stage in stages for shard in stage.glob("*.parquet"))):
        if not path.exists():
            continue
        try:
            is_own = bool(glance(path).metadata)
        except (OSError, pa.ArrowInvalid):
            is_own = False
        if not is_own:
            raise StoreError(f"{path} was not written by mmpipe and would be replaced: give another --out")


def rows_by_shard(manifest: pa.Table) -> dict[int, pa.Table]:
    """The rows of each shard, which follow one another in the manifest; none where all of its rows were dropped."""
    numbers = manifest.column("shard").to_numpy()
    bounds = np.searchsorted(numbers, np.arange(numbers[-1] + 2)).tolist()
    return {number: manifest.slice(start, end - start) for number, (start, end) in enumerate(pairwise(bounds))}


def run_plan(
    planned: ExtractPlan, engine: Engine, on_result: Callable[[TaskResult], None] = lambda done: None
) -> ExtractResult:
    """Commit a plan and run what is due.

    Args:
        planned: from `plan_extraction`.
        engine: runs the tasks.
        on_result: called with the result of every task, for progress.

    Returns:
        What the run did, and the statuses of the store, or of the run's slice of it.

    Raises:
        StorageError: the store cannot be written.
    """
    began, result, made = time.perf_counter(), ExtractResult(planned.store), dict[tuple[str, int], dict[str, int]]()
    commit_plan(planned)
    if planned.tasks:
        log = planned.store / "logs" / f"tasks.{socket.gethostname()}.{os.getpid()}.jsonl"
        for done in engine.run(planned.tasks):
            append_line(log, json.dumps({"time": time.time(), "slices": planned.part[1], **asdict(done)}))
            made[done.stage, done.shard] = done.statuses
            on_result(done)
    shards = Counter(stage for stage, _ in made)
    result.shards = {spec.name: shards[spec.name] for spec in planned.stages}
    result.statuses = {spec.name: _statuses(planned, spec.name, made) for spec in planned.stages}
    result.seconds = time.perf_counter() - began
    return result
