"""The rows of a shard of all stages side by side, with those of the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError
from mmpipe.pipeline.store.feature_store import FeatureStore

__all__ = ["Dtype", "joined_shard"]

Dtype = Literal["stored", "float32"]
"""Of features: as the store holds them, or float32 also where it holds float16, which Spark does not read."""


def joined_shard(
    store: FeatureStore, shard: int, stages: Sequence[str], *, dtype: Dtype = "stored", left_out: Sequence[str] = ()
) -> pa.Table:
    """One shard's rows of the manifest beside those of its stages, whose columns are called STAGE_COLUMN.

    Args:
        store: the feature store.
        shard: its number.
        stages: which stages.
        dtype: `float32` casts features that are stored as float16.
        left_out: columns of the manifest and of the stages that are left out.

    Raises:
        StoreError: see `FeatureStore.read_shard`; or two columns would have one name.
    """
    manifest = store.manifest()
    rows = manifest.filter(pc.equal(manifest.column("shard"), shard)).replace_schema_metadata(None)
    rows = rows.select([name for name in rows.column_names if name not in left_out])
    fields, arrays = list(rows.schema), list(rows.columns)
    for stage in stages:
        table = store.read_shard(stage, shard)
        for field in table.schema:
            if field.name != "utterance_id" and field.name not in left_out:
                type_ = _as_float32(field.type) if dtype == "float32" else field.type
                fields.append(field.with_name(f"{stage}_{field.name}").with_type(type_).with_nullable(True))
                arrays.append(table.column(field.name).cast(type_))
    schema = pa.schema(fields)
    if len(set(schema.names)) < len(schema.names):
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        raise StoreError(f"{store.path}: two columns would be called {', '.join(twice)}: name fewer stages")
    return pa.Table.from_arrays(arrays, schema=schema)


def _as_float32(type_: pa.DataType) -> pa.DataType:
    """The type with float32 for float16, also inside lists.

    Example:
        >>> str(_as_float32(pa.list_(pa.list_(pa.float16(), 2))))
        'list<item: fixed_size_list<item: float>[2]>'
    """
    if pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_):
        item = type_.value_field.with_type(_as_float32(type_.value_type))
        return pa.list_(item) if pa.types.is_list(type_) else pa.list_(item, type_.list_size)
    return pa.float32() if pa.types.is_float16(type_) else type_
