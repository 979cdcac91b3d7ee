"""What a store is known to hold, also where manifest.parquet or store.json are damaged or lost.

store.json follows from manifest.parquet and the footers of the shards. Of a lost manifest.parquet, the shards still say
which utterance is in which shard; its other columns come from the corpus again.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError
from mmpipe.core.locks import hold, refuse_others
from mmpipe.core.parquet import Footer, read_sealed
from mmpipe.core.seals import read_sealed_json
from mmpipe.pipeline.extraction.stages import DEFAULT_STAGES
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import read_table, shard_path
from mmpipe.pipeline.store.soundness import check_stage
from mmpipe.pipeline.store.writing import write_record

__all__ = ["KnownStore", "flow_order", "known_store", "repair_store"]


@dataclass(frozen=True)
class KnownStore:
    """What is known of a store.

    Attributes:
        corpus: the corpus's name; None where nothing says it any more.
        manifest: its rows in shard order, at least `utterance_id` and `shard`; None where it has no rows yet.
        described: what makes the features of each stage.
        damage: what had to be worked out from the shards, and why; None if all was sound.
    """

    corpus: str | None
    manifest: pa.Table | None
    described: dict[str, StageProvenance]
    damage: str | None = None


def flow_order(stages: Iterable[str]) -> list[str]:
    """Names of stages in the order of the flow."""
    names = sorted(stages)
    return [
        *(name for name in DEFAULT_STAGES if name in names),
        *(name for name in names if name not in DEFAULT_STAGES),
    ]


def known_store(path: Path) -> KnownStore | None:
    """What is known of the store in a folder; None where there is none yet.

    Raises:
        StoreError: it was written by a newer format, or its manifest is lost and the shards do not say all of the plan.
    """
    record, manifest = path / "store.json", path / "manifest.parquet"
    if not record.exists() and not manifest.exists():
        return None
    damage, corpus, described, rows, named = [], None, None, None, None
    try:
        read_sealed_json(record)
    except (OSError, ValueError) as error:
        damage.append(f"store.json ({error})")
    else:
        store = FeatureStore(path)
        corpus, described, named = store.corpus, store.described, store.info["manifest"].get("sha256")
    try:
        rows, footer = read_sealed(manifest)
        corpus = corpus or footer.metadata.get("corpus")
        if named != footer.seal and not _begins_with(rows, held := _planned_rows(path, described or _stages_of(path))):
            damage.append("manifest.parquet (it is not that of the shards)")
            rows = held
    except (OSError, ValueError) as error:
        rows = _planned_rows(path, described or _stages_of(path))
        if rows is not None or manifest.exists():
            damage.append(f"manifest.parquet ({error})")
    if described is None:
        described = _described(path, rows)
    return KnownStore(corpus, rows, described, " and ".join(damage) or None)


def repair_store(path: Path) -> tuple[str, ...]:
    """Write store.json again from manifest.parquet and the footers of the shards.

    Returns:
        The stages that it names.

    Raises:
        BusyError: another process writes the store.
        StoreError: there is no store, its manifest is damaged, or the shards are not those of the manifest.
        StorageError: the folder cannot be written.
    """
    _sound_manifest(path)  # else the lock would make its folder where there is no store
    with hold(path / "logs", "run", "mmpipe repair", refuse_others(path)):
        return _repair(path)


def _sound_manifest(path: Path) -> tuple[pa.Table, Footer]:
    manifest = path / "manifest.parquet"
    try:
        return read_sealed(manifest)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{manifest} cannot be read ({error}), and store.json follows from it: run the same `mmpipe extract` "
            "again, which writes both"
        ) from error


def _repair(path: Path) -> tuple[str, ...]:
    rows, footer = _sound_manifest(path)
    described = _described(path, rows)
    for stage in described:
        for shard in _numbers(path, stage):
            ids = rows.filter(pc.equal(rows.column("shard"), shard)).column("utterance_id")
            held = read_table(shard_path(path, stage, shard), ["utterance_id"]).column("utterance_id")
            if not held.equals(ids):
                raise StoreError(
                    f"the utterances of {shard_path(path, stage, shard)} are not those of "
                    f"{path / 'manifest.parquet'}: run the same `mmpipe extract` again"
                )
    corpus = footer.metadata.get("corpus") or FeatureStore(path).corpus
    write_record(path, corpus, rows, described, importlib.metadata.version("mmpipe"))
    FeatureStore(path).manifest()
    return tuple(described)


def _begins_with(manifest: pa.Table, held: pa.Table | None) -> bool:
    """Whether a manifest has the rows that the shards hold, and perhaps more: those of a plan that was not run yet."""
    first = manifest.select(["utterance_id", "shard"]).replace_schema_metadata(None)
    return held is None or first.slice(0, held.num_rows).equals(held)


def _stages_of(path: Path) -> list[str]:
    return sorted(folder.name for folder in path.iterdir() if folder.is_dir() and _numbers(path, folder.name))


def _numbers(path: Path, stage: str) -> list[int]:
    """Numbers of the shards of a stage that are there."""
    return sorted(int(file.stem) for file in (path / stage).glob("[0-9]*.parquet") if file.stem.isdecimal())


def _described(path: Path, rows: pa.Table | None) -> dict[str, StageProvenance]:
    """What made most of the shards of each stage, by their footers."""
    shards = 0 if rows is None else 1 + max(rows.column("shard").to_pylist(), default=-1)
    found = {}
    for stage in flow_order(_stages_of(path)):
        if ways := check_stage(path, stage, shards).ways:
            found[stage] = StageProvenance.from_json(max(ways, key=lambda way: len(way[1]))[0])
    return found


def _planned_rows(path: Path, stages: Iterable[str]) -> pa.Table | None:
    """Utterance and shard of every row that some shard holds; None where there are no shards."""
    held: dict[int, list[str]] = {}
    for stage in stages:
        for shard in _numbers(path, stage):
            try:
                file = shard_path(path, stage, shard)
                held.setdefault(shard, read_table(file, ["utterance_id"]).column("utterance_id").to_pylist())
            except StoreError:
                continue  # another stage may say it
    if not held:
        return None
    if lost := sorted(set(range(max(held) + 1)) - held.keys()):
        raise StoreError(
            f"{path / 'manifest.parquet'} is damaged, and no stage holds shard {lost[0]}, so that its utterances are "
            "not known: restore the file from a copy, or extract into a new folder with --out"
        )
    ids = [name for shard in sorted(held) for name in held[shard]]
    numbers = [shard for shard in sorted(held) for _ in held[shard]]
    return pa.table({"utterance_id": ids, "shard": pa.array(numbers, pa.int32())})
