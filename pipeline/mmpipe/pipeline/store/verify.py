"""Re-hash a feature store: is every file, to the last byte, what was written?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mmpipe.core.errors import StoreError
from mmpipe.core.parquet import check_seal, fingerprint
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import read_shard_file, shard_path
from mmpipe.pipeline.store.soundness import check_stage

__all__ = ["Verification", "verify_file", "verify_store"]


@dataclass
class Verification:
    """What a re-hash found.

    Attributes:
        files: files hashed.
        bytes: their size.
        damaged: what is wrong, by path relative to the store; a stage's name where its shards differ.
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
    if not found.damaged:
        try:
            store.manifest()
        except StoreError as error:
            found.damaged[manifest.name] = str(error)
    on_file()
    for stage in store.info["stages"]:
        check = check_stage(path, stage, store.num_shards)
        for shard in range(store.num_shards):
            file = shard_path(path, stage, shard)
            if file.exists():
                problem = check_seal(file) or check.problems.pop(f"{stage}/{file.name}", None)
                _check(found, path, file, problem or _contradiction(store, file, shard, with_rows=not found.damaged))
            else:
                found.missing.append(file.relative_to(path).as_posix())
            on_file()
        found.damaged |= {file: problem for file, problem in check.problems.items() if file not in found.damaged}
        sound = not any(file.startswith(f"{stage}/") for file in found.damaged)
        if sound and (difference := check.difference(store.info["stages"][stage])):
            found.damaged[stage] = f"its shards were not all made alike ({difference})"
    return found


def verify_file(path: Path) -> Verification:
    """Hash a sealed Parquet file again: a manifest, or a balanced list."""
    problem = check_seal(path)
    return Verification(1, path.stat().st_size, {} if problem is None else {path.name: problem})


def _check(found: Verification, store: Path, file: Path, problem: str | None) -> None:
    found.files += 1
    found.bytes += file.stat().st_size if file.exists() else 0
    if problem:
        found.damaged[file.relative_to(store).as_posix()] = problem


def _contradiction(store: FeatureStore, file: Path, shard: int, *, with_rows: bool) -> str | None:
    try:
        table, footer = read_shard_file(file, ["utterance_id"])
    except StoreError as error:
        return str(error)
    if footer.metadata.get("fingerprint") != fingerprint(footer.metadata.get("provenance")):
        return "its fingerprint is not the hash of its provenance"
    if with_rows and not table.column("utterance_id").equals(store.ids_of(shard)):
        return "its utterances are not those of the manifest"
    return None
