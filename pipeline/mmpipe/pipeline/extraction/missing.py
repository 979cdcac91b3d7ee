"""What a store still lacks by its own record: every (stage, shard) that is not as store.json and the manifest say.

The corpus is not looked at, so this needs neither its root nor its models: media that changed, and libraries that were
updated since the last plan, are found by `find_due` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpipe.core.errors import StoreError
from mmpipe.core.parquet import Footer, verify_files
from mmpipe.core.reading import parse_object, read_limited
from mmpipe.manifests.registry import CORPORA
from mmpipe.pipeline.extraction.resume import ROW_COLUMNS, OldShard, read_old, rows_print, why_due
from mmpipe.pipeline.extraction.run import rows_by_shard
from mmpipe.pipeline.extraction.source import read_source
from mmpipe.pipeline.hardware import available_cores
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.provenance import upstream_of
from mmpipe.pipeline.store.shards import shard_path

__all__ = ["MissingShard", "find_missing", "slices_of"]


@dataclass(frozen=True)
class MissingShard:
    """A shard of a stage that is due.

    Attributes:
        stage: the stage's name.
        shard: its number.
        rows: utterances of the shard.
        slice: the slice of a job array that makes it, counted from 1; None where no number of slices is known.
        why: why it is due, in words.
    """

    stage: str
    shard: int
    rows: int
    slice: int | None
    why: str


def find_missing(path: Path, slices: int | None = None) -> list[MissingShard]:
    """Every shard that is due, stage by stage. Every byte of the shards is checked, except on an object store.

    Args:
        path: the store's folder.
        slices: of the job array; None takes the number of the last run that the logs name, if that was one of several.

    Raises:
        StoreError: the folder is not a feature store, or its record or manifest is damaged.
        StorageError: a shard cannot be read, and the file is not what is wrong.
    """
    store = FeatureStore(path)
    count, shards = slices or slices_of(path), rows_by_shard(store.manifest()) if store.num_shards else {}
    verify_files([shard_path(path, s, n) for s in store.info["stages"] for n in shards], available_cores())
    found, sound = list[MissingShard](), dict[tuple[str, int], Footer]()

    def add(stage: str, number: int, why: str) -> None:
        part = None if count is None else number % count + 1
        found.append(MissingShard(stage, number, shards[number].num_rows, part, why))

    for stage, made in store.described.items():
        if made.input not in ROW_COLUMNS:
            raise StoreError(f"{path}: stage {stage!r} reads {made.input!r}, which this version does not know")
        needs = upstream if (upstream := upstream_of(made.input)) in store.described else None
        for number, rows in shards.items():
            old, record = read_old(shard_path(path, stage, number)), {"stage": stage, **made.to_json()}
            record["rows"] = rows_print(rows, made.input)
            if (why := _why(old, needs, record, sound.get((needs or "", number)))) is not None:
                add(stage, number, why)
            elif old.footer is not None:
                sound[stage, number] = old.footer
    for stage in _waiting(path, store):
        for number in shards:
            add(stage, number, "not made yet: the stage waits for the faces of all shards, whose statistics it uses")
    return found


def _why(old: OldShard, needs: str | None, record: Mapping[str, Any], upstream: Footer | None) -> str | None:
    """Why a shard is due; what it says of its media and of their repair is taken as it is."""
    as_made = {name: old.provenance[name] for name in ("media", "repair", "upstream") if name in old.provenance}
    provenance = {"media": {}, **as_made, **record}
    if needs and upstream is not None:
        provenance["upstream"] = upstream.metadata["fingerprint"]
    why = why_due(old, needs, provenance, upstream)
    if needs and upstream is None:
        missing = f"its shard of stage {needs}, which it reads, is due"
        return missing if why is None else f"{why}; {missing}"
    return why


def _waiting(path: Path, store: FeatureStore) -> list[str]:
    """Stages of the last extraction that are not planned yet, since they ask for the statistics of its crops."""
    if (source := read_source(path)) is None:
        return []
    asked = source.stages or (CORPORA.load(source.dataset).stages if source.dataset in CORPORA.names() else ())
    statistics = {name for name, options in source.stage_options.items() if options.get("statistics") == "corpus"}
    return [name for name in dict.fromkeys([*asked, *source.stage_options]) if name in statistics - {*store.described}]


def slices_of(path: Path) -> int | None:
    """The number of slices of the last run that made a shard, by the logs; None for a run without slices or logs."""
    last, count = 0.0, 1
    for log in (path / "logs").glob("tasks*.jsonl"):
        for entry in _entries(log):
            if isinstance(entry.get("slices"), int) and isinstance(entry.get("time"), float) and entry["time"] > last:
                last, count = entry["time"], entry["slices"]
    return count if count > 1 else None


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = read_limited(log).decode("utf-8", "replace").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        try:
            yield parse_object(line)
        except ValueError:
            continue  # a run that was killed may leave half a line
