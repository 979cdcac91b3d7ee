"""Sealed Parquet: JSON in the footer, a fingerprint of it, and the hash of the whole file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmpipe.core.files import canonical_json, is_local, write_bytes
from mmpipe.core.parquet_bounds import check_bounds
from mmpipe.core.reading import check_regular, parse_object

__all__ = [
    "check_seal",
    "fingerprint",
    "num_rows",
    "read_footer",
    "read_metadata",
    "read_parquet",
    "write_parquet",
]

_METADATA_KEY = b"mmpipe"
"""The key under which a Parquet footer holds mmpipe's JSON."""

_SEAL_KEY = b"mmpipe.sha256"
"""The key under which a Parquet footer holds the hash of its file."""


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of a JSON-like value, whatever the order of its keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_parquet(path: Path, table: pa.Table, metadata: Mapping[str, Any], *, plain: tuple[str, ...] = ()) -> None:
    """Write a table as one row group with `metadata` as JSON in the footer, atomically, sealed (see `check_seal`).

    Args:
        path: the file.
        table: its rows.
        metadata: kept under the key `mmpipe`.
        plain: columns of numbers or images, for which a dictionary is of no use.
    """
    schema = table.schema.with_metadata({_METADATA_KEY: canonical_json(metadata).encode()})
    columns = [name for name in table.column_names if name not in plain]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=columns) as writer:
        writer.write_table(table.cast(schema), row_group_size=max(1, table.num_rows))
        writer.add_key_value_metadata({_SEAL_KEY: _UNSEALED})
    write_bytes(path, _sealed(sink.getvalue().to_pybytes()))


_UNSEALED = b"0" * 64
"""Holds the place of the seal while the file is hashed."""


def _sealed(data: bytes) -> bytes:
    seal = hashlib.sha256(data).hexdigest().encode()
    place = data.rindex(_UNSEALED, data.rindex(_SEAL_KEY))
    return data[:place] + seal + data[place + len(seal) :]


def check_seal(path: Path) -> str | None:
    """Hash a file of `write_parquet` again: what is wrong with it, or None.

    The footer holds, under the key `mmpipe.sha256`, the SHA-256 of the whole file with zeros in that place, so one
    changed byte anywhere is found, also in the seal itself.
    """
    try:
        check_regular(path)
        data = path.read_bytes()
        with _one_kind_of_damage():
            seal = (pq.read_metadata(pa.BufferReader(data)).metadata or {}).get(_SEAL_KEY)
    except (OSError, ValueError) as error:
        return f"it cannot be read ({error})"
    if seal is None:
        return "its footer holds no hash of the file"
    place = data.rfind(seal, max(0, data.rfind(_SEAL_KEY)))
    whole = hashlib.sha256(data[:place] + _UNSEALED + data[place + len(seal) :]).hexdigest().encode()
    return None if place >= 0 and whole == seal else "its bytes do not give the hash that its footer holds"


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or some of its columns.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is not a Parquet file, or would be too large in memory (see `check_bounds`).
    """
    check_regular(path)
    source = path if is_local(path) else pa.BufferReader(path.read_bytes())
    with _one_kind_of_damage():
        check_bounds(source)
    with _one_kind_of_damage(), pq.ParquetFile(source) as file:
        return file.read(None if columns is None else list(columns))


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON that `write_parquet` put into the footer; empty if there is none.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is not a Parquet file, or its footer does not hold what mmpipe writes.
    """
    with _one_kind_of_damage():
        return _own_metadata(_footer(path))


def read_footer(path: Path) -> tuple[dict[str, Any], pa.Schema]:
    """What `read_metadata` gives, and the columns of the file, by one reading of its footer.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is not a Parquet file, or its footer does not hold what mmpipe writes.
    """
    with _one_kind_of_damage():
        footer = _footer(path)
        return _own_metadata(footer), footer.schema.to_arrow_schema()


def num_rows(path: Path) -> int:
    """The number of rows that the footer of a Parquet file declares.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is not a Parquet file.
    """
    with _one_kind_of_damage():
        return int(_footer(path).num_rows)


def _footer(path: Path) -> pq.FileMetaData:
    check_regular(path)
    if is_local(path):
        return pq.read_metadata(path)
    with path.open("rb") as stream:
        return pq.read_metadata(stream)


def _own_metadata(footer: pq.FileMetaData) -> dict[str, Any]:
    try:
        return parse_object((footer.metadata or {}).get(_METADATA_KEY, b"{}"))
    except ValueError as error:
        raise pa.ArrowInvalid(f"its footer does not hold what mmpipe writes: {error}") from error


@contextmanager
def _one_kind_of_damage() -> Iterator[None]:
    """Raise `ArrowInvalid` also where damaged bytes look to Arrow like a type that it does not know."""
    try:
        yield
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError, pa.ArrowIndexError) as error:
        raise pa.ArrowInvalid(str(error)) from error
