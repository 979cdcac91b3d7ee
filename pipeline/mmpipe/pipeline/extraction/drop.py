"""Drop the rows of utterances that a corpus no longer has from a store, and keep all other features.

A shard that holds such rows is written again without them, with the fingerprint that it would have if it had been made
without them; all other shards keep their bytes. While that goes on, store.json lists the rows under `dropping`: every
reader refuses the store, and the next extraction finishes what a killed one left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError
from mmpipe.core.files import explained, write_bytes
from mmpipe.core.locks import hold
from mmpipe.core.parquet import check_seal, fingerprint, read_footer, read_sealed, write_parquet
from mmpipe.core.seals import read_sealed_json, write_sealed_json
from mmpipe.pipeline.extraction.resume import ROW_COLUMNS, rows_print
from mmpipe.pipeline.extraction.stages import MEDIA_COLUMNS
from mmpipe.pipeline.extraction.vanished import uris_of
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.plan import describe_vanished, refuse_renamed
from mmpipe.pipeline.store.shards import read_table, shard_file, shard_path

__all__ = ["drop_missing", "finish_drop"]


def drop_missing(path: Path, manifest: pa.Table) -> list[str]:
    """Drop the rows of a store whose utterances a manifest lacks.

    The caller is the only one who writes the store (see `writing`): another extraction would write shards with the rows
    that are dropped.

    Args:
        path: the store's folder; where there is no store, nothing is done.
        manifest: the rows that the corpus has now.

    Returns:
        The ids of the rows that were dropped.

    Raises:
        StoreError: none of the store's utterances is in the manifest, or the store has names of an earlier version.
        StorageError: the store cannot be written.
    """
    if not (path / "store.json").exists():
        return []
    store, present = FeatureStore(path), set(manifest.column("utterance_id").to_pylist())
    ids = store.manifest().column("utterance_id").to_pylist()
    missing = [utterance_id for utterance_id in ids if utterance_id not in present]
    refuse_renamed(missing, list(present), describe_vanished(missing))
    if missing and len(missing) == len(ids):
        raise StoreError(
            f"{path} holds {len(ids)} utterances ({ids[0]}, ...), and the manifest has none of them: it is another "
            "corpus, or its names have changed; extract into a new folder with --out"
        )
    if missing:
        write_sealed_json(path / "store.json", {**store.info, "dropping": missing})
        _finish(path)
    return missing


def finish_drop(path: Path) -> None:
    """Finish the dropping of rows that a killed run began; nothing where none did. Slices wait for the one that does.

    Raises:
        StoreError: the store's manifest cannot be read.
        StorageError: the store cannot be written.
    """
    if not _dropping(path):
        return
    with hold(path / "logs", "drop", "mmpipe extract", lambda others: next(iter(others), None)):
        if _dropping(path):  # else another slice was faster
            _finish(path)


def _dropping(path: Path) -> Any:
    """The ids of the rows that are being dropped; nothing where none are."""
    try:
        return read_sealed_json(path / "store.json").get("dropping")
    except (OSError, ValueError):  # no store yet, or damage that the extraction repairs
        return None


def _finish(path: Path) -> None:
    store = FeatureStore(path, while_dropping=True)
    dropping = store.info["dropping"]
    try:
        old = read_sealed(path / "manifest.parquet")[0].replace_schema_metadata(None)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path / 'manifest.parquet'} cannot be read ({error}), and rows of it were being dropped: restore it from "
            "a copy, or extract into a new folder with --out"
        ) from error
    is_dropped = pc.is_in(old.column("utterance_id"), pa.array(dropping, pa.string()))
    kept = old.filter(pc.invert(is_dropped))
    shards = 1 + max(kept.column("shard").to_pylist())
    if kept.num_rows < old.num_rows:  # else the manifest, which is written last, says that all shards are done
        for shard in sorted(set(old.filter(is_dropped).column("shard").to_pylist())):
            before, after = (rows.filter(pc.equal(rows.column("shard"), shard)) for rows in (old, kept))
            _drop_from_shard(store, shard, before, after)
        with explained(path):
            for stage in store.info["stages"]:
                for shard in range(shards, store.num_shards):
                    shard_path(path, stage, shard).unlink(missing_ok=True)
        write_parquet(path / "manifest.parquet", kept, {"corpus": store.corpus})
    info = {name: value for name, value in store.info.items() if name != "dropping"}
    seal = read_footer(path / "manifest.parquet").seal
    write_sealed_json(
        path / "store.json", info | {"manifest": {"rows": kept.num_rows, "shards": shards, "sha256": seal}}
    )


def _drop_from_shard(store: FeatureStore, shard: int, before: pa.Table, after: pa.Table) -> None:
    """Write one shard of all stages without the dropped rows.

    Stages that read another one are written first: while that one has its old footer, what they should say of it is
    known. A file that is damaged, or does not hold the rows of the manifest, is removed, so that it is made again.
    """
    old = before.column("utterance_id").to_pylist()
    kept = set(after.column("utterance_id").to_pylist())
    tables: dict[str, pa.Table] = {}
    footers: dict[str, dict[str, Any]] = {}
    seals: dict[str, str] = {}
    for stage, path in _files(store, shard):
        table = _sound_table(path)
        ids = None if table is None else table.column("utterance_id").to_pylist()
        if table is not None and ids == old:
            footer = read_footer(path)
            tables[stage], footers[stage], seals[stage] = table, footer.metadata, footer.seal
        elif ids != [utterance_id for utterance_id in old if utterance_id in kept]:
            with explained(path):
                path.unlink()
    provenances = _without(footers, before, after)
    places = [place for place, utterance_id in enumerate(old) if utterance_id in kept]
    written: list[tuple[Path, bytes]] = []
    renewed: dict[str, str] = {}
    for stage in sorted(tables, key=lambda stage: "upstream" in provenances[stage]):
        rows, path = tables[stage].take(pa.array(places, pa.int64())), shard_path(store.path, stage, shard)
        made_from = footers[stage].get("upstream")
        made_from = renewed.get(str(made_from), made_from)
        data, seal = shard_file(path, rows.combine_chunks(), provenances[stage], made_from)
        renewed[seals[stage]] = seal
        written.append((path, data))
    for path, data in reversed(written):
        write_bytes(path, data)


def _sound_table(path: Path) -> pa.Table | None:
    """The rows of a shard; None where it is damaged, or cannot be read by this version of pyarrow."""
    if check_seal(path) is not None:
        return None
    try:
        return read_table(path).replace_schema_metadata(None)
    except StoreError:
        return None


def _files(store: FeatureStore, shard: int) -> Iterator[tuple[str, Path]]:
    paths = ((stage, shard_path(store.path, stage, shard)) for stage in store.info["stages"])
    return ((stage, path) for stage, path in paths if path.exists())


def _without(footers: Mapping[str, Mapping[str, Any]], before: pa.Table, after: pa.Table) -> dict[str, dict[str, Any]]:
    """The provenance of a shard of each stage once it holds the rows `after` alone.

    What does not describe the rows `before` is out of date: it is kept, and stays out of date.
    """
    prints: dict[str, str] = {}
    found: dict[str, dict[str, Any]] = {}
    for stage in sorted(footers, key=lambda stage: "upstream" in footers[stage]["provenance"]):
        made = dict(footers[stage]["provenance"])
        kind = made.get("input")
        if kind in ROW_COLUMNS and made["rows"] == rows_print(before, kind):
            made["rows"] = rows_print(after, kind)
            if column := MEDIA_COLUMNS.get(kind):
                still = set(uris_of(after, column))
                made["media"] = {uri: value for uri, value in made["media"].items() if uri in still}
        if "upstream" in made:
            made["upstream"] = prints.get(made["upstream"], made["upstream"])
        prints[footers[stage]["fingerprint"]] = fingerprint(made)
        found[stage] = made
    return found
