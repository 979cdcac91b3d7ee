"""Writing manifest.parquet and store.json of a feature store; its layout is described in `feature_store`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.parquet import read_footer, write_parquet
from mmpipe.core.seals import read_sealed_json, write_sealed_json
from mmpipe.pipeline.store.provenance import StageProvenance

__all__ = ["STORE_FORMAT", "write_record", "write_store"]

STORE_FORMAT = "mmpipe-store/2"
"""What this version writes."""


def write_store(
    path: Path,
    corpus: str,
    manifest: pa.Table,
    stages: Mapping[str, StageProvenance],
    version: str,
    existing: pa.Table | None = None,
    excluded: Mapping[str, Any] | None = None,
) -> None:
    """Write manifest.parquet and store.json of a planned store.

    Args:
        path: the store's folder.
        corpus: the corpus's name.
        manifest: rows in shard order.
        stages: what decides the values of each stage.
        version: of mmpipe.
        existing: the manifest that is there; if it is equal, it is left alone, as is an equal store.json.
        excluded: utterances that a list left out of the manifest (`Exclusions.to_json`); None where there was no list.

    Raises:
        StorageError: the folder cannot be written.
    """
    target = path / "manifest.parquet"
    if existing is None or not existing.equals(manifest):
        write_parquet(target, manifest, {"corpus": corpus})
    write_record(path, corpus, manifest, stages, version, excluded)


def write_record(
    path: Path,
    corpus: str,
    manifest: pa.Table,
    stages: Mapping[str, StageProvenance],
    version: str,
    excluded: Mapping[str, Any] | None = None,
) -> None:
    """Write store.json for the manifest.parquet that is there; arguments as in `write_store`.

    Raises:
        StorageError: the folder cannot be written.
    """
    info = {
        "format": STORE_FORMAT,
        "mmpipe": version,
        "corpus": corpus,
        "manifest": {
            "rows": manifest.num_rows,
            "shards": 1 + max(manifest.column("shard").to_pylist(), default=-1),
            "sha256": read_footer(path / "manifest.parquet").seal,
        },
        "stages": {name: stage.to_json() for name, stage in stages.items()},
        **({} if excluded is None else {"excluded": dict(excluded)}),
    }
    try:
        if read_sealed_json(path / "store.json") == info:
            return
    except (OSError, ValueError):
        pass
    write_sealed_json(path / "store.json", info)
