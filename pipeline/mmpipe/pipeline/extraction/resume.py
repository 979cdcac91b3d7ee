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

from mmpipe.core.errors import StorageError, StoreError
from mmpipe.core.files import canonical_json
from mmpipe.core.parquet import Footer, fingerprint, read_footer, verify_files
from mmpipe.core.statuses import FAILURES
from mmpipe.pipeline.extraction.stages import MEDIA_COLUMNS, StageSpec
from mmpipe.pipeline.extraction.tasks import Task
from mmpipe.pipeline.extraction.vanished import NONE_KEPT, Census, find_kept, uris_of
from mmpipe.pipeline.media.content_hash import MediaHashes, is_hash
from mmpipe.pipeline.media.versions import repair_versions
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import misplaced, read_statuses, shard_path
from mmpipe.pipeline.store.vectors import is_stored_form

__all__ = ["ROW_COLUMNS", "Due", "OldShard", "feed", "find_due", "read_old", "rows_print", "why_due"]

ROW_COLUMNS = {
    "audio": ("utterance_id", "audio"),
    "frames": ("utterance_id", "video"),
    "crops": ("utterance_id",),
    "words": ("utterance_id", "words", "text"),
}
"""The columns of the manifest that a stage reads: changing another one makes no shard of it due."""


@dataclass(frozen=True)
class Due:
    """The answer.

    Attributes:
        tasks: the (stage, shard) pairs that are due, stage by stage.
        done: number of shards that are up to date, by stage.
        reasons: why shards are due: (stage, reason) -> number of shards.
        kept: utterances that keep their features though their media are gone, by stage.
    """

    tasks: tuple[Task, ...]
    done: dict[str, int]
    reasons: dict[tuple[str, str], int]
    kept: dict[str, tuple[str, ...]]


def find_due(
    shards: Mapping[int, pa.Table],
    root: Path,
    store: Path,
    stages: Sequence[StageSpec],
    described: Mapping[str, StageProvenance],
    media: MediaHashes,
    *,
    retry_failed: bool = False,
    accept_missing: bool = False,
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
        accept_missing: rows that are `ok` are replaced where their media are gone; otherwise they are kept.
        threads: files checked at once.

    Raises:
        StoreError: a stage reads shards that neither exist nor are made in this run.
        CorpusError: most media of finished shards are gone, or a shard that must be made again needs some that are.
        StorageError: a footer cannot be read, and the file is not what is wrong.
    """
    verify_files([shard_path(store, spec.name, number) for spec in stages for number in shards], threads)
    prints: dict[tuple[str, int], str] = {}
    found: dict[tuple[str, int], Footer] = {}
    tasks, done, reasons = [], Counter[str](), Counter[tuple[str, str]]()
    gone = frozenset(uri for uri, value in media.by_uri.items() if not is_hash(value))
    kept_ids: dict[str, list[str]] = {}
    census = Census()
    unchanged: dict[tuple[str, int], tuple[str, tuple[int, ...]]] = {}
    printed: dict[tuple[str, int], str] = {}
    for spec in stages:
        made, kind, needs = described[spec.name].to_json(), spec.input, spec.needs
        for number, rows in shards.items():
            path = shard_path(store, spec.name, number)
            if (kind, number) not in printed:
                printed[kind, number] = rows_print(rows, kind)
            provenance = {"stage": spec.name, **made, "rows": printed[kind, number], "media": {}}
            old, kept = read_old(path), NONE_KEPT
            if column := MEDIA_COLUMNS.get(kind):
                provenance["media"] = {uri: media.by_uri[uri] for uri in sorted(uris_of(rows, column))}
                before = old.provenance.get("media", {})
                if not accept_missing:
                    census.count(spec.name, before, media.by_uri)
                    kept = find_kept(path, rows, column, before, media.by_uri)
                    provenance["media"] |= kept.media
            provenance, broken = _with_repair(spec, path, old, provenance)
            needed, upstream = (needs or "", number), None
            if needs:
                if needed not in prints:
                    found[needed] = _made(store, spec, number)
                    prints[needed] = found[needed].metadata["fingerprint"]
                provenance["upstream"], upstream = prints[needed], found.get(needed)
            prints[spec.name, number] = fingerprint(provenance)
            reason = why_due(old, spec.needs, provenance, upstream)
            retry = reason is None and retry_failed and _has_failed(path)
            if reason is None and not retry and needs and upstream is None:
                reason = f"stage {needs} is made again"
            places = kept.places
            if broken:
                reason, places = "media to repair", _others(rows.num_rows, broken)
                unchanged[spec.name, number] = str(old.footer and old.footer.metadata["fingerprint"]), places
            elif needed in unchanged and old.provenance == {**provenance, "upstream": unchanged[needed][0]}:
                places = unchanged[needed][1]
            if reason and kept.places and not broken and not _differ_in_media_alone(old.provenance, provenance):
                census.block(spec.name, number, reason, kept)
            if kept.ids:
                kept_ids.setdefault(spec.name, []).extend(kept.ids)
            if reason or retry:
                reason, places = reason or "rows failed", () if retry else places
                states = {uri: media.states[uri] for uri in provenance["media"]}
                task = Task(
                    spec, number, rows, root, store, provenance, reason, retry, states, places, gone, accept_missing
                )
                tasks.append(task)
                reasons[spec.name, reason] += 1
            else:
                done[spec.name] += 1
                found |= {} if old.footer is None else {(spec.name, number): old.footer}
    census.refuse_loss(root)
    return Due(tuple(tasks), dict(done), dict(reasons), {name: tuple(ids) for name, ids in kept_ids.items()})


def _with_repair(
    spec: StageSpec, path: Path, old: OldShard, provenance: dict[str, Any]
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The provenance of a shard whose media may be repaired, and the places of the rows that wait for that.

    Only a shard that has rows to repair says so: `repair` holds the versions of the tool. What was repaired stays.
    """
    plain = {name: value for name, value in old.provenance.items() if name != "repair"}
    if plain == provenance and "repair" in old.provenance:
        return {**provenance, "repair": old.provenance["repair"]}, ()
    if not spec.transcode_fallback:
        return provenance, ()
    repaired = {**provenance, "repair": repair_versions()}
    if plain != provenance:
        return repaired, ()
    statuses = read_statuses(path).column("status").to_pylist()
    broken = tuple(place for place, status in enumerate(statuses) if status == "media_error")
    return (repaired, broken) if broken else (provenance, ())


def _others(number: int, places: Sequence[int]) -> tuple[int, ...]:
    """The places from 0 to `number` that are not among these."""
    return tuple(sorted({*range(number)} - {*places}))


def _differ_in_media_alone(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {**one, "media": None} == {**other, "media": None}


def rows_print(rows: pa.Table, kind: str) -> str:
    """Hash of what a stage that reads inputs of this kind reads of these rows.

    Whole columns are hashed: with Python objects, planning would take minutes for a large corpus.
    """
    digest = hashlib.sha256()
    for name in ROW_COLUMNS[kind]:
        digest.update(name.encode())
        feed(digest, rows.column(name).combine_chunks())
    return digest.hexdigest()


def feed(digest: Any, array: pa.Array) -> None:
    """Feed an array's values to a hash: nulls, then lengths, then the values inside."""
    digest.update(np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_struct(array.type):
        for field in array.flatten():
            feed(digest, field)
    elif pa.types.is_list(array.type):
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        digest.update(lengths.astype("<i8").tobytes())
        feed(digest, array.flatten())
    elif pa.types.is_floating(array.type):
        values = array.fill_null(0.0).to_numpy(zero_copy_only=False)
        digest.update(values.astype("<f8").tobytes())
    else:
        digest.update(canonical_json(array.to_pylist()).encode())


def _has_failed(path: Path) -> bool:
    statuses = read_statuses(path).column("status")
    return bool(pc.any(pc.is_in(statuses, pa.array(FAILURES))).as_py())


@dataclass(frozen=True)
class OldShard:
    """What is at the place of a shard.

    Attributes:
        footer: of the shard; None where there is none that can be used.
        lacks: then, why.
    """

    footer: Footer | None = None
    lacks: str | None = None

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What made it; empty where nothing says that."""
        return {} if self.footer is None else dict(self.footer.metadata.get("provenance", {}))


def read_old(path: Path) -> OldShard:
    """The footer of a shard.

    Raises:
        StorageError: the system does not let it be read: no reason to make it again.
    """
    try:
        footer = read_footer(path)
    except FileNotFoundError:
        return OldShard(lacks="not made yet")
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(
                f"{path} cannot be read ({error.strerror or error}): check the disk, the mount and the permissions, "
                "then run the same command again"
            ) from error
        return OldShard(lacks="the file is damaged")
    return OldShard(lacks="the file is a copy of another shard") if misplaced(path, footer) else OldShard(footer)


def _made(store: Path, spec: StageSpec, shard: int) -> Footer:
    """The footer of an upstream shard that an earlier run made."""
    old = read_old(shard_path(store, str(spec.needs), shard))
    if old.footer is None or "fingerprint" not in old.footer.metadata:
        raise StoreError(
            f"stage {spec.name!r} reads stage {spec.needs!r}, whose shard {shard} cannot be used "
            f"({old.lacks or 'its footer holds no fingerprint'}): "
            f"add {spec.needs} to --stages"
        )
    return old.footer


def why_due(old: OldShard, needs: str | None, provenance: dict[str, Any], upstream: Footer | None) -> str | None:
    """Why a shard is due, in words; None if it is up to date.

    Args:
        old: what is there.
        needs: the stage that its stage reads, if it reads one.
        provenance: what its values should follow from.
        upstream: the footer of the shard that it should be made from, where that is up to date.
    """
    if old.footer is None:
        return old.lacks
    if old.footer.metadata.get("fingerprint") == fingerprint(provenance):
        if not is_stored_form(old.footer.schema):
            return "written in the format of an earlier version"
        # Earlier versions name the fingerprint of the shard that it was made from only, which is in the provenance.
        made_from = old.footer.metadata.get("upstream")
        is_other = upstream is not None and made_from not in (None, upstream.seal)
        return f"changed: stage {needs}" if is_other else None
    before = old.provenance
    changed = []
    for key in sorted(provenance.keys() | before.keys()):
        new, was = provenance.get(key), before.get(key)
        if new == was:
            continue
        if isinstance(new, dict) and isinstance(was, dict) and key != "media":
            changed += [f"{key}.{k}" for k in sorted(new.keys() | was.keys()) if new.get(k) != was.get(k)]
        else:
            changed.append(
                {"rows": "manifest rows", "media": "media content", "upstream": f"stage {needs}"}.get(key, key)
            )
    return f"changed: {', '.join(changed)}"
