"""Shard files: where they are, how they are written, and what their footers say.

The footer of a shard holds

    provenance    what its values follow from: rows, media, extractor, config, weights, versions
    fingerprint   the hash of the provenance; it decides whether the shard is up to date
    place         stage and number of the shard, so that a copy in another place is found
    upstream      SHA-256 of the shard that it was made from, for a stage that reads another
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import StoreError
from mmpipe.core.files import is_local, write_bytes
from mmpipe.core.parquet import Footer, fingerprint, glance, peek, read_footer, read_sealed, sealed_parquet
from mmpipe.pipeline.store.vectors import is_stored_form, stored_field, vectors_as_lists

__all__ = [
    "MAKE_AGAIN",
    "made_with",
    "misplaced",
    "read_shard_file",
    "read_statuses",
    "read_table",
    "shard_file",
    "shard_path",
    "shard_schema",
    "write_shard",
]

_OWN = ("utterance_id", "status", "error")
"""The columns that every shard has; they are texts."""

_TEXTS = (pa.string(), pa.large_string(), pa.string_view())
"""What a text may be in a table that another tool wrote."""

MAKE_AGAIN = "run the same `mmpipe extract` again to make it again"
"""What to do about a shard that cannot be used."""


def shard_path(store: Path, stage: str, shard: int) -> Path:
    """Where shard `shard` of `stage` is.

    Example:
        >>> shard_path(Path("features/ami"), "audio", 7).as_posix()
        'features/ami/audio/00007.parquet'
    """
    return store / stage / f"{shard:05d}.parquet"


def shard_schema(columns: Iterable[pa.Field]) -> pa.Schema:
    """The columns that every shard has, then the stage's own, with vectors of fixed size as lists."""
    return pa.schema(
        [
            pa.field("utterance_id", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", pa.string()),
            *map(stored_field, columns),
        ]
    )


def write_shard(path: Path, table: pa.Table, provenance: dict[str, Any], upstream: str | None = None) -> None:
    """Write the file of `shard_file` whole.

    Raises:
        StorageError: it cannot be written.
    """
    write_bytes(path, shard_file(path, table, provenance, upstream)[0])


def shard_file(
    path: Path, table: pa.Table, provenance: dict[str, Any], upstream: str | None = None
) -> tuple[bytes, str]:
    """The file of one shard, with its provenance, the fingerprint of it and its place in the footer; and its SHA-256.

    Vectors of fixed size are written as lists, which every reader of Parquet reads.

    Args:
        path: from `shard_path`.
        table: its rows.
        provenance: what its values follow from.
        upstream: SHA-256 of the shard that it was made from, if it was made from one.
    """
    footer = {
        "fingerprint": fingerprint(provenance),
        "provenance": provenance,
        "place": _place(path),
        **({} if upstream is None else {"upstream": upstream}),
    }
    plain = tuple(name for name in table.column_names if name not in ("status", "error", "tokens"))
    return sealed_parquet(vectors_as_lists(table), footer, plain=plain)


def _place(path: Path) -> dict[str, Any]:
    return {"stage": path.parent.name, "shard": int(path.stem)}


def misplaced(path: Path, footer: Footer) -> str | None:
    """Which shard the file at `path` is, if it is another one than its name says; None if it is that one.

    Shards of earlier versions name their stage only.
    """
    here, made, place = _place(path), footer.metadata.get("provenance", {}), footer.metadata.get("place")
    if not isinstance(made, dict) or not (place is None or isinstance(place, dict)):
        return "has a footer that does not say what made it"
    said = place or here | {"stage": made.get("stage")}
    if said.get("stage") is None or said == here:
        return None
    which = f"shard {said.get('shard')} " if place else ""
    return f"is a copy of {which}of stage {said['stage']!r}"


def read_shard_file(path: Path, columns: Sequence[str] | None = None) -> tuple[pa.Table, Footer]:
    """A shard, or some of its columns, and its footer; every byte of the file is checked.

    Vectors are lists, in whatever format the store was written.

    Raises:
        StoreError: it is not there, cannot be read, is not what was written, or lacks a column.
    """
    try:
        table, footer = read_sealed(path, columns)
    except (OSError, ValueError) as error:
        why = "" if isinstance(error, OSError) else _of_earlier_format(path)
        raise StoreError(f"{path} cannot be read ({error}{why}): {MAKE_AGAIN}") from error
    for name in columns or _OWN:
        if name not in table.column_names:
            raise StoreError(f"{path} has no column {name!r}: {MAKE_AGAIN}")
        if name in _OWN and table.schema.field(name).type not in _TEXTS:
            raise StoreError(f"{path} has no texts in the column {name!r}: {MAKE_AGAIN}")
    return vectors_as_lists(table), footer


def read_statuses(path: Path, columns: Sequence[str] = ("status",)) -> pa.Table:
    """Columns of texts of a shard; on an object store, its other bytes are neither fetched nor checked.

    Raises:
        StoreError: see `read_table`.
    """
    if is_local(path):
        return read_table(path, columns)
    try:
        return peek(path, columns)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}): {MAKE_AGAIN}") from error


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of `read_shard_file`.

    Raises:
        StoreError: it is not there, cannot be read, or is not what was written.
    """
    return read_shard_file(path, columns)[0]


def _of_earlier_format(path: Path) -> str:
    try:
        earlier = not is_stored_form(glance(path).schema)
    except (OSError, ValueError):
        return ""
    return "; it is in the format of an earlier version, which needs pyarrow 26 or later" if earlier else ""


def made_with(path: Path, provenance: dict[str, Any], upstream: str | None = None) -> bool:
    """Whether the shard at `path` is there, whole, in the present format, and was made with `provenance`.

    Args:
        path: the shard.
        provenance: what its values should follow from.
        upstream: SHA-256 of the shard that it should be made from, where that is known.
    """
    try:
        footer = read_footer(path)
    except (OSError, ValueError):
        return False
    return (
        footer.metadata.get("fingerprint") == fingerprint(provenance)
        and is_stored_form(footer.schema)
        and misplaced(path, footer) is None
        and upstream in (None, footer.metadata.get("upstream"))
    )
