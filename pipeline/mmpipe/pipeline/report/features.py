"""The report's section on features: their projection, dimensions that say nothing, the shift between stores.

Of large stores some shards are read, evenly spread, and of their rows some are drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmpipe.pipeline.report.blocks import Block, Cell, Details, Figure, Grid, Section, Table, Text, number, percent
from mmpipe.pipeline.report.charts import PLAIN, Points
from mmpipe.pipeline.report.stores import ShownStore
from mmpipe.pipeline.store.sampled import SampledFeatures, find_dimensions, sample_features, spread
from mmpipe.pipeline.training.data.dataset import Dataset, fit_norms
from mmpipe.pipeline.training.modalities import MODALITIES
from mmpipe.pipeline.training.shift import PoolShift, measure_pool

__all__ = ["features_section"]

_MOST_ROWS = 6000
"""Utterances of a store that are looked at; whole shards are read until there are so many."""

_MOST_POINTS = 1200
"""Points of a projection, of all stores together."""

_MOST_NAMES = 300
"""Dimensions that are named."""

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Sample:
    """Some utterances of a stage.

    Attributes:
        store: whose they are.
        features: their vectors.
        rows: the rows of the manifest.
    """

    store: ShownStore
    features: SampledFeatures
    rows: pa.Table

    @property
    def x(self) -> _Floats:
        """Float32 [N, D]."""
        return self.features.x


def features_section(stores: Sequence[ShownStore]) -> Section:
    """What the features of the stores look like, by stage."""
    groups = _groups(stores)
    blocks: list[Block] = []
    if groups:
        blocks.append(
            Text(
                "Each point is an utterance; a sequence (faces, word pieces) is the mean of its steps. Features are "
                "standardised, then projected on their first two principal components. Choose what colours the points."
            )
        )
        blocks.append(Grid([_projection(stage, samples) for stage, samples in groups]))
        blocks += _dimensions(groups)
        blocks += _shift(groups)
    return Section("features", "Features", blocks)


def _groups(stores: Sequence[ShownStore]) -> list[tuple[str, list[_Sample]]]:
    """Samples of the stores by stage; stores whose features were made otherwise are apart."""
    groups: dict[tuple[str, str], list[_Sample]] = {}
    for store in stores:
        for stage in store.summary.stages:
            if store.store is None or not store.has(stage.name) or "features" not in store.store.columns(stage.name):
                continue
            sample = _sample(store, stage.name)
            if len(sample.x):
                made = json.dumps([stage.extractor, stage.provenance.get("config"), sample.x.shape[1]], sort_keys=True)
                groups.setdefault((stage.name, made), []).append(sample)
    return [(stage, samples) for (stage, _), samples in groups.items()]


def _sample(store: ShownStore, stage: str) -> _Sample:
    assert store.store is not None
    features = sample_features(store.store, stage, _MOST_ROWS)
    return _Sample(store, features, store.manifest.take(pa.array(features.places)))


def _projection(stage: str, samples: Sequence[_Sample]) -> Figure:
    """The first two principal components of some utterances of each store, those of all stores fitted together."""
    from sklearn.decomposition import PCA

    each = max(1, _MOST_POINTS // len(samples))
    places = [spread(len(sample.x), each) for sample in samples]
    x = np.concatenate([sample.x[chosen] for sample, chosen in zip(samples, places, strict=True)]).astype(np.float64)
    deviation = x.std(axis=0)
    varied = deviation > 1e-6 * np.abs(x.mean(axis=0)) + 1e-12
    z = (x[:, varied] - x[:, varied].mean(axis=0)) / deviation[varied]
    xy, shares = np.zeros((len(x), 2)), [0.0, 0.0]
    if min(z.shape) >= 2:
        pca = PCA(2, svd_solver="randomized", random_state=0)
        xy, shares = pca.fit_transform(z), pca.explained_variance_ratio_.tolist()
    tables = [sample.rows.take(pa.array(chosen)) for sample, chosen in zip(samples, places, strict=True)]
    colourings = {
        "label": [label or PLAIN[0] for table in tables for label in table.column("label").to_pylist()],
        "speaker": [speaker or PLAIN[1] for table in tables for speaker in table.column("speaker").to_pylist()],
        "corpus": [
            sample.store.title for sample, table in zip(samples, tables, strict=True) for _ in range(len(table))
        ],
    }
    ids = [name for table in tables for name in table.column("utterance_id").to_pylist()]
    tips = [", ".join(parts) for parts in zip(ids, colourings["label"], colourings["speaker"], strict=True)]
    low, high = np.percentile(xy, [0.5, 99.5], axis=0)
    xy = np.clip(xy, low - 0.25 * (high - low), high + 0.25 * (high - low))  # one stray would press all others together
    shown = {name: values for name, values in colourings.items() if name == "label" or len({*values}) > 1}
    axes = [f"component {k + 1} ({100 * share:.0f} %)" for k, share in enumerate(shares)]
    titles = ", ".join(dict.fromkeys(sample.store.title for sample in samples))
    label = f"Projection of the features of stage {stage} of {titles}"
    points = Points(label, xy[:, 0].round(3).tolist(), xy[:, 1].round(3).tolist(), tips, shown, *axes)
    is_all = all(sample.features.is_all for sample in samples) and len(ids) == sum(len(sample.x) for sample in samples)
    of = "" if is_all else "some "
    return Figure(points, f"{stage}: {of}{len(ids):,} utterances of {titles}, {samples[0].x.shape[1]:,} dimensions")


def _dimensions(groups: Sequence[tuple[str, Sequence[_Sample]]]) -> Iterator[Block]:
    """Dimensions that are constant, or hardly ever differ from their most frequent value."""
    found = [
        (stage, sample.store.title, find_dimensions(sample.features)) for stage, samples in groups for sample in samples
    ]
    rows = [
        [
            Cell(stage),
            Cell(title),
            number(one.width),
            number(len(one.constant)),
            number(len(one.nearly_constant)),
            number(one.utterances),
            Cell("all" if one.is_all else "some shards"),
        ]
        for stage, title, one in found
    ]
    columns = ("stage", "store", "dimensions", "constant", "nearly constant", "utterances looked at", "of")
    yield Table(columns, rows, "Dimensions; nearly constant ones have one value in 99 % of the utterances or more")
    named = [
        [Cell(stage), Cell(title), Cell(name), Cell(kind)]
        for stage, title, one in found
        for kind, names in (("constant", one.constant), ("nearly constant", one.nearly_constant))
        for name in names
    ]
    if named:
        more = f", the first {_MOST_NAMES} of {len(named):,}" if len(named) > _MOST_NAMES else ""
        table = Table(("stage", "store", "dimension", "what"), named[:_MOST_NAMES], f"Dimensions that say little{more}")
        yield Details(f"Which dimensions say little ({len(named):,})", [table])


def _shift(groups: Sequence[tuple[str, Sequence[_Sample]]]) -> Iterator[Block]:
    """How far stores without labels lie outside those with labels."""
    letters = {modality.stage: modality.letter for modality in MODALITIES.values()}
    rows = []
    for stage, samples in groups:
        labelled = [sample for sample in samples if sample.rows.column("label").null_count < len(sample.rows)]
        for first in labelled if stage in letters else ():
            known = _dataset(first, letters[stage])
            for other in samples:
                if other is not first and other.rows.column("label").null_count == len(other.rows):
                    pool = _dataset(other, letters[stage])
                    found = measure_pool(known, pool, fit_norms(pool, np.arange(len(pool.ids))))
                    rows.append(_shift_row(stage, first, other, found[letters[stage]]))
    if rows:
        columns = (
            "stage",
            "labelled",
            "unlabelled",
            "usual |z|",
            "mean |z|",
            "by its own statistics",
            "out of range %",
            "",
        )
        yield Table(columns, rows, "Shift between the labelled and the unlabelled store, of utterances as one vector")
        yield Text(
            "The usual |z| is what 99 % of the labelled utterances do not exceed. The mean |z| of the unlabelled ones "
            "is by the statistics of the labelled store, then by its own, as in training, with the share that is out "
            "of range.",
            quiet=True,
        )


def _shift_row(stage: str, first: _Sample, other: _Sample, shift: PoolShift) -> list[Cell]:
    return [
        Cell(stage),
        Cell(first.store.title),
        Cell(other.store.title),
        number(shift.usual, 2),
        number(shift.distance, 2),
        number(shift.own_distance, 2),
        percent(shift.strays),
        Cell("another domain" if shift.is_outside else ""),
    ]


def _dataset(sample: _Sample, letter: str) -> Dataset:
    """The sample as a modality of vectors."""
    features: Mapping[str, _Floats] = {letter: sample.x}
    ids, labels = (tuple(sample.rows.column(name).to_pylist()) for name in ("utterance_id", "label"))
    return Dataset(ids, labels, dict(features), {}, {}, {}, "")
