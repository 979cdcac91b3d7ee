"""A store as one matrix: the features of each utterance side by side, for scikit-learn and its like.

Legend: N utterances, S steps of all utterances, D width.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.core.reading import parse_json

__all__ = ["FeatureMatrix", "Pool", "Pooled", "feature_matrix", "pooled_features"]

Pool = Literal["mean", "mean+std"]
"""How a sequence (faces, word pieces) becomes one vector: the mean of its steps, or mean and standard deviation."""

_Floats = npt.NDArray[np.float32]


class _Store(Protocol):
    """What is needed of a `mmpipe.pipeline.store.feature_store.FeatureStore`."""

    path: Path
    num_shards: int

    @property
    def stages(self) -> tuple[str, ...]: ...

    def manifest(self) -> pa.Table: ...

    def columns(self, stage: str) -> tuple[str, ...]: ...

    def read_shard(self, stage: str, shard: int, columns: Sequence[str] | None = None) -> pa.Table: ...


@dataclass(frozen=True)
class FeatureMatrix:
    """Labelled utterances of a store that have all the stages asked for, in manifest order.

    Attributes:
        X: features float32 [N, D].
        y: labels [N], by name.
        groups: speakers [N], else sessions, for cross-validation by group; empty where neither is known.
        names: names of the D columns: those that the extractor gives (openSMILE's), else such as `expression_mean_017`.
        ids: utterance ids [N].
        left_out: utterances of the store that are not in the matrix, each counted once: `no label`, or the first
            stage whose status is not `ok`, with that status.
    """

    X: _Floats
    y: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    left_out: dict[str, int]


@dataclass(frozen=True)
class Pooled:
    """One vector an utterance, of one stage.

    Attributes:
        X: float32 [N, D] in manifest order, of the shards that were read; zeros where there are no features.
        statuses: of the N rows; those that are `ok` have features.
        names: names of the D columns.
    """

    X: _Floats
    statuses: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Which rows have features, bool [N]."""
        return np.array([status == "ok" for status in self.statuses], np.bool_)


def feature_matrix(store: _Store, stages: Sequence[str] = (), pool: Pool = "mean") -> FeatureMatrix:
    """As `FeatureStore.to_xy`."""
    stages = (stages,) if isinstance(stages, str) else tuple(stages) or _with_features(store)
    manifest = store.manifest().select(["utterance_id", "label", "speaker", "session"]).to_pylist()
    pooled = [pooled_features(store, stage, pool) for stage in stages]
    reasons = [None if row["label"] else "no label" for row in manifest]
    for stage, part in zip(stages, pooled, strict=True):
        for place, status in enumerate(part.statuses):
            if status != "ok" and reasons[place] is None:
                reasons[place] = f"{stage}: {status}"
    left_out = dict(Counter(reason for reason in reasons if reason).most_common())
    keep = np.array([reason is None for reason in reasons], np.bool_)
    shown = ", ".join(f"{reason} {number}" for reason, number in left_out.items())
    if not (pooled and keep.any()):
        wanted = ", ".join(stages) or "its stages, of which none has features"
        raise StoreError(f"{store.path}: no labelled utterance has all of {wanted} ({shown})")
    if left_out.keys() - {"no label"}:
        text = f"{sum(left_out.values())} of {len(keep)} utterances of {store.path} are left out ({shown})"
        warnings.warn(text, UserWarning, stacklevel=3)
    rows = [row for row, kept in zip(manifest, keep, strict=True) if kept]
    return FeatureMatrix(
        np.hstack([part.X[keep] for part in pooled]),
        np.array([row["label"] for row in rows]),
        np.array([row["speaker"] or row["session"] or "" for row in rows]),
        _named_apart(stages, pooled),
        tuple(row["utterance_id"] for row in rows),
        left_out,
    )


def pooled_features(store: _Store, stage: str, pool: Pool = "mean", shards: Sequence[int] | None = None) -> Pooled:
    """One vector an utterance.

    Args:
        store: the feature store.
        stage: a stage with a column `features`: vectors, which stay as they are, or lists of vectors.
        pool: what becomes of a list of vectors.
        shards: those that are read; None reads all.

    Raises:
        UsageError: the way of pooling does not exist.
        StoreError: the stage is incomplete, has no column `features`, vectors of different widths, or other
            rows than the manifest.
    """
    if pool not in get_args(Pool):
        raise UsageError(f"pool {pool!r} does not exist; valid values: {', '.join(get_args(Pool))}")
    ids: list[str] = []
    statuses: list[str] = []
    parts: list[_Floats] = []
    field: pa.Field | None = None
    if "features" not in (columns := store.columns(stage)) and columns:
        raise StoreError(f"stage {stage!r} of {store.path} has no column `features`: name a stage that has")
    for shard in range(store.num_shards) if shards is None else shards:
        table = store.read_shard(stage, shard, ["utterance_id", "status", "features"])
        field = field or table.schema.field("features")
        ids += table.column("utterance_id").to_pylist()
        statuses += table.column("status").to_pylist()
        good = table.filter(pc.equal(table.column("status"), "ok")).column("features").combine_chunks()
        if len(good):
            try:
                parts.append(_pooled(good, pool))
            except ValueError as error:
                raise StoreError(_uneven(store, stage, f"{error} in shard {shard}")) from error
    if shards is None and ids != store.manifest().column("utterance_id").to_pylist():
        raise StoreError(_uneven(store, stage, "other rows than the manifest"))
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:
        raise StoreError(_uneven(store, stage, f"features of widths {', '.join(map(str, widths))}"))
    x_ND = np.zeros((len(statuses), widths[0] if widths else 0), np.float32)
    if parts:
        x_ND[np.array(statuses) == "ok"] = np.concatenate(parts)
    return Pooled(x_ND, tuple(statuses), () if field is None else _names(stage, field, x_ND.shape[1], pool))


def _uneven(store: _Store, stage: str, what: str) -> str:
    return f"stage {stage!r} of {store.path} has {what}: run `mmpipe extract` again to make it again"


def _with_features(store: _Store) -> tuple[str, ...]:
    """The stages that have a column `features`."""
    return tuple(stage for stage in store.stages if "features" in store.columns(stage))


def _is_sequence(type_: pa.DataType) -> bool:
    return bool(pa.types.is_nested(type_.value_type))


def _pooled(column: pa.ListArray, pool: Pool) -> _Floats:
    """Vectors [N, D], or what becomes of lists of vectors [N, D or 2 D].

    Raises:
        ValueError: the vectors differ in width, or a row is empty.
    """
    if not _is_sequence(column.type):
        return np.asarray(_matrix(column), np.float32)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    if lengths.min() == 0:
        raise ValueError("a row with status ok and no features")
    x_SD, starts = _matrix(column.flatten()).astype(np.float64), np.cumsum(lengths) - lengths
    mean_ND = np.add.reduceat(x_SD, starts) / lengths[:, None]
    if pool == "mean":
        return np.asarray(mean_ND, np.float32)
    squares_SD = (x_SD - np.repeat(mean_ND, lengths, axis=0)) ** 2
    std_ND = np.sqrt(np.add.reduceat(squares_SD, starts) / lengths[:, None])
    return np.asarray(np.hstack([mean_ND, std_ND]), np.float32)


def _matrix(vectors: pa.ListArray | pa.FixedSizeListArray) -> npt.NDArray[np.floating]:
    """Vectors of one width as an array [S, D]."""
    widths = set(pc.unique(pc.list_value_length(vectors)).to_pylist())
    if len(widths) != 1 or not (width := widths.pop()):
        raise ValueError("vectors of different widths, or without values,")
    values: npt.NDArray[np.floating] = vectors.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, width)


def _names(stage: str, field: pa.Field, width: int, pool: Pool) -> tuple[str, ...]:
    """The names of a stage's columns: those that its extractor gives, else numbers."""
    parts = [f"{part}_" for part in pool.split("+")] if _is_sequence(field.type) else [""]
    number = width // len(parts)
    try:
        given = parse_json((field.metadata or {}).get(b"feature_names", b"[]"))
    except ValueError:
        given = []
    if isinstance(given, list) and len(given) == number:
        return tuple(f"{part}{name}" for part in parts for name in given)
    digits = len(str(number - 1))
    return tuple(f"{stage}_{part}{place:0{digits}d}" for part in parts for place in range(number))


def _named_apart(stages: Sequence[str], pooled: Sequence[Pooled]) -> tuple[str, ...]:
    """The names of all columns; where two stages have the same name, with the stage before it."""
    counts = Counter(name for part in pooled for name in part.names)
    pairs = [(stage, name) for stage, part in zip(stages, pooled, strict=True) for name in part.names]
    return tuple(name if counts[name] == 1 else f"{stage}_{name}" for stage, name in pairs)
