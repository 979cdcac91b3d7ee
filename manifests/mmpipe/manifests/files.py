"""Files that appear whole or not at all, with the same bytes for the same content."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from mmpipe.manifests.errors import StorageError

__all__ = [
    "METADATA_KEY",
    "SEAL_KEY",
    "append_line",
    "canonical_json",
    "check_seal",
    "explained",
    "is_local",
    "location",
    "read_metadata",
    "read_parquet",
    "sweep_parts",
    "write_atomic",
    "write_bytes",
    "write_json",
    "write_parquet",
]

METADATA_KEY = b"mmpipe"
"""The key under which a Parquet footer holds mmpipe's JSON."""

SEAL_KEY = b"mmpipe.sha256"
"""The key under which a Parquet footer holds the hash of its file."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def location(text: str | Path) -> Path:
    """A local path, or the same kind of object for a URL that fsspec knows (s3://, gs://, ...).

    Example:
        >>> location("memory://corpus/a.wav").name, location("corpus/a.wav").name
        ('a.wav', 'a.wav')
    """
    if isinstance(text, str) and "://" in text:
        from upath import UPath

        return cast(Path, UPath(text))
    return Path(text) if isinstance(text, str) else text


def is_local(path: Path) -> bool:
    """Whether a path lies on a file system of this machine."""
    return isinstance(path, PurePath)


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, flush it to the disk and give it its name.

    The temporary name carries host and process, so that two runs never share one and `sweep_parts` can tell the dead.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    part = path.parent / f".{path.name}.{socket.gethostname()}.{os.getpid()}.part"
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` of writing `path` into a `StorageError` that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free space (or lift the quota)" if full else "let this user write there (`mmpipe doctor` checks it)"
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}; what was finished before is safe and no half file "
            f"is left: {remedy}, then run the same command again"
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; on an object store, by one PUT."""
    if not is_local(path):
        with explained(path):
            path.write_bytes(data)
        return

    def write(part: Path) -> None:
        part.write_bytes(data)

    write_atomic(path, write)


def append_line(path: Path, text: str) -> None:
    """Add a line to a log; object stores know no appending, so there the log is written anew.

    Raises:
        StorageError: it cannot be written.
    """
    with explained(path):
        if is_local(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as stream:
                stream.write(text + "\n")
        else:
            before = path.read_bytes() if path.exists() else b""
            path.write_bytes(before + text.encode() + b"\n")


def sweep_parts(folder: Path) -> None:
    """Remove the temporary files below `folder` that processes of this host left when they were killed."""
    if not is_local(folder):
        return
    for part in folder.glob(f"**/.*.{socket.gethostname()}.*.part"):
        pid = part.name.split(".")[-2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; keys keep the order that the caller gives them."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_parquet(path: Path, table: pa.Table, metadata: Mapping[str, Any], *, plain: tuple[str, ...] = ()) -> None:
    """Write a table as one row group with `metadata` as JSON in the footer, atomically, sealed (see `check_seal`).

    Args:
        path: the file.
        table: its rows.
        metadata: kept under `METADATA_KEY`.
        plain: columns of numbers or images, for which a dictionary is of no use.
    """
    schema = table.schema.with_metadata({METADATA_KEY: canonical_json(metadata).encode()})
    columns = [name for name in table.column_names if name not in plain]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=columns) as writer:
        writer.write_table(table.cast(schema), row_group_size=max(1, table.num_rows))
        writer.add_key_value_metadata({SEAL_KEY: _UNSEALED})
    write_bytes(path, _sealed(sink.getvalue().to_pybytes()))


_UNSEALED = b"0" * 64
"""Holds the place of the seal while the file is hashed."""


def _sealed(data: bytes) -> bytes:
    seal = hashlib.sha256(data).hexdigest().encode()
    place = data.rindex(_UNSEALED, data.rindex(SEAL_KEY))
    return data[:place] + seal + data[place + len(seal) :]


def check_seal(path: Path) -> str | None:
    """Hash a file of `write_parquet` anew: what is wrong with it, or None.

    The footer holds, under `SEAL_KEY`, the SHA-256 of the whole file with zeros in that place, so one changed byte
    anywhere shows, in the seal itself too.
    """
    try:
        data = path.read_bytes()
        seal = (pq.read_metadata(pa.BufferReader(data)).metadata or {}).get(SEAL_KEY)
    except (OSError, ValueError) as error:
        return f"it cannot be read ({error})"
    if seal is None:
        return "its footer holds no hash of the file"
    place = data.rfind(seal, max(0, data.rfind(SEAL_KEY)))
    whole = hashlib.sha256(data[:place] + _UNSEALED + data[place + len(seal) :]).hexdigest().encode()
    return None if place >= 0 and whole == seal else "its bytes do not give the hash that its footer holds"


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, or some of its columns.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is no Parquet file.
    """
    source = path if is_local(path) else pa.BufferReader(path.read_bytes())
    with pq.ParquetFile(source) as file:
        return file.read(None if columns is None else list(columns))


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON that `write_parquet` left in the footer; empty where there is none.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is no Parquet file.
    """
    if is_local(path):
        metadata = pq.read_metadata(path).metadata or {}
    else:
        with path.open("rb") as stream:
            metadata = pq.read_metadata(stream).metadata or {}
    return dict(json.loads(metadata.get(METADATA_KEY, b"{}")))
