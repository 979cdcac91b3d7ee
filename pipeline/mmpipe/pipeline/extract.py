"""Extraction: a manifest and its media become a feature store.

Every (stage, shard) whose footer does not carry the fingerprint that the present manifest, media, config, weights and
library versions give is due; all others are left alone. So running twice does nothing, and a killed run goes on.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from mmpipe.manifests.errors import CorpusError, StoreError
from mmpipe.manifests.files import sweep_parts
from mmpipe.manifests.io import read_manifest
from mmpipe.pipeline.hashes import hash_media
from mmpipe.pipeline.plan import plan
from mmpipe.pipeline.stages import DEFAULT_STAGES, StageSpec, describe
from mmpipe.pipeline.store import FeatureStore, fingerprint, write_store
from mmpipe.pipeline.tasks import Task, TaskResult

__all__ = ["Engine", "ExtractPlan", "ExtractResult", "extract", "plan_extraction"]

ROW_COLUMNS = {
    "audio": ("utterance_id", "audio"),
    "frames": ("utterance_id", "video"),
    "crops": ("utterance_id",),
    "words": ("utterance_id", "words", "text"),
}
"""The columns of the manifest that a stage reads: changing another one makes no shard of it due."""

MEDIA_COLUMNS = {"audio": "audio", "frames": "video"}
"""The column that names the media of a stage, by the stage's input kind."""


class Engine(Protocol):
    """What runs tasks: `mmpipe.pipeline.engines.local.LocalEngine`, for one."""

    workers: int

    def run(self, tasks: Sequence[Task]) -> Iterator[TaskResult]:
        """Run the tasks and yield their results as they come."""


@dataclass(frozen=True)
class ExtractPlan:
    """What is to do.

    Attributes:
        store: the feature store's folder.
        manifest: its manifest, rows in shard order.
        stages: the stages of this run.
        tasks: the (stage, shard) pairs that are due, stage by stage.
        done: number of shards that are up to date, by stage.
        reasons: why shards are due: (stage, reason) -> number of shards.
    """

    store: Path
    manifest: pa.Table
    stages: tuple[StageSpec, ...]
    tasks: tuple[Task, ...]
    done: dict[str, int]
    reasons: dict[tuple[str, str], int]

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
        statuses: statuses of all utterances of the store, by stage.
        seconds: wall time of the run.
    """

    store: Path
    shards: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Utterances whose media or extractor failed in some stage (a missing face or transcript is no failure)."""
        bad = ("media_missing", "media_error", "extractor_error")
        return max((sum(n for s, n in counts.items() if s in bad) for counts in self.statuses.values()), default=0)


def plan_extraction(
    manifest: pa.Table, corpus: str, root: Path, store: Path, stages: Sequence[StageSpec], *, threads: int = 2
) -> ExtractPlan:
    """Plan the shards, write manifest.parquet and store.json, and find what is due.

    Args:
        manifest: rows of `MANIFEST_SCHEMA`.
        corpus: the corpus's name.
        root: the corpus root, against which media are resolved.
        store: the feature store's folder; made if it does not exist.
        stages: what to run, in the order of the flow.
        threads: media files hashed at once.

    Raises:
        CorpusError: the manifest is empty.
        StoreError: the store belongs to another corpus, or holds utterances that the manifest lacks.
        UsageError: a stage's option is wrong.
        WeightsError: weights are missing.
    """
    if manifest.num_rows == 0:
        raise CorpusError(f"the manifest of {corpus} holds no utterance: nothing to extract from {root}")
    described = {spec.name: describe(spec) for spec in stages}
    planned, known_stages = _existing(store, corpus)
    ordered = plan(manifest, planned)
    store.mkdir(parents=True, exist_ok=True)
    sweep_parts(store)
    all_stages = known_stages | described
    flow = [*DEFAULT_STAGES, *sorted(all_stages.keys() - DEFAULT_STAGES.keys())]
    all_stages = {name: all_stages[name] for name in flow if name in all_stages}
    write_store(store, corpus, ordered, all_stages, importlib.metadata.version("mmpipe"))
    columns = {MEDIA_COLUMNS[spec.input] for spec in stages if spec.input in MEDIA_COLUMNS}
    uris = {row["uri"] for column in columns for row in ordered.column(column).to_pylist() if row}
    media = hash_media(root, uris, store / "logs" / "media_hashes.json", threads)
    return _due(ordered, root, store, stages, described, media)


def _existing(store: Path, corpus: str) -> tuple[pa.Table | None, dict[str, Any]]:
    if not (store / "store.json").exists():
        return None, {}
    existing = FeatureStore(store)
    if existing.corpus != corpus:
        raise StoreError(f"{store} holds features of {existing.corpus!r}, not of {corpus!r}: give another --out")
    manifest = read_manifest(store / "manifest.parquet") if (store / "manifest.parquet").exists() else None
    return manifest, existing.info["stages"]


def _due(
    manifest: pa.Table,
    root: Path,
    store: Path,
    stages: Sequence[StageSpec],
    described: dict[str, dict[str, Any]],
    media: dict[str, str],
) -> ExtractPlan:
    numbers = manifest.column("shard").to_pylist()
    first_rows = [row for row in range(len(numbers)) if row == 0 or numbers[row] != numbers[row - 1]]
    lengths = [end - start for start, end in zip(first_rows, [*first_rows[1:], len(numbers)], strict=True)]
    shards = [manifest.slice(start, length) for start, length in zip(first_rows, lengths, strict=True)]
    prints: dict[tuple[str, int], str] = {}
    tasks, done, reasons = [], Counter[str](), Counter[tuple[str, str]]()
    for spec in stages:
        for number, rows in enumerate(shards):
            read = rows.select(ROW_COLUMNS[spec.input]).to_pylist()
            provenance = {"stage": spec.name, **described[spec.name], "rows": fingerprint(read), "media": {}}
            if column := MEDIA_COLUMNS.get(spec.input):
                provenance["media"] = {row[column]["uri"]: media[row[column]["uri"]] for row in read if row[column]}
            if spec.needs:
                provenance["upstream"] = prints.get((spec.needs, number)) or _made(store, spec, number)
            prints[spec.name, number] = fingerprint(provenance)
            if reason := _why(store, spec, number, provenance):
                tasks.append(Task(spec, number, rows, root, store, provenance, reason))
                reasons[spec.name, reason] += 1
            else:
                done[spec.name] += 1
    return ExtractPlan(store, manifest, tuple(stages), tuple(tasks), dict(done), dict(reasons))


def _made(store: Path, spec: StageSpec, shard: int) -> str:
    """Fingerprint of an upstream shard that an earlier run made."""
    try:
        return str(FeatureStore(store).footer(str(spec.needs), shard)["fingerprint"])
    except StoreError as error:
        raise StoreError(
            f"stage {spec.name!r} reads stage {spec.needs!r}, whose shard {shard} is not there: "
            f"add {spec.needs} to --stages"
        ) from error


def _why(store: Path, spec: StageSpec, shard: int, provenance: dict[str, Any]) -> str | None:
    """Why a shard is due, in words; None if it is up to date."""
    from mmpipe.manifests.files import read_metadata
    from mmpipe.pipeline.store import shard_path

    path = shard_path(store, spec.name, shard)
    if not path.exists():
        return "not made yet"
    try:
        old = read_metadata(path)
    except (OSError, pa.ArrowInvalid):
        return "the file is damaged"
    if old.get("fingerprint") == fingerprint(provenance):
        return None
    before = old.get("provenance", {})
    changed = []
    for key in sorted(provenance.keys() | before.keys()):
        new, was = provenance.get(key), before.get(key)
        if new == was:
            continue
        if isinstance(new, dict) and isinstance(was, dict) and key != "media":
            changed += [f"{key}.{k}" for k in sorted(new.keys() | was.keys()) if new.get(k) != was.get(k)]
        else:
            changed.append(
                {"rows": "manifest rows", "media": "media content", "upstream": f"stage {spec.needs}"}.get(key, key)
            )
    return f"changed: {', '.join(changed)}"


def extract(planned: ExtractPlan, engine: Engine, on_result: Any = None) -> ExtractResult:
    """Run what is due.

    Args:
        planned: from `plan_extraction`.
        engine: runs the tasks.
        on_result: called with every `TaskResult`, for progress.

    Returns:
        What the run did, and the statuses of the whole store.
    """
    began, result, logs = time.perf_counter(), ExtractResult(planned.store), planned.store / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    made: Counter[str] = Counter()
    if planned.tasks:
        with (logs / "tasks.jsonl").open("a", encoding="utf-8") as log:
            for done in engine.run(planned.tasks):
                log.write(json.dumps({"time": time.time(), **asdict(done)}) + "\n")
                log.flush()
                made[done.stage] += 1
                if on_result:
                    on_result(done)
    store = FeatureStore(planned.store)
    result.shards = {spec.name: made[spec.name] for spec in planned.stages}
    result.statuses = {spec.name: store.statuses(spec.name) for spec in planned.stages}
    result.seconds = time.perf_counter() - began
    return result
