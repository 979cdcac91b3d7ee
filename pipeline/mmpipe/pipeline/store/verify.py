"""Re-hash a feature store: is every file, to the last byte, what was written?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mmpipe.core.errors import StoreError
from mmpipe.core.parquet import check_seal, fingerprint
from mmpipe.pipeline.store.feature_store import FeatureStore, read_table, shard_path

__all__ = ["Verification", "verify_store"]


@dataclass
class Verification:
    """What a re-hash found.

    Attributes:
        files: files hashed.
        bytes: their size.
        damaged: what is wrong, by path relative to the store.
        missing: shards that are not there (yet), by path relative to the store.
    """

    files: int = 0
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def verify_store(path: Path, on_file: Callable[[], None] = lambda: None) -> Verification:
    """Hash manifest.parquet and every shard again; compare footers with themselves and rows with the manifest.

    Args:
        path: the store's folder.
        on_file: called after each file, for progress.

    Raises:
        StoreError: the folder is not a feature store.
    """
    store, found = FeatureStore(path), Verification()
    manifest = path / "manifest.parquet"
    _check(found, path, manifest, check_seal(manifest))
    on_file()
    ids: dict[int, list[str]] = {}
    if not found.damaged:
        rows = store.manifest().select(["utterance_id", "shard"]).to_pylist()
        for row in rows:
            ids.setdefault(row["shard"], []).append(row["utterance_id"])
    for stage in store.info["stages"]:
        for shard in range(store.num_shards):
            file = shard_path(path, stage, shard)
            if file.exists():
                _check(found, path, file, check_seal(file) or _contradiction(store, stage, shard, ids.get(shard)))
            else:
                found.missing.append(file.relative_to(path).as_posix())
            on_file()
    return found


def _check(found: Verification, store: Path, file: Path, problem: str | None) -> None:
    found.files += 1
    found.bytes += file.stat().st_size if file.exists() else 0
    if problem:
        found.damaged[file.relative_to(store).as_posix()] = problem


def _contradiction(store: FeatureStore, stage: str, shard: int, ids: list[str] | None) -> str | None:
    try:
        footer = store.footer(stage, shard)
        rows = read_table(shard_path(store.path, stage, shard), ["utterance_id"]).column("utterance_id").to_pylist()
    except StoreError as error:
        return str(error)
    if footer.get("fingerprint") != fingerprint(footer.get("provenance")):
        return "its fingerprint is not the hash of its provenance"
    if ids is not None and rows != ids:
        return "its utterances are not those of the manifest"
    return None
