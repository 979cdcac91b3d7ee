"""How much memory a Parquet file would take, before it is decoded: a small file can hold a huge table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmpipe.core.parquet_footer import read_columns

__all__ = ["MOST_BYTES", "check_bounds"]

MOST_BYTES = 4 << 30
"""Of a decoded file."""

_FREE_BYTES = 512 << 20
"""Of a decoded file, whatever its size on disk."""

_RATIO = 100
"""Decoded bytes for each byte on disk, beyond that."""


def check_bounds(source: Path | pa.BufferReader | BinaryIO) -> None:
    """Make sure that a file can be decoded in a memory that fits its size.

    A file may take 512 MiB and 100 bytes for each byte that it has, 4 GiB at most. Values that a dictionary repeats
    count as often as they stand in the table.

    Raises:
        pyarrow.ArrowInvalid: it would take more, or is not a Parquet file.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as stream:
                size, columns = os.fstat(stream.fileno()).st_size, read_columns(stream)
        else:
            size, columns = source.seek(0, os.SEEK_END), read_columns(source)
            source.seek(0)
    except ValueError as error:
        raise pa.ArrowInvalid(str(error)) from error
    most = min(MOST_BYTES, _FREE_BYTES + _RATIO * size)
    needed, texts = 0, dict[str, int]()
    for column in columns:
        if column.width is None and column.has_dictionary:
            texts[column.path] = texts.get(column.path, 0) + column.size * max(1, column.values)
        else:
            needed += max(column.size, (column.width or 0) * column.values)
    at_most = sum(texts.values())  # as if each value were the whole dictionary
    needed += _counted(source, [*texts]) if needed <= most < needed + at_most else at_most
    if needed > most:
        raise pa.ArrowInvalid(
            f"decoded it would take {needed:,} bytes, for a file of {size:,} bytes at most {most:,} are read"
        )


def _counted(source: Path | pa.BufferReader | BinaryIO, paths: list[str]) -> int:
    """Bytes of the texts in some columns, which are read as the dictionaries that they are in the file."""
    total = 0
    with pq.ParquetFile(source, read_dictionary=paths) as file:
        for group in range(file.num_row_groups):
            for column in file.read_row_group(group, columns=paths).columns:
                total += sum(_bytes(chunk) for chunk in column.chunks)
    if not isinstance(source, Path):
        source.seek(0)
    return total


def _bytes(array: pa.Array) -> int:
    if pa.types.is_struct(array.type):
        return sum(_bytes(inner) for inner in array.flatten())
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return _bytes(array.flatten())
    if pa.types.is_map(array.type):
        return _bytes(array.keys) + _bytes(array.items)
    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    lengths = pc.fill_null(pc.binary_length(array.dictionary), 0)
    return int(pc.sum(lengths.take(array.indices)).as_py() or 0) + 4 * len(array)
