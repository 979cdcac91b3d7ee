"""What the features of a store look like: faces found, dimensions that say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from mmpipe.core.errors import StoreError
from mmpipe.core.files import is_local
from mmpipe.pipeline.extraction.stages import FACES
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.sampled import Dimensions, find_dimensions, sample_features
from mmpipe.pipeline.store.summary import Summary

__all__ = ["Contents", "FaceCounts", "count_faces", "look_into"]

_MOST_ROWS = 1500
"""Utterances of a stage whose features are looked at; whole shards are read until there are so many."""


@dataclass(frozen=True)
class FaceCounts:
    """How many faces a store found.

    Attributes:
        utterances: utterances whose frames could be searched.
        without_face: those of them in which no face was found at all.
        frames: sampled frames of the others.
        detected: frames of those in which the face was found.
    """

    utterances: int
    without_face: int
    frames: int
    detected: int

    def __str__(self) -> str:
        """In a sentence.

        Example:
            >>> print(FaceCounts(4, 1, 30, 29))
            1 of 4 utterances without a face (25.0%); in the others it was found in 29 of 30 sampled frames
        """
        share = self.without_face / self.utterances if self.utterances else 0.0
        return (
            f"{self.without_face} of {self.utterances} utterances without a face ({share:.1%}); in the others it was "
            f"found in {self.detected} of {self.frames} sampled frames"
        )


@dataclass(frozen=True)
class Contents:
    """What the complete stages of a store hold.

    Attributes:
        faces: None without a complete stage of faces.
        dimensions: by stage that has features.
        unread: why a stage cannot be read, by stage.
    """

    faces: FaceCounts | None = None
    dimensions: Mapping[str, Dimensions] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


def count_faces(store: FeatureStore) -> FaceCounts:
    """Count the faces of a store.

    Raises:
        StoreError: the stage `faces` is incomplete.
    """
    table = store.read(FACES, ["status", "detected"])
    statuses = table.column("status")
    good = int(pc.sum(pc.equal(statuses, "ok")).as_py() or 0)
    empty = int(pc.sum(pc.equal(statuses, "no_face")).as_py() or 0)
    found = pc.list_flatten(table.column("detected"))
    return FaceCounts(good + empty, empty, len(found), int(pc.sum(found).as_py() or 0))


def look_into(path: Path, summary: Summary) -> Contents:
    """Look at the stages of a store that are complete and sound; of large ones at some shards, evenly spread.

    Args:
        path: the store; nothing of one on an object store is read again, nor of a manifest.
        summary: what `inspect_store` gave of it.
    """
    if not (summary.stages and is_local(path)):
        return Contents()
    store, faces = FeatureStore(path), None
    dimensions: dict[str, Dimensions] = {}
    unread: dict[str, str] = {}
    for stage in summary.stages:
        if stage.damaged or stage.shards < summary.shards:
            continue
        try:
            if stage.name == FACES and "detected" in store.columns(FACES):
                faces = count_faces(store)
            if "features" in store.columns(stage.name):
                sample = sample_features(store, stage.name, _MOST_ROWS)
                if len(sample.x):
                    dimensions[stage.name] = find_dimensions(sample)
        except StoreError as error:
            unread[stage.name] = str(error)
    return Contents(faces, dimensions, unread)
