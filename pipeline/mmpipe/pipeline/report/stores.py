"""A store or manifest as the sections of the report look at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mmpipe.core.errors import StoreError
from mmpipe.manifests.io import read_manifest
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import MAKE_AGAIN, shard_path
from mmpipe.pipeline.store.summary import Summary, inspect_store

__all__ = ["ShownStore", "show_store"]


@dataclass(frozen=True)
class ShownStore:
    """A store, or a manifest alone: then `store` is None and there are no stages.

    Attributes:
        path: where it is.
        title: its name in headings, unlike those of the other stores of the report.
        summary: its counts.
        store: its reader.
        manifest: its rows.
        root: the corpus root, if it is known.
    """

    path: Path
    title: str
    summary: Summary
    store: FeatureStore | None
    manifest: pa.Table
    root: Path | None = None

    def has(self, stage: str) -> bool:
        """Whether every shard of a stage is there."""
        store = self.store
        return (
            store is not None
            and stage in store.stages
            and all(shard_path(store.path, stage, shard).exists() for shard in range(store.num_shards))
        )


def show_store(path: Path, root: Path | None = None) -> ShownStore:
    """Read a store or manifest.

    Raises:
        StoreError: the folder is not a feature store, a file of it is damaged, or a stage was not all made alike.
        ManifestError: the file is not a manifest.
    """
    summary = inspect_store(path)
    store = None if path.is_file() else FeatureStore(path)
    if store is not None:
        _refuse_damage(store, summary)
    title = path.stem if summary.corpus == "folder" else summary.corpus.upper()
    return ShownStore(path, title, summary, store, read_manifest(path) if store is None else store.manifest(), root)


def _refuse_damage(store: FeatureStore, summary: Summary) -> None:
    for stage in summary.stages:
        store.check(stage.name)
        for file, problem in stage.damaged.items():
            raise StoreError(f"{store.path / file} is damaged ({problem}): {MAKE_AGAIN}")
