"""How far features lie outside what a model was trained on, measured by their z-values.

The distance of an utterance is the mean |z| over its unpadded values: about 0.8 where values are normal with the mean
and deviation of the training rows, larger where another microphone, camera or speaker moves or stretches them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mmpipe.pipeline.training.data.dataset import Dataset, Norm, Rows, fit_norms
from mmpipe.pipeline.training.modalities import MODALITIES

__all__ = ["PoolShift", "Reach", "Shift", "measure_pool", "measure_reach", "measure_shift", "pool_caution"]

_SHARE = 99
"""Per cent of the labelled rows that lie within `Reach.distance`."""

_MARGIN = 1.25
"""Another speaker of the same corpus may lie this much farther out than `Reach.distance`."""

_FAR = 4.0
"""|z| from which a value counts as far out: of normal values 0.006 per cent are."""

_STRAYS = 0.1
"""Of the utterances of a store, normalised by its own statistics, fewer than this should lie out of reach."""

_MOST = 2000
"""Rows that are measured at most, spread evenly over the corpus."""


@dataclass(frozen=True)
class Reach:
    """How far the labelled rows of a fold lie from the mean of its training rows, in one modality.

    Attributes:
        distance: the mean |z| of an utterance that 99 per cent of the rows do not exceed.
        far: the share of their values with |z| above 4.
    """

    distance: float
    far: float

    def to_json(self) -> dict[str, float]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Shift:
    """How far an utterance lies outside the training range, in one modality.

    Attributes:
        modality: its letter.
        distance: mean |z| of the utterance.
        usual: mean |z| that 99 per cent of the training corpus do not exceed.
        far: share of the utterance's values with |z| above 4.
    """

    modality: str
    distance: float
    usual: float
    far: float

    @property
    def is_outside(self) -> bool:
        """Whether hardly any utterance of the training corpus lies as far out."""
        return self.distance > _MARGIN * self.usual

    def __str__(self) -> str:
        """In words, as a part of a sentence."""
        source = MODALITIES[self.modality].source
        return (
            f"{source}: mean |z| {self.distance:.1f}, of 99 % of the training corpus {self.usual:.1f} or less; "
            f"{100 * self.far:.0f} % of the values lie beyond {_FAR:.0f} deviations"
        )


def measure_reach(dataset: Dataset, rows: Rows, norms: Mapping[str, Norm]) -> dict[str, Reach]:
    """The reach of some rows by modality, under the normalisation of the training rows."""
    return {
        name: Reach(*(round(float(x), 6) for x in (np.percentile(distances, _SHARE), np.mean(far))))
        for name, (distances, far) in _distances(dataset, np.sort(_spread(rows)), norms).items()
    }


def measure_shift(
    dataset: Dataset, row: int, models: Sequence[tuple[Mapping[str, Norm], Mapping[str, Reach]]]
) -> list[Shift]:
    """The shift of a row by modality, as the mean over models with their normalisation and reach."""
    measured = [_distances(dataset, np.array([row]), norms) for norms, _ in models]
    return [
        Shift(
            name,
            float(np.mean([m[name][0] for m in measured])),
            float(np.mean([reach[name].distance for _, reach in models])),
            float(np.mean([m[name][1] for m in measured])),
        )
        for name in dataset.features
    ]


@dataclass(frozen=True)
class PoolShift:
    """How far an unlabelled store lies outside the labelled one, in one modality.

    Attributes:
        usual: mean |z| that 99 per cent of the labelled utterances do not exceed.
        distance: mean |z| of the unlabelled utterances by the statistics of the labelled store.
        own_distance: the same by the statistics of the unlabelled store, which normalise it in training.
        strays: share of the unlabelled utterances that, by these, lie out of the usual range.
    """

    usual: float
    distance: float
    own_distance: float
    strays: float

    @property
    def is_outside(self) -> bool:
        """Whether the unlabelled store is of another domain."""
        return self.distance > _MARGIN * self.usual or self.strays > _STRAYS


def measure_pool(labeled: Dataset, pool: Dataset, own: Mapping[str, Norm]) -> dict[str, PoolShift]:
    """How far an unlabelled store lies outside the labelled one, by modality; arguments as in `pool_caution`."""
    known = _spread(np.flatnonzero([label is not None for label in labeled.labels]))
    norms = fit_norms(labeled, known)
    reach, some = measure_reach(labeled, known, norms), _spread(np.arange(len(pool.ids)))
    raw, normalised = _distances(pool, some, norms), _distances(pool, some, own)
    shifts = {}
    for name, usual in reach.items():
        rest = np.array(normalised[name][0])
        strays = float(np.mean(rest > _MARGIN * usual.distance))
        shifts[name] = PoolShift(usual.distance, float(np.mean(raw[name][0])), float(rest.mean()), strays)
    return shifts


def pool_caution(labeled: Dataset, pool: Dataset, own: Mapping[str, Norm]) -> str | None:
    """How far an unlabelled store lies outside the labelled one, in a sentence; None if it does not.

    Args:
        labeled: the labelled store.
        pool: the unlabelled one.
        own: its statistics, which normalise it in training.
    """
    found = [
        f"{MODALITIES[name].source}: mean |z| {shift.distance:.1f} by the statistics of the labelled store, of whose "
        f"utterances 99 % have {shift.usual:.1f} or less, and {shift.own_distance:.1f} by its own, by which "
        f"{100 * shift.strays:.0f} % of its utterances lie out of that range"
        for name, shift in measure_pool(labeled, pool, own).items()
        if shift.is_outside
    ]
    if not found:
        return None
    return (
        f"The unlabelled store is of another domain than the labelled one ({'; '.join(found)}): each store is "
        "normalised by its own statistics, but pseudo-labels may be worse than the figures on the labelled store say"
    )


def _spread(rows: Rows) -> Rows:
    """At most `_MOST` of some rows, spread evenly."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(np.int64)]


def _distances(dataset: Dataset, rows: Rows, norms: Mapping[str, Norm]) -> dict[str, tuple[list[float], list[float]]]:
    """By modality, mean |z| and share of |z| above `_FAR` of each row; dimensions without a scale are left out."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in dataset.features}
    for part in np.array_split(rows, -(-len(rows) // 256)):
        features, keep = dataset.batch(part, norms)
        for name, x in features.items():
            z = x.numpy()[..., norms[name].scale.numpy() > 0]
            for number in range(len(part)):
                inside = np.abs(z[number][keep[name][number].numpy()] if name in keep else z[number])
                found[name][0].append(float(inside.mean()) if inside.size else 0.0)
                found[name][1].append(float((inside > _FAR).mean()) if inside.size else 0.0)
    return found
