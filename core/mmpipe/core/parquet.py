"""Sealed Parquet: JSON in the footer, a fingerprint of it, and the hash of the whole file."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from mmpipe.core.files import canonical_json, is_local, write_bytes
from mmpipe.core.objects import ObjectReader, read_object_bytes
from mmpipe.core.parquet_bounds import MOST_BYTES, check_bounds
from mmpipe.core.parquet_footer import read_columns
from mmpipe.core.reading import check_regular, parse_object
from mmpipe.core.seals import Bytes, chunks, crc32, file_state, sha256

__all__ = [
    "Footer",
    "check_seal",
    "fingerprint",
    "glance",
    "peek",
    "read_footer",
    "read_metadata",
    "read_parquet",
    "read_sealed",
    "sealed_parquet",
    "verify_files",
    "write_parquet",
]

_METADATA_KEY = b"mmpipe"
"""The key under which a Parquet footer holds mmpipe's JSON."""

_SEAL_KEY, _CHECKSUM_KEY = b"mmpipe.sha256", b"mmpipe.crc32"
"""The keys under which a Parquet footer holds the SHA-256 and the CRC-32 of its file."""

_SEALS = {_SEAL_KEY: 64, _CHECKSUM_KEY: 8}
"""Length of each in hexadecimal digits."""


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of a JSON-like value, whatever the order of its keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_parquet(path: Path, table: pa.Table, metadata: Mapping[str, Any], *, plain: tuple[str, ...] = ()) -> None:
    """Write the file of `sealed_parquet` atomically.

    Raises:
        StorageError: it cannot be written.
    """
    write_bytes(path, sealed_parquet(table, metadata, plain=plain)[0])


def sealed_parquet(table: pa.Table, metadata: Mapping[str, Any], *, plain: tuple[str, ...] = ()) -> tuple[bytes, str]:
    """A table as a Parquet file of one row group, sealed (see `check_seal`), and its SHA-256 as it holds it itself.

    Args:
        table: its rows.
        metadata: kept as JSON in the footer, under the key `mmpipe`.
        plain: columns of numbers or images, for which a dictionary is of no use.
    """
    schema = table.schema.with_metadata({_METADATA_KEY: canonical_json(metadata).encode()})
    columns = [name for name in table.column_names if name not in plain]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=columns, write_page_checksum=True) as writer:
        writer.write_table(table.cast(schema), row_group_size=max(1, table.num_rows))
        writer.add_key_value_metadata({key: b"0" * length for key, length in _SEALS.items()})
    data, seals = bytearray(sink.getvalue()), []
    for key, hash_ in ((_SEAL_KEY, sha256), (_CHECKSUM_KEY, crc32)):
        place = _place(data, key)
        assert place is not None
        seals.append(hash_([data]))
        data[place : place + _SEALS[key]] = seals[-1].encode()
    return bytes(data), seals[0]


def _place(tail: Bytes, key: bytes) -> int | None:
    """Where the end of a file holds the value of a seal: after its key, the type of the field and its length."""
    place = bytes(tail).rfind(key) + len(key) + 2
    return place if place > len(key) + 1 and tail[place - 1] == _SEALS[key] else None


def _without(tail: bytes, *keys: bytes) -> Iterator[Bytes]:
    """The end of a file with zeros in the place of these seals."""
    holes, first = {place: _SEALS[key] for key in keys if (place := _place(tail, key)) is not None}, 0
    for place, length in sorted(holes.items()):
        yield tail[first:place]
        yield b"0" * length
        first = place + length
    yield tail[first:]


def _held(tail: bytes, key: bytes) -> str | None:
    """The seal that the end of a file holds under a key."""
    place = _place(tail, key)
    return None if place is None else tail[place : place + _SEALS[key]].decode("ascii", "replace")


_ALTERED = "its bytes do not give the hash that its footer holds"
_UNSEALED = "its footer holds no hash of the file"


def _verified(stream: BinaryIO, *, foreign: bool, thorough: bool = False) -> str:
    """The SHA-256 that the bytes of a file hold of themselves, after a check that no byte of them changed.

    The checksum is compared; the SHA-256 too if `thorough`, or if the file is of a version that wrote no checksum.
    """
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - 8))
    length = int.from_bytes(stream.read(4), "little") + 8  # of the footer, and of what follows it
    body = max(0, stream.seek(0, os.SEEK_END) - length)
    stream.seek(body)
    tail = stream.read()
    checksum, seal = _held(tail, _CHECKSUM_KEY), _held(tail, _SEAL_KEY)
    if checksum is None and seal is None:
        if foreign:
            return ""
        raise pa.ArrowInvalid(_UNSEALED)

    def whole(*keys: bytes) -> Iterator[Bytes]:
        stream.seek(0)
        yield from chunks(stream, body)
        yield from _without(tail, *keys)

    if checksum is not None and checksum != crc32(whole(_CHECKSUM_KEY)):
        raise pa.ArrowInvalid(_ALTERED)
    if seal is None or ((thorough or checksum is None) and seal != sha256(whole(_SEAL_KEY, _CHECKSUM_KEY))):
        raise pa.ArrowInvalid(_ALTERED)
    return seal


@lru_cache(maxsize=1 << 16)
def _verified_file(path: Path, state: tuple[int, ...], foreign: bool) -> str:
    """`_verified` and `check_bounds` of a file in a state, once in a process; damage is looked for again each time."""
    check_regular(path)
    with path.open("rb") as stream:
        seal = _verified(stream, foreign=foreign)
    check_bounds(path)
    return seal


def check_seal(path: Path) -> str | None:
    """Hash a file of `write_parquet` again: what is wrong with it, or None.

    The footer holds, under the key `mmpipe.sha256`, the SHA-256 of the whole file and, under `mmpipe.crc32`, its
    CRC-32, each with zeros in their places, so one changed byte anywhere is found, also in the seals themselves.
    """
    try:
        check_regular(path)
        data = path.read_bytes() if is_local(path) else read_object_bytes(path, MOST_BYTES)
        _verified(io.BytesIO(data), foreign=False, thorough=True)
        with _one_kind_of_damage():
            pq.read_metadata(pa.BufferReader(data))
    except (OSError, ValueError) as error:
        return str(error) if str(error) in (_ALTERED, _UNSEALED) else f"it cannot be read ({error})"
    return None


def verify_files(paths: Sequence[Path], threads: int) -> None:
    """Check several files at once, so that reading them needs no further check; damage shows when they are read."""
    local = [path for path in paths if is_local(path)]

    def check(path: Path) -> None:
        with suppress(OSError, ValueError), _one_kind_of_damage():
            _verified_file(path, file_state(path), False)

    pool = ThreadPoolExecutor(threads)
    try:
        list(pool.map(check, local))
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Footer:
    """What the footer of a file says.

    Attributes:
        metadata: the JSON that `write_parquet` put there; empty if there is none.
        schema: the columns.
        rows: their length.
        seal: SHA-256 of the file, as it holds it itself; empty where it holds none.
    """

    metadata: dict[str, Any]
    schema: pa.Schema
    rows: int
    seal: str


def read_sealed(path: Path, columns: Sequence[str] | None = None) -> tuple[pa.Table, Footer]:
    """A file of `write_parquet`, or some of its columns, and its footer; every byte of the file is checked.

    A file is checked once in a process, and again when its size, times or inode changed.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is not a Parquet file, is not sealed, a byte of it changed, or it would be too
            large in memory (see `check_bounds`).
    """
    with _opened(path) as (file, footer):
        return file.read(None if columns is None else list(columns)), footer


def read_parquet(path: Path, columns: Sequence[str] | None = None, *, foreign: bool = False) -> pa.Table:
    """The table of `read_sealed` alone.

    Args:
        path: the file.
        columns: which columns; None takes all.
        foreign: whether it may be a file of another program, which has no seal and is not checked.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: see `read_sealed`.
    """
    with _opened(path, foreign=foreign) as (file, _):
        return file.read(None if columns is None else list(columns))


def read_footer(path: Path, *, foreign: bool = False) -> Footer:
    """The footer of `read_sealed` alone; `foreign` as in `read_parquet`.

    On an object store, the rest of the file is not fetched, and so not checked.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: see `read_sealed`.
    """
    if not is_local(path):
        return glance(path)
    with _opened(path, foreign=foreign) as (_, footer):
        return footer


def read_metadata(path: Path, *, foreign: bool = False) -> dict[str, Any]:
    """The JSON that `write_parquet` put into the footer; errors and `foreign` as in `read_footer`."""
    return read_footer(path, foreign=foreign).metadata


def glance(path: Path) -> Footer:
    """The footer of a file whose other bytes are not looked at.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is not a Parquet file, or its footer does not hold what mmpipe writes.
    """
    check_regular(path)
    with _one_kind_of_damage(), _by_ranges(path) as stream:
        read_columns(stream)  # Arrow ends the process over some damaged footers
        with pq.ParquetFile(stream) as file:
            return _footer(file)


def peek(path: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a file; on an object store, the bytes of the others are neither fetched nor checked.

    There the pages of these columns are checked by their own checksums.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: see `read_sealed`.
    """
    if is_local(path):
        return read_parquet(path, columns)
    with _one_kind_of_damage(), _by_ranges(path) as stream:
        check_bounds(stream)
        with pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=True) as file:
            _footer(file)
            return file.read(list(columns))


def _by_ranges(path: Path) -> BinaryIO:
    """An open file, of which an object store gives only what is read."""
    return path.open("rb") if is_local(path) else cast(BinaryIO, ObjectReader(path))


_ATTEMPTS = 5
"""How often a file is opened that another process replaces meanwhile."""


@contextmanager
def _opened(path: Path, *, foreign: bool = False) -> Iterator[tuple[pq.ParquetFile, Footer]]:
    """A file whose bytes and size in memory were checked, and its footer."""
    with _one_kind_of_damage():
        for _ in range(_ATTEMPTS):
            if is_local(path):
                source, seal = path, _verified_file(path, file_state(path), foreign)
            else:
                data = read_object_bytes(path, MOST_BYTES)
                source, seal = pa.BufferReader(data), _verified(io.BytesIO(data), foreign=foreign)
                check_bounds(source)
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                if (footer := _footer(file)).seal == seal:
                    yield file, footer
                    return
        raise pa.ArrowInvalid("it is replaced again and again while it is read")


def _footer(file: pq.ParquetFile) -> Footer:
    held = file.metadata.metadata or {}
    try:
        metadata = parse_object(held.get(_METADATA_KEY, b"{}"))
    except ValueError as error:
        raise pa.ArrowInvalid(f"its footer does not hold what mmpipe writes: {error}") from error
    seal = held.get(_SEAL_KEY, b"").decode("ascii", "replace")
    return Footer(metadata, file.schema_arrow, file.metadata.num_rows, seal)


@contextmanager
def _one_kind_of_damage() -> Iterator[None]:
    """Raise `ArrowInvalid` also where damaged bytes look to Arrow like a type that it does not know."""
    try:
        yield
    except pa.ArrowInvalid:
        raise
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError, pa.ArrowIndexError, ValueError) as error:
        raise pa.ArrowInvalid(str(error)) from error
