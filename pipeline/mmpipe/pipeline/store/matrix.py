"""A store as one matrix: the features of each utterance side by side, for scikit-learn and its like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import StoreError
from mmpipe.core.reading import parse_json
from mmpipe.pipeline.store.feature_store import FeatureStore

__all__ = ["FeatureMatrix", "feature_matrix", "pooled_features"]


@dataclass(frozen=True)
class FeatureMatrix:
    """Labelled utterances of a store that have all the stages asked for, in manifest order.

    Attributes:
        X: features float32 [N, D]; sequences (faces, word pieces) are averaged over their steps.
        y: labels [N], by name.
        groups: speakers [N], else sessions, for cross-validation by group; empty where neither is known.
        names: names of the D columns.
        ids: utterance ids [N].
        left_out: utterances without a label, and those without features by stage and status.
    """

    X: npt.NDArray[np.float32]
    y: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    left_out: dict[str, int]


def feature_matrix(store: FeatureStore, *stages: str) -> FeatureMatrix:
    """The features of one or more stages and the labels, ready for scikit-learn.

    Args:
        store: the feature store.
        stages: stages with a column `features`, such as `audio`, `expression` and `text`.

    Raises:
        StoreError: a stage is incomplete or has no features, or no labelled utterance has all stages.

    Example:
        >>> matrix = feature_matrix(store, "audio")  # doctest: +SKIP
        >>> cross_val_score(model, matrix.X, matrix.y, groups=matrix.groups, cv=GroupKFold())  # doctest: +SKIP
    """
    manifest = store.manifest().select(["utterance_id", "label", "speaker", "session"]).to_pylist()
    labels = np.array([row["label"] or "" for row in manifest])
    keep, left_out = labels != "", {"no label": int((labels == "").sum())}
    blocks, names = [], list[str]()
    for stage in stages:
        features, usable = pooled_features(store, stage)
        for status, number in store.statuses(stage).items():
            if status != "ok":
                left_out[f"{stage}: {status}"] = number
        keep &= usable
        blocks.append(features)
        names += _names(store, stage, features.shape[1])
    if not keep.any():
        reasons = ", ".join(f"{reason} {number}" for reason, number in left_out.items() if number)
        raise StoreError(
            f"{store.path}: no labelled utterance has all of {', '.join(stages) or 'no stage'} ({reasons})"
        )
    rows = [row for row, kept in zip(manifest, keep, strict=True) if kept]
    return FeatureMatrix(
        np.hstack([block[keep] for block in blocks]),
        labels[keep],
        np.array([row["speaker"] or row["session"] or "" for row in rows]),
        tuple(names),
        tuple(row["utterance_id"] for row in rows),
        {reason: number for reason, number in left_out.items() if number},
    )


def pooled_features(store: FeatureStore, stage: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """One vector an utterance, and which utterances have one.

    Args:
        store: the feature store.
        stage: a stage with a `features` column: vectors, or lists of vectors, which are averaged.

    Returns:
        features float32 [N, D] in manifest order (zeros where there are none) and usable bool [N].

    Raises:
        StoreError: the stage is incomplete, or has no column `features`.
    """
    table = store.read(stage, ["status", "features"])
    if "features" not in table.column_names:
        raise StoreError(f"stage {stage!r} of {store.path} has no column `features`: name a stage that has")
    usable = np.array([status == "ok" for status in table.column("status").to_pylist()])
    rows = [np.asarray(row.as_py(), np.float32) for row in table.column("features") if row.is_valid]
    pooled = [row.mean(axis=0) if row.ndim == 2 else row for row in rows]
    features = np.zeros((len(usable), len(pooled[0]) if pooled else 1), np.float32)
    if len(widths := {len(vector) for vector in pooled}) > 1:
        raise StoreError(
            f"stage {stage!r} of {store.path} has features of widths {', '.join(map(str, sorted(widths)))}: "
            "run `mmpipe extract` again to make it uniform"
        )
    if pooled:
        features[usable] = np.stack(pooled)
    return features, usable


def _names(store: FeatureStore, stage: str, width: int) -> list[str]:
    """The names of a stage's columns: those that its extractor gives, else numbers."""
    metadata: dict[bytes, Any] = store.read_shard(stage, 0, ["features"]).schema.field("features").metadata or {}
    try:
        given = parse_json(metadata.get(b"feature_names", b"[]"))
    except ValueError:
        given = []
    return [f"{stage}.{name}" for name in (given if isinstance(given, list) and len(given) == width else range(width))]
