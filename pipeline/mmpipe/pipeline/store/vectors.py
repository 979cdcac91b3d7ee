"""How a store holds vectors: as lists, with their width in the field's metadata.

A column of `fixed_size_list` with a failed (null) row cannot be written with pyarrow before 25, nor read by pyarrow 25
and older. As `list` with the width under the key `width`, every reader of Parquet reads it. Lists of vectors (faces,
word pieces) stay `list<fixed_size_list>`, which all of them read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["is_stored_form", "misfit", "stored_field", "vectors_as_lists"]

_WIDTH = b"width"
"""The key of a field's metadata under which the width of its vectors is."""


def stored_field(field: pa.Field) -> pa.Field:
    """The field as a store holds it: a vector of fixed size as a list, with the width in the metadata.

    Example:
        >>> field = stored_field(pa.field("features", pa.list_(pa.float32(), 3)))
        >>> str(field.type), field.metadata
        ('list<item: float>', {b'width': b'3'})
    """
    if not pa.types.is_fixed_size_list(field.type):
        return field
    metadata = {**(field.metadata or {}), _WIDTH: str(field.type.list_size).encode()}
    return field.with_type(pa.list_(field.type.value_field)).with_metadata(metadata)


def is_stored_form(schema: pa.Schema) -> bool:
    """Whether a file of this schema holds its vectors as lists, not as an earlier format of the store did."""
    return not any(pa.types.is_fixed_size_list(field.type) for field in schema)


def vectors_as_lists(table: pa.Table) -> pa.Table:
    """The table as a store holds it; what a store of an earlier format holds as vectors of fixed size becomes lists."""
    for place, field in enumerate(table.schema):
        if pa.types.is_fixed_size_list(field.type):
            chunks = [_as_list(chunk) for chunk in table.column(place).chunks]
            stored = stored_field(field)
            table = table.set_column(place, stored, pa.chunked_array(chunks, stored.type))
    return table


def _as_list(array: pa.FixedSizeListArray) -> pa.ListArray:
    """The array as a list; a null row is empty, since a cast keeps values below it, which no old writer accepts."""
    present = array.is_valid().to_numpy(zero_copy_only=False)
    offsets = pa.array(np.cumsum([0, *(present * array.type.list_size)]), pa.int32())
    type_ = pa.list_(array.type.value_field)
    return pa.ListArray.from_arrays(offsets, array.flatten(), type=type_, mask=pc.is_null(array))


def misfit(row: Mapping[str, Any], columns: Iterable[pa.Field]) -> str | None:
    """What is wrong with the shape of a row's vectors, or None.

    Args:
        row: a value a column.
        columns: the columns that the extractor declares.

    Example:
        >>> misfit({"features": [1.0, 2.0]}, [pa.field("features", pa.list_(pa.float32(), 3))])
        "column 'features' must have shape (3,), not (2,)"
    """
    for column in columns:
        value, type_ = row[column.name], column.type
        if value is None:
            continue
        if pa.types.is_fixed_size_list(type_) and (shape := _shape(value)) != (type_.list_size,):
            return f"column {column.name!r} must have shape ({type_.list_size},), not {shape}"
        if pa.types.is_list(type_) and pa.types.is_fixed_size_list(type_.value_type) and len(value):
            width = type_.value_type.list_size
            if len(shape := _shape(value)) != 2 or shape[1] != width:
                return f"column {column.name!r} must have shape (N, {width}), not {shape}"
    return None


def _shape(value: Any) -> tuple[int, ...]:
    try:
        return np.shape(value)
    except ValueError:  # rows of different lengths
        return (len(value),)
