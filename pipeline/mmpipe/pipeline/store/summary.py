"""What a feature store or a manifest holds: counts, statuses, failures by reason, provenance, or one utterance in full.

Everything is read from the files that are there, so a store whose extraction still runs, or was killed, can be looked
at.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.manifests.io import read_manifest
from mmpipe.manifests.schema import MANIFEST_SCHEMA, Utterance, to_utterances
from mmpipe.pipeline.store.feature_store import FeatureStore, read_table, shard_path

__all__ = [
    "Failure",
    "ManifestSummary",
    "StageSummary",
    "Summary",
    "UtteranceView",
    "durations_seconds",
    "inspect_store",
    "inspect_utterance",
    "summarise_manifest",
]

PERCENTILE = 80
"""The paper cuts AMI to the length that 80 per cent of the labelled utterances do not exceed (section 4.2)."""


@dataclass(frozen=True)
class ManifestSummary:
    """Counts of a manifest.

    Attributes:
        rows: utterances.
        counts: by column (`label`, `split`, `session`, `speaker`) and value, the most frequent first; without nulls.
        unlabelled: utterances without a label.
        with_audio: utterances with a span of audio.
        with_video: utterances with a span of video.
        with_text: utterances with a transcript.
        hours: sum of the durations that are known.
        median_seconds: median duration; None where no duration is known.
        percentile_seconds: the duration that 80 per cent of the utterances do not exceed; None where none is known.
    """

    rows: int
    counts: dict[str, dict[str, int]]
    unlabelled: int
    with_audio: int
    with_video: int
    with_text: int
    hours: float
    median_seconds: float | None
    percentile_seconds: float | None


@dataclass(frozen=True)
class Failure:
    """Utterances of a stage that have no features, or have them with a warning, for one reason.

    Attributes:
        status: one of `STATUSES`.
        reason: the message, with numbers and file names taken out.
        count: how many.
        example: one message as it stands in the store.
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
        damaged: shards that cannot be read.
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
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Summary:
    """A store, or a manifest alone (then there are no stages and `shards` is 0)."""

    path: Path
    corpus: str
    version: str | None
    shards: int
    manifest: ManifestSummary
    stages: tuple[StageSummary, ...]


@dataclass(frozen=True)
class UtteranceView:
    """One utterance in full.

    Attributes:
        utterance: its row of the manifest.
        stages: by stage, what its row holds: `status`, `error`, `fingerprint` and the columns (arrays as NumPy arrays).
    """

    utterance: Utterance
    stages: dict[str, dict[str, Any]]


def durations_seconds(manifest: pa.Table) -> pa.ChunkedArray:
    """Length of each utterance's audio span, else of its video span, in seconds; null where no end is known.

    A clip that is a file of its own has no end in the manifest: there the length that the corpus gives counts
    (annotation `duration_seconds`, as MELD has it).
    """
    lengths = []
    for column in ("audio", "video"):
        spans = manifest.column(column)
        lengths.append(pc.subtract(pc.struct_field(spans, "end_seconds"), pc.struct_field(spans, "start_seconds")))
    told = pc.extract_regex(manifest.column("annotations"), r'"duration_seconds": (?P<seconds>\d+(?:\.\d+)?)[,}]')
    return pc.coalesce(*lengths, pc.struct_field(told, "seconds").cast(pa.float64()))


def summarise_manifest(manifest: pa.Table) -> ManifestSummary:
    """Count a manifest's rows by their attributes."""
    counts = {}
    for name in ("label", "split", "session", "speaker"):
        values = manifest.column(name).drop_null().value_counts().to_pylist()
        counts[name] = {v["values"]: v["counts"] for v in sorted(values, key=lambda v: (-v["counts"], v["values"]))}
    durations = durations_seconds(manifest).drop_null()
    median = percentile = None
    if len(durations):
        median, percentile = pc.quantile(durations, [0.5, PERCENTILE / 100]).to_pylist()
    return ManifestSummary(
        rows=manifest.num_rows,
        counts=counts,
        unlabelled=manifest.column("label").null_count,
        with_audio=manifest.num_rows - manifest.column("audio").null_count,
        with_video=manifest.num_rows - manifest.column("video").null_count,
        with_text=pc.sum(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(manifest.column("text"))), 0)).as_py() or 0,
        hours=(pc.sum(durations).as_py() or 0.0) / 3600,
        median_seconds=median,
        percentile_seconds=percentile,
    )


def inspect_store(path: Path) -> Summary:
    """Summarise a feature store, or a manifest file.

    Raises:
        StoreError: the folder is no feature store.
        ManifestError: the file is no manifest.
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
    provenances: dict[str, dict[str, Any]] = {}
    for shard in range(store.num_shards):
        file = shard_path(store.path, name, shard)
        if not file.exists():
            continue
        try:
            rows = read_table(file, ["utterance_id", "status", "error"])
            made = store.footer(name, shard)["provenance"]
        except (OSError, KeyError, ValueError, StoreError):
            stage.damaged.append(file.name)
            continue
        stage.shards, stage.bytes = stage.shards + 1, stage.bytes + file.stat().st_size
        general = {k: v for k, v in made.items() if k not in ("rows", "media", "upstream", "stage")}
        provenances.setdefault(json.dumps(general, sort_keys=True), general)
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
    stage.provenance, stage.configs = next(iter(provenances.values()), described), len(provenances)
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
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                stage, made, took = entry["stage"], entry["made"], entry["seconds"]
                rows[stage] += made
                seconds[stage] += took
            except (ValueError, KeyError, TypeError):
                continue  # a run that was killed may leave half a line
    return {stage: rows[stage] / seconds[stage] for stage in rows if rows[stage] and seconds[stage] > 0}


def inspect_utterance(path: Path, utterance_id: str) -> UtteranceView:
    """One utterance of a store, or of a manifest file, with all that is known of it.

    Raises:
        UsageError: there is no such utterance; the message names the nearest ids.
        StoreError: the folder is no feature store.
        ManifestError: the file is no manifest.
    """
    store = None if path.is_file() else FeatureStore(path)
    manifest = read_manifest(path) if store is None else store.manifest()
    ids = manifest.column("utterance_id")
    row = pc.index(ids, utterance_id).as_py()
    if row < 0:
        raise UsageError(f"{path} has no utterance {utterance_id!r}{_nearest(utterance_id, ids.to_pylist())}")
    utterance = to_utterances(manifest.slice(row, 1).select(MANIFEST_SCHEMA.names))[0]
    return UtteranceView(utterance, {} if store is None else dict(_stage_rows(store, utterance)))


def _nearest(wanted: str, ids: list[str]) -> str:
    near = [name for name in ids if wanted in name][:3] or difflib.get_close_matches(wanted, ids[:50_000], 3, 0.3)
    return f"; the nearest ids: {', '.join(near)}" if near else ""


def _stage_rows(store: FeatureStore, utterance: Utterance) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in store.info["stages"]:
        if not shard_path(store.path, stage, utterance.shard or 0).exists():
            continue
        table = store.read_shard(stage, utterance.shard or 0)
        row = pc.index(table.column("utterance_id"), utterance.utterance_id).as_py()
        if row < 0:
            raise StoreError(
                f"{shard_path(store.path, stage, utterance.shard or 0)} lacks {utterance.utterance_id!r}: "
                "run `mmpipe extract` again to redo it"
            )
        values = {name: _value(table.column(name)[row]) for name in table.column_names if name != "utterance_id"}
        yield stage, values | {"fingerprint": store.footer(stage, utterance.shard or 0)["fingerprint"]}


def _value(scalar: pa.Scalar) -> Any:
    """A cell; vectors and matrices of numbers as NumPy arrays."""
    value = scalar.as_py()
    inner = scalar.type
    while pa.types.is_list(inner) or pa.types.is_fixed_size_list(inner):
        inner = inner.value_type
    is_array = isinstance(value, list) and pa.types.is_floating(inner)
    return np.asarray(value, inner.to_pandas_dtype()) if is_array else value
