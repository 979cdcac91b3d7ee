"""Files that appear whole or not at all, with the same bytes for the same content."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "METADATA_KEY",
    "canonical_json",
    "read_metadata",
    "sweep_parts",
    "write_atomic",
    "write_bytes",
    "write_json",
    "write_parquet",
]

METADATA_KEY = b"mmpipe"
"""The key under which a Parquet footer holds mmpipe's JSON."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, flush it to the disk and give it its name.

    The temporary name carries host and process, so that two runs never share one and `sweep_parts` can tell the dead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{socket.gethostname()}.{os.getpid()}.part"
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


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""

    def write(part: Path) -> None:
        part.write_bytes(data)

    write_atomic(path, write)


def sweep_parts(folder: Path) -> None:
    """Remove the temporary files below `folder` that processes of this host left when they were killed."""
    for part in folder.glob(f"**/.*.{socket.gethostname()}.*.part"):
        pid = part.name.split(".")[-2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; keys keep the order that the caller gives them."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_parquet(path: Path, table: pa.Table, metadata: Mapping[str, Any], *, plain: tuple[str, ...] = ()) -> None:
    """Write a table as one row group with `metadata` as JSON in the footer, atomically.

    Args:
        path: the file.
        table: its rows.
        metadata: kept under `METADATA_KEY`.
        plain: columns of numbers or images, for which a dictionary is of no use.
    """
    schema = table.schema.with_metadata({METADATA_KEY: canonical_json(metadata).encode()})
    columns = [name for name in table.column_names if name not in plain]

    def write(part: Path) -> None:
        pq.write_table(
            table.cast(schema),
            part,
            compression="zstd",
            use_dictionary=columns,
            row_group_size=max(1, table.num_rows),
        )

    write_atomic(path, write)


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON that `write_parquet` left in the footer; empty where there is none.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowInvalid: it is no Parquet file.
    """
    metadata = pq.read_metadata(path).metadata or {}
    return dict(json.loads(metadata.get(METADATA_KEY, b"{}")))
