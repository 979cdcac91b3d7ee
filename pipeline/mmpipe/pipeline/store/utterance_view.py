"""One utterance of a store or a manifest, with all that is known of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.manifests.io import read_manifest
from mmpipe.manifests.schema import MANIFEST_SCHEMA, Utterance, to_utterances
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.shards import shard_path

__all__ = ["UtteranceView", "inspect_utterance"]


@dataclass(frozen=True)
class UtteranceView:
    """One utterance in full.

    Attributes:
        utterance: its row of the manifest.
        stages: by stage, what its row holds: `status`, `error`, `fingerprint` and the columns (arrays as NumPy arrays).
    """

    utterance: Utterance
    stages: dict[str, dict[str, Any]]


def inspect_utterance(path: Path, utterance_id: str) -> UtteranceView:
    """One utterance of a store, or of a manifest file, with all that is known of it.

    Raises:
        UsageError: there is no such utterance; the message names the nearest ids.
        StoreError: the folder is not a feature store.
        ManifestError: the file is not a manifest.
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
