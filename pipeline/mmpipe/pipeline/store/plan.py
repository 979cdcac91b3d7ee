"""The plan: which utterance is in which shard. It only grows, except by `mmpipe.pipeline.extraction.drop`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError

__all__ = ["describe_vanished", "plan", "refuse_renamed", "shard_size"]

_SHOWN = 3

_NUMBERED = re.compile(r"folder/.*#(\d+|word\d+@[\d.]+)")
"""Ids that earlier versions gave to rows, cues and words of folders: by their number in the table or transcript."""


def shard_size(rows: int) -> int:
    """Utterances a shard: 16 to 256, aiming at 32 shards or more. It follows from the number of rows alone.

    Example:
        >>> [shard_size(n) for n in (10, 500, 5_531, 25_000)]
        [16, 16, 172, 256]
    """
    return min(256, max(16, rows // 32))


def _media_order(manifest: pa.Table) -> pa.Array:
    """The places of the rows, ordered by media file, then time, so that a shard opens few files."""
    audio, video = manifest.column("audio"), manifest.column("video")
    columns = {
        name: pc.fill_null(pc.coalesce(pc.struct_field(video, name), pc.struct_field(audio, name)), default)
        for name, default in (("uri", ""), ("start_seconds", 0.0))
    }
    keys = pa.table({**columns, "utterance_id": manifest.column("utterance_id")})
    return pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])


def plan(manifest: pa.Table, planned: pa.Table | None = None) -> pa.Table:
    """Give every row of `manifest` a shard and put the rows in shard order.

    Rows that `planned` (the manifest of an existing store) holds keep their shard and place, with their new content;
    the others get new shards after them.

    Raises:
        StoreError: `planned` holds utterances that `manifest` lacks.
    """
    ids = manifest.column("utterance_id").combine_chunks()
    kept = ids.slice(0, 0) if planned is None else planned.column("utterance_id").combine_chunks()
    order = pc.index_in(kept, ids)
    if order.null_count:
        vanished = kept.filter(pc.is_null(order)).to_pylist()
        lacks = describe_vanished(vanished)
        refuse_renamed(vanished, ids.to_pylist(), lacks)
        raise StoreError(
            f"{lacks}: restore them, drop their rows with --drop-missing, or extract into a new folder with --out"
        )
    fresh = manifest.filter(pc.invert(pc.is_in(ids, kept)))
    new = fresh.take(_media_order(fresh))
    shards = np.empty(0, np.int32) if planned is None else planned.column("shard").to_numpy()
    first = 1 + shards.max(initial=-1)
    shards = np.concatenate([shards, first + np.arange(new.num_rows) // shard_size(new.num_rows)])
    ordered = pa.concat_tables([manifest.take(order), new])
    return ordered.set_column(
        ordered.schema.get_field_index("shard"), "shard", pa.array(shards, pa.int32())
    ).replace_schema_metadata(None)


def refuse_renamed(vanished: Sequence[str], ids: Sequence[str], lacks: str) -> None:
    """Refuse a manifest that has other names for what a store of an earlier version holds.

    Args:
        vanished: utterances of the store that the manifest lacks.
        ids: those of the manifest.
        lacks: the beginning of the message.

    Raises:
        StoreError: the store has names of an earlier version, and the manifest has none.
    """
    if any(map(_NUMBERED.fullmatch, vanished)) and not any(map(_NUMBERED.fullmatch, ids)):
        raise StoreError(
            f"{lacks}: rows, cues and words of folders were named by their number before this version, and are named "
            "by file and time now: extract into a new folder with --out, or keep the old names with --manifest and the "
            "store's own manifest.parquet"
        )


def describe_vanished(vanished: Sequence[str]) -> str:
    """How many utterances a manifest lacks, with the names of a few.

    Example:
        >>> describe_vanished(["a", "b", "c", "d"])
        'the store holds 4 utterances that the manifest no longer has (a, b, c, ...)'
    """
    shown = ", ".join(vanished[:_SHOWN]) + (", ..." if len(vanished) > _SHOWN else "")
    return f"the store holds {len(vanished)} utterances that the manifest no longer has ({shown})"
