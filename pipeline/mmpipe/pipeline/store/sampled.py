"""Some utterances of a stage as vectors, and the dimensions among them that say nothing.

Of large stores some shards are read, evenly spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.store.matrix import pooled_features

__all__ = ["Dimensions", "SampledFeatures", "find_dimensions", "sample_features", "spread"]

_MOSTLY = 0.99
"""A dimension with one value in this share of the utterances or more is nearly constant."""

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SampledFeatures:
    """Some utterances of a stage, each as one vector: a sequence is the mean of its steps.

    Attributes:
        x: float32 [N, D], finite.
        names: of the D dimensions.
        places: of the N utterances in the manifest.
        is_all: whether all shards were read.
    """

    x: _Floats
    names: tuple[str, ...]
    places: npt.NDArray[np.int64]
    is_all: bool


@dataclass(frozen=True)
class Dimensions:
    """Which dimensions of some utterances say little.

    Attributes:
        width: dimensions.
        constant: names of those with a single value.
        nearly_constant: names of others with one value in 99 per cent of the utterances or more.
        utterances: that were looked at.
        is_all: whether these are of all shards.
    """

    width: int
    constant: tuple[str, ...]
    nearly_constant: tuple[str, ...]
    utterances: int
    is_all: bool


def sample_features(store: FeatureStore, stage: str, most: int) -> SampledFeatures:
    """About `most` usable utterances of a stage, or all; whole shards are read.

    Raises:
        StoreError: a shard is missing or damaged, or the stage has no features.
    """
    lengths = [len(store.ids_of(shard)) for shard in range(store.num_shards)]
    shards = spread(len(lengths), max(1, int(most * len(lengths) / max(1, sum(lengths)))))
    pooled = pooled_features(store, stage, shards=shards)
    starts = np.cumsum([0, *lengths])
    places = np.concatenate([np.arange(starts[shard], starts[shard + 1]) for shard in shards])
    x, places = pooled.X[pooled.usable], places[pooled.usable]
    finite = np.isfinite(x).all(axis=1)
    return SampledFeatures(x[finite], pooled.names, places[finite], len(shards) == len(lengths))


def find_dimensions(sample: SampledFeatures) -> Dimensions:
    """The constant and the nearly constant dimensions of a sample of one utterance or more."""
    x = sample.x
    constant = np.ptp(x, axis=0) == 0
    half = len(x) // 2
    most_frequent = np.partition(x, half, axis=0)[half]  # a value that fills 99 per cent is the median
    rare = ~constant & ((x == most_frequent).mean(axis=0) >= _MOSTLY)
    same, seldom = (tuple(sample.names[place] for place in np.flatnonzero(found)) for found in (constant, rare))
    return Dimensions(x.shape[1], same, seldom, len(x), sample.is_all)


def spread(count: int, most: int) -> list[int]:
    """Places of at most `most` of `count` things, evenly spread.

    Example:
        >>> spread(3, 12), spread(9, 3)
        ([0, 1, 2], [0, 4, 8])
    """
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(most, count)).round())] if count else []
