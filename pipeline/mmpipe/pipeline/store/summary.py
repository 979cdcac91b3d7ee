"""What a feature store holds: counts, statuses, failures by reason, provenance.

Everything is read from the files that are there, so a store whose extraction still runs, or was killed, can be looked
at.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from mmpipe.core.errors import StoreError
from mmpipe.core.reading import parse_object, read_limited
from mmpipe.manifests.io import read_manifest
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.manifest_summary import ManifestSummary, summarise_manifest
from mmpipe.pipeline.store.shards import read_table, shard_path
from mmpipe.pipeline.store.soundness import check_stage

__all__ = ["Failure", "StageSummary", "Summary", "inspect_store"]


@dataclass(frozen=True)
class Failure:
    """Utterances of a stage that have no features, or have them with a warning, for one reason.

    Attributes:
        status: one of `STATUSES`.
        reason: the message, with numbers and file names taken out.
        count: how many.
        example: one message as it is in the store.
        utterance_id: the utterance of the example.
    """

    status: str
    reason: str
    count: int
    example: str
    utterance_id: str


@dataclass
class StageSummary:
    """One stage of a store.

    Attributes:
        name: the stage.
        extractor: the extractor's name.
        shards: shards that are there.
        statuses: utterances by status, the most frequent first.
        failures: what is not `ok`, the most frequent first.
        warnings: what is `ok`, but has odd media, the most frequent first.
        bytes: size on disk.
        utterances_per_second: rate of one worker, from the log; None where there is no log.
        provenance: what made the shards: extractor, config, weights, library versions, device, precision.
        configs: number of different provenances (above 1 while a change of options is being applied).
        difference: how the shards differ from each other or from store.json in what made them; None if they do not.
        damaged: files that are not what was written, are extra, or are of another stage, shard or store: why, by path.
    """

    name: str
    extractor: str
    shards: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[Failure] = field(default_factory=list)
    bytes: int = 0
    utterances_per_second: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    configs: int = 0
    difference: str | None = None
    damaged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """A store, or a manifest alone (then there are no stages and `shards` is 0)."""

    path: Path
    corpus: str
    version: str | None
    shards: int
    manifest: ManifestSummary
    stages: tuple[StageSummary, ...]


def inspect_store(path: Path) -> Summary:
    """Summarise a feature store, or a manifest file.

    Raises:
        StoreError: the folder is not a feature store.
        ManifestError: the file is not a manifest.
    """
    if path.is_file():
        manifest = read_manifest(path)
        corpora = sorted(set(manifest.column("corpus").unique().to_pylist()))
        return Summary(path, ", ".join(corpora), None, 0, summarise_manifest(manifest), ())
    store = FeatureStore(path)
    rates = _rates(path / "logs")
    stages = tuple(_stage(store, name, rates.get(name)) for name in store.info["stages"])
    summary = summarise_manifest(store.manifest())
    return Summary(path, store.corpus, store.info["mmpipe"], store.num_shards, summary, stages)


def _stage(store: FeatureStore, name: str, rate: float | None) -> StageSummary:
    described = store.info["stages"][name]
    stage = StageSummary(name, described.get("extractor", "?"), utterances_per_second=rate)
    statuses: Counter[str] = Counter()
    cases: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    check = check_stage(store.path, name, store.num_shards)
    stage.damaged = dict(check.problems)
    for shard in range(store.num_shards):
        file = shard_path(store.path, name, shard)
        key = f"{name}/{file.name}"
        if key in stage.damaged or not file.exists():
            continue
        try:
            rows = read_table(file, ["utterance_id", "status", "error"])
        except StoreError as error:
            stage.damaged[key] = str(error)
            continue
        if not rows.column("utterance_id").equals(store.ids_of(shard)):
            stage.damaged[key] = "its utterances are not those of the manifest"
            continue
        stage.shards, stage.bytes = stage.shards + 1, stage.bytes + file.stat().st_size
        for entry in rows.column("status").value_counts().to_pylist():
            statuses[entry["values"]] += entry["counts"]
        told = pc.or_(pc.not_equal(rows.column("status"), "ok"), pc.is_valid(rows.column("error")))
        for row in rows.filter(told).to_pylist():
            message = row["error"] or ""
            cases[row["status"], _general(message)].append((message, row["utterance_id"]))
    stage.statuses = dict(statuses.most_common())
    reasons = [
        Failure(status, reason, len(rows), *rows[0])
        for (status, reason), rows in sorted(cases.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    stage.failures = [reason for reason in reasons if reason.status != "ok"]
    stage.warnings = [reason for reason in reasons if reason.status == "ok"]
    stage.provenance, stage.configs = (check.ways[0][0] if check.ways else described), len(check.ways)
    stage.difference = check.difference(described)
    return stage


def _general(message: str) -> str:
    """A message without what differs from one utterance to the next: file names and numbers.

    Example:
        >>> _general("dia1/clip_7.mp4 ends at 3.5 s")
        '… ends at … s'
    """
    return re.sub(r"\S*/\S+|\S+\.\w{2,4}\b|\b\d+(\.\d+)?\b", "…", message)


def _rates(logs: Path) -> dict[str, float]:
    """Utterances a second of one worker, by stage."""
    rows: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for log in logs.glob("tasks*.jsonl"):
        try:
            lines = read_limited(log).decode("utf-8", "replace").splitlines()
        except (OSError, ValueError):
            continue  # a rate is not worth a failure
        for line in lines:
            try:
                entry = parse_object(line)
                stage, made, took = entry["stage"], entry["made"], entry["seconds"]
                rows[stage] += made
                seconds[stage] += max(0.0, took)
            except (ValueError, KeyError, TypeError):
                continue  # a run that was killed may leave half a line
    return {stage: rows[stage] / seconds[stage] for stage in rows if rows[stage] and seconds[stage] > 0}
