"""One writer a store: runs with the same options share it by slices or wait for each other, others are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import BusyError
from mmpipe.core.files import canonical_json
from mmpipe.core.locks import Hold, Holder, hold
from mmpipe.core.scratch import sweep_parts
from mmpipe.pipeline.extraction.resume import feed
from mmpipe.pipeline.extraction.stages import StageSpec, describe_all

__all__ = ["options_print", "writing"]


@contextmanager
def writing(store: Path, options: str, part: tuple[int, int], on_wait: Callable[[Holder], None]) -> Iterator[Hold]:
    """Be the writer of a store, or of a slice of it, while the block runs.

    Where a run with the same options writes the same shards, its end is waited for. At the end of the block, what
    killed workers left half written is removed.

    Args:
        store: the feature store's folder.
        options: from `options_print`.
        part: the slice: its number, counted from 1, and the number of slices.
        on_wait: called with the run that is waited for.

    Raises:
        BusyError: a run with other options is writing the store.
        StorageError: the store cannot be written.
    """

    def judge(others: Sequence[Holder]) -> Holder | None:
        if other := next((o for o in others if o.options != options), None):
            raise BusyError(
                f"{store} is being written by {other}, which has other options (corpus, stages, their options or "
                "versions): wait for it to end, or name another store with --out"
            )
        return next((o for o in others if o.overlaps(part)), None)

    what = "mmpipe extract" + (f" --slice {part[0]}/{part[1]}" if part[1] > 1 else "")
    with hold(store / "logs", "run", what, judge, options=options, part=part, on_wait=on_wait) as held:
        try:
            yield held
        finally:
            sweep_parts(store)


def options_print(options: Mapping[str, Any], rows: pa.Table, specs: Sequence[StageSpec]) -> str:
    """Hash of all that decides what a run writes: runs with the same one may share a store.

    Args:
        options: of the run.
        rows: its manifest.
        specs: its stages.
    """
    stages = {name: made.to_json() for name, made in describe_all(specs).items()}
    digest = hashlib.sha256(canonical_json({**options, "stages": stages}).encode())
    for name in rows.column_names:
        digest.update(name.encode())
        feed(digest, rows.column(name).combine_chunks())
    return digest.hexdigest()
