"""What is due: every (stage, shard) whose footer does not carry the present fingerprint.

The fingerprint covers the rows of the manifest, the media, the config, the weights and the library versions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError
from mmpipe.core.files import canonical_json
from mmpipe.core.parquet import Footer, fingerprint, read_footer, verify_files
from mmpipe.core.statuses import FAILURES
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.extraction.tasks import Task
from mmpipe.pipeline.media.content_hash import MediaHashes
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import misplaced, read_table, shard_path
from mmpipe.pipeline.store.vectors import is_stored_form

__all__ = ["MEDIA_COLUMNS", "ROW_COLUMNS", "Due", "find_due", "media_of", "media_uris", "rows_print"]

ROW_COLUMNS = {
    "audio": ("utterance_id", "audio"),
    "frames": ("utterance_id", "video"),
    "crops": ("utterance_id",),
    "words": ("utterance_id", "words", "text"),
}
"""The columns of the manifest that a stage reads: changing another one makes no shard of it due."""

MEDIA_COLUMNS = {"audio": "audio", "frames": "video"}
"""The column that names the media of a stage, by the stage's input kind."""


@dataclass(frozen=True)
class Due:
    """The answer.

    Attributes:
        tasks: the (stage, shard) pairs that are due, stage by stage.
        done: number of shards that are up to date, by stage.
        reasons: why shards are due: (stage, reason) -> number of shards.
    """

    tasks: tuple[Task, ...]
    done: dict[str, int]
    reasons: dict[tuple[str, str], int]


def media_of(rows: pa.Table, stages: Sequence[StageSpec]) -> set[str]:
    """The media that these stages read for these rows of a manifest."""
    columns = {MEDIA_COLUMNS[spec.input] for spec in stages if spec.input in MEDIA_COLUMNS}
    return {uri for column in columns for uri in media_uris(rows, column)}


def media_uris(rows: pa.Table, column: str) -> list[str]:
    """The media that a column of these rows names."""
    return list(pc.unique(pc.struct_field(rows.column(column), "uri").drop_null()).to_pylist())


def find_due(
    shards: Mapping[int, pa.Table],
    root: Path,
    store: Path,
    stages: Sequence[StageSpec],
    described: Mapping[str, StageProvenance],
    media: MediaHashes,
    *,
    retry_failed: bool = False,
    threads: int = 1,
) -> Due:
    """Compare the shards of the store with what their footers should say. Every byte of them is checked.

    Args:
        shards: rows of the manifest by shard number.
        root: the corpus root.
        store: the feature store's folder.
        stages: what to run, in the order of the flow.
        described: what decides the values of each stage.
        media: content hash of each media file, by its uri.
        retry_failed: shards that are up to date but hold failed rows are due as well.
        threads: files checked at once.

    Raises:
        StoreError: a stage reads shards that neither exist nor are made in this run.
    """
    verify_files([shard_path(store, spec.name, number) for spec in stages for number in shards], threads)
    prints: dict[tuple[str, int], str] = {}
    found: dict[tuple[str, int], Footer] = {}
    tasks, done, reasons = [], Counter[str](), Counter[tuple[str, str]]()
    for spec in stages:
        for number, rows in shards.items():
            provenance = {
                "stage": spec.name,
                **described[spec.name].to_json(),
                "rows": rows_print(rows, spec.input),
                "media": {},
            }
            if column := MEDIA_COLUMNS.get(spec.input):
                provenance["media"] = {uri: media.by_uri[uri] for uri in sorted(media_uris(rows, column))}
            needed, upstream = (spec.needs or "", number), None
            if spec.needs:
                if needed not in prints:
                    found[needed] = _made(store, spec, number)
                    prints[needed] = found[needed].metadata["fingerprint"]
                provenance["upstream"], upstream = prints[needed], found.get(needed)
            prints[spec.name, number] = fingerprint(provenance)
            footer, reason = _look(store, spec, number, provenance, prints[spec.name, number], upstream)
            retry = reason is None and retry_failed and _has_failed(store, spec, number)
            if reason is None and not retry and spec.needs and upstream is None:
                reason = f"stage {spec.needs} is made again"
            if reason or retry:
                reason, states = reason or "rows failed", {uri: media.states[uri] for uri in provenance["media"]}
                tasks.append(Task(spec, number, rows, root, store, provenance, reason, retry, states))
                reasons[spec.name, reason] += 1
            else:
                done[spec.name] += 1
                found |= {} if footer is None else {(spec.name, number): footer}
    return Due(tuple(tasks), dict(done), dict(reasons))


def rows_print(rows: pa.Table, kind: str) -> str:
    """Hash of what a stage that reads inputs of this kind reads of these rows.

    Whole columns are hashed: with Python objects, planning would take minutes for a large corpus.
    """
    digest = hashlib.sha256()
    for name in ROW_COLUMNS[kind]:
        digest.update(name.encode())
        _feed(digest, rows.column(name).combine_chunks())
    return digest.hexdigest()


def _feed(digest: Any, array: pa.Array) -> None:
    """Feed an array's values: nulls, then lengths, then the values inside."""
    digest.update(np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_struct(array.type):
        for field in array.flatten():
            _feed(digest, field)
    elif pa.types.is_list(array.type):
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        digest.update(lengths.astype("<i8").tobytes())
        _feed(digest, array.flatten())
    elif pa.types.is_floating(array.type):
        values = array.fill_null(0.0).to_numpy(zero_copy_only=False)
        digest.update(values.astype("<f8").tobytes())
    else:
        digest.update(canonical_json(array.to_pylist()).encode())


def _has_failed(store: Path, spec: StageSpec, number: int) -> bool:
    statuses = read_table(shard_path(store, spec.name, number), ["status"]).column("status")
    return bool(pc.any(pc.is_in(statuses, pa.array(FAILURES))).as_py())


def _made(store: Path, spec: StageSpec, shard: int) -> Footer:
    """The footer of an upstream shard that an earlier run made."""
    path = shard_path(store, str(spec.needs), shard)
    try:
        footer = read_footer(path)
        problem = "holds no fingerprint" if "fingerprint" not in footer.metadata else misplaced(path, footer)
    except FileNotFoundError:
        problem = "is not there"
    except (OSError, pa.ArrowInvalid) as error:
        problem = f"is damaged ({error})"
    if problem:
        raise StoreError(
            f"stage {spec.name!r} reads stage {spec.needs!r}, whose shard {shard} {problem}: "
            f"add {spec.needs} to --stages"
        )
    return footer


def _look(
    store: Path, spec: StageSpec, shard: int, provenance: dict[str, Any], print_: str, upstream: Footer | None
) -> tuple[Footer | None, str | None]:
    """The footer of a shard, if it can be read, and why the shard is due, in words; None if it is up to date."""
    path = shard_path(store, spec.name, shard)
    try:
        footer = read_footer(path)
    except FileNotFoundError:
        return None, "not made yet"
    except (OSError, pa.ArrowInvalid):
        return None, "the file is damaged"
    return footer, _why(path, spec, provenance, print_, footer, upstream)


def _why(
    path: Path, spec: StageSpec, provenance: dict[str, Any], print_: str, footer: Footer, upstream: Footer | None
) -> str | None:
    old = footer.metadata
    if misplaced(path, footer):
        return "the file is a copy of another shard"
    if old.get("fingerprint") == print_:
        if not is_stored_form(footer.schema):
            return "written in the format of an earlier version"
        made_from = old.get("upstream")  # earlier versions name the fingerprint only, which is in the provenance
        is_other = upstream is not None and made_from not in (None, upstream.seal)
        return f"changed: stage {spec.needs}" if is_other else None
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
