"""Features of a store as padded arrays, decoded once and mapped into memory from then on.

Legend: N rows, S steps of all rows, T steps of a padded row, D width.

They are in the store's logs, `logs/arrays/{stage}-{hash of the shards}-{rows and shape}/` (see `kept_arrays`). Arrays
of features that the store no longer holds are removed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib.format import open_memmap

from mmpipe.core.errors import StoreError, TrainingError
from mmpipe.core.files import is_local
from mmpipe.core.parquet import fingerprint
from mmpipe.manifests.io import lies_inside
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.data.kept import kept_arrays, kept_folder
from mmpipe.pipeline.training.modalities import Modality

__all__ = ["Selection", "find_words", "list_lengths", "load_arrays"]

_Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Selection:
    """What to decode.

    Attributes:
        usable: bool, one a row of the manifest.
        ids: utterance ids of the usable rows.
        speakers: their speakers: each is normalised by its own statistics; None leaves values as they are.
    """

    usable: npt.NDArray[np.bool_]
    ids: tuple[str, ...]
    speakers: tuple[str, ...] | None = None


def load_arrays(
    store: FeatureStore, modality: Modality, selection: Selection, steps: int
) -> tuple[_Array, npt.NDArray[np.bool_]]:
    """Features [N, T, D] and mask [N, T] of the usable rows; cut after T steps, zero on padding.

    Raises:
        StoreError: a shard cannot be read, or shards differ in width.
        TrainingError: features are NaN, infinite or missing; the utterance is named.
    """
    stage = modality.stage
    made, rows = store.content(stage)[:16], fingerprint([selection.ids, selection.speakers, steps])[:16]

    def fits(held: dict[str, _Array]) -> bool:
        features, keep = held.get("features"), held.get("keep")
        return (
            features is not None
            and keep is not None
            and features.ndim == 3
            and features.dtype.kind == "f"
            and keep.dtype == np.bool_
            and features.shape[:2] == keep.shape == (len(selection.ids), steps)
        )

    def make(part: Path) -> None:
        _decode(part, store, modality, selection, steps)

    arrays = kept_arrays(store.path, f"{stage}-{made}-{rows}", make, fits)
    _remove_stale(store.path, stage, made)
    return arrays["features"], arrays["keep"]


def _remove_stale(store: Path, stage: str, made: str) -> None:
    """Remove arrays of features that the store no longer holds; in a folder of the store alone."""
    kept = kept_folder(store)
    if is_local(store) and not lies_inside(kept, store):
        return
    for other in kept.glob(f"{stage}-*"):
        if re.fullmatch(rf"{re.escape(stage)}-(?!{made})[0-9a-f]+-\w+", other.name):
            shutil.rmtree(other, ignore_errors=True)


def _decode(part: Path, store: FeatureStore, modality: Modality, selection: Selection, steps: int) -> None:
    """Write features.npy and keep.npy, shard by shard."""
    stage = modality.stage
    columns = [*([] if modality.index is None else [modality.index]), "features"]
    keep = np.zeros((len(selection.ids), steps), np.bool_)
    features: _Array | None = None
    first = filled = 0
    for shard in range(store.num_shards):
        number = len(store.ids_of(shard))
        chosen = selection.usable[first : first + number]
        first += number
        if not chosen.any():
            continue
        table = store.read_shard(stage, shard, columns)
        values_SD, lengths = _steps(table.filter(pa.array(chosen)), modality)
        owner = filled + np.repeat(np.arange(len(lengths)), lengths)
        _check(store, stage, selection.ids, values_SD, lengths, owner, filled)
        if features is None:
            shape = (len(selection.ids), steps, values_SD.shape[1])
            features = open_memmap(part / "features.npy", "w+", values_SD.dtype, shape)
        if features.shape[2] != values_SD.shape[1]:
            raise StoreError(
                f"stage {stage!r} of {store.path} has features of width {features.shape[2]} and, in "
                f"shard {shard}, of {values_SD.shape[1]}: run `mmpipe extract` again to make it uniform"
            )
        place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        kept = place < steps
        features[owner[kept], place[kept]] = values_SD[kept]
        keep[owner[kept], place[kept]] = True
        filled += len(lengths)
    assert features is not None
    if selection.speakers is not None:
        _normalise_speakers(features, keep, np.array(selection.speakers))
    np.save(part / "keep.npy", keep)


def _normalise_speakers(features: _Array, keep: npt.NDArray[np.bool_], speakers: _Array) -> None:
    """z-normalise the rows of each speaker by the mean and deviation of that speaker's unpadded entries."""
    for speaker in np.unique(speakers):
        rows = np.flatnonzero(speakers == speaker)
        values, mask = features[rows].astype(np.float64), keep[rows]
        mean, std = values[mask].mean(axis=0), values[mask].std(axis=0)
        scale = np.divide(1, std, out=np.zeros_like(std), where=std > 1e-6 * np.abs(mean) + 1e-12)
        features[rows] = (values - mean) * scale * mask[..., None]


def _check(
    store: FeatureStore,
    stage: str,
    ids: Sequence[str],
    values_SD: _Array,
    lengths: _Array,
    owner: _Array,
    first: int,
) -> None:
    if (finite := np.isfinite(values_SD)).all() and lengths.min() > 0:
        return
    if lengths.min() > 0:
        step, dimension = np.argwhere(~finite)[0]
        what = f"value {values_SD[step, dimension]} in dimension {dimension}"
        bad = ids[owner[step]]
    else:
        what, bad = "status ok and no rows of features", ids[first + int(np.argmin(lengths))]
    raise TrainingError(
        f"{store.path}, stage {stage!r}: utterance {bad} has {what}; "
        "delete the stage's folder and run `mmpipe extract` again"
    )


def _steps(table: pa.Table, modality: Modality) -> tuple[_Array, _Array]:
    """Features of all steps of all rows [S, D], and the number of steps of each row [N]; word pieces by word."""
    column = table.column("features").combine_chunks()
    if modality.is_sequence != pa.types.is_nested(column.type.value_type):
        wanted = "a sequence of vectors" if modality.is_sequence else "one vector"
        raise StoreError(f"stage {modality.stage!r} must hold {wanted} an utterance, not {column.type}")
    if modality.is_sequence:
        lengths, column = list_lengths(column), column.flatten()
        width = column.type.list_size
    else:
        widths = list_lengths(column)
        lengths, width = (widths > 0).astype(np.int64), max(1, int(widths.max()))
        if (other := widths[(widths != width) & (widths > 0)]).size:
            raise StoreError(
                f"stage {modality.stage!r} has features of width {width} and of {other[0]} in one shard: "
                "run `mmpipe extract` again to make it uniform"
            )
    values_SD: _Array = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    if modality.index is not None and len(values_SD):
        index = table.column(modality.index).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return _pool(values_SD, index, lengths)
    return values_SD, lengths


def list_lengths(column: pa.ListArray) -> _Array:
    """The length of each list; 0 for null."""
    return np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)


def _pool(pieces_SD: _Array, word_index: _Array, lengths: _Array) -> tuple[_Array, _Array]:
    """The mean of the pieces of each word, and the number of words of each row."""
    starts, words = find_words(word_index, lengths)
    sizes = np.diff(np.append(starts, len(word_index)))
    sums_WD = np.add.reduceat(pieces_SD.astype(np.float32), starts, axis=0)
    return (sums_WD / sizes[:, None]).astype(pieces_SD.dtype), words


def find_words(word_index: _Array, lengths: _Array) -> tuple[_Array, _Array]:
    """Where the words of all rows start, and the number of words of each row.

    Args:
        word_index: of each piece of all rows, the number of its word.
        lengths: pieces of each row.
    """
    owner = np.repeat(np.arange(len(lengths)), lengths)
    new = (np.diff(owner) != 0) | (np.diff(word_index) != 0)
    starts = np.flatnonzero(np.concatenate([[len(owner) > 0], new]))
    return starts, np.bincount(owner[starts], minlength=len(lengths))
