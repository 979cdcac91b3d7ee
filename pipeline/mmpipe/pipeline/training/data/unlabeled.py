"""The unlabelled side of a run: a store, and the balanced list that says what to draw from it, how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmpipe.core.errors import StoreError, TrainingError
from mmpipe.core.parquet import read_sealed
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.checkpoint import check_features
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Datasets, Pool, Rows, fit_norms

__all__ = ["load_unlabeled", "read_balanced"]


def load_unlabeled(
    path: Path, balanced: Path | None, config: TrainConfig, labeled: Dataset, datasets: Datasets
) -> Pool:
    """Rows to draw unlabelled batches from, normalised by the statistics of all usable rows of their store.

    Args:
        path: the unlabelled store.
        balanced: a list of `mmpipe balance-unlabeled`: its rows are drawn, with its repeats; None draws from
            all usable rows.
        config: modalities and lengths.
        labeled: the labelled rows that they are trained with.
        datasets: what has been read already.

    Raises:
        StoreError: the store or the list cannot be read.
        TrainingError: the features differ from the labelled store's, or the list was made from another store
            or other features.
    """
    store = FeatureStore(path)
    dataset = datasets.load(store, config)
    if dataset.widths != labeled.widths:
        name = next(name for name, width in labeled.widths.items() if dataset.widths[name] != width)
        raise TrainingError(
            f"{path}: features of modality {name} are {dataset.widths[name]} wide, the labelled store's "
            f"{labeled.widths[name]}: extract both alike"
        )
    check_features(labeled.provenance, dataset.provenance, f"{path}: the labelled store has")
    everything = np.arange(len(dataset.ids))
    rows = everything if balanced is None else _listed(balanced, store, dataset)
    if config.unlabeled_rows is not None:
        if config.unlabeled_rows > len(rows):
            raise TrainingError(
                f"unlabeled_rows = {config.unlabeled_rows} asks for more rows than {balanced or path} has: "
                f"expected {len(rows)} or fewer"
            )
        rows = rows[: config.unlabeled_rows]
    return Pool(dataset, rows, fit_norms(dataset, everything))


def read_balanced(balanced: Path) -> tuple[list[str], dict[str, Any]]:
    """The utterances of a balanced list, in its order, and what its footer says of the store that it was made from.

    Raises:
        StoreError: it cannot be read, or is not what was written.
    """
    try:
        table, footer = read_sealed(balanced, ["utterance_id"])
        return table.column(0).to_pylist(), footer.metadata["stores"]["unlabeled"]
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise StoreError(
            f"the balanced list {balanced} cannot be read ({type(error).__name__}: {error}): "
            "make it with `mmpipe balance-unlabeled`"
        ) from error


def _listed(balanced: Path, store: FeatureStore, dataset: Dataset) -> Rows:
    ids, made = read_balanced(balanced)
    known = set(store.manifest().column("utterance_id").to_pylist())
    if unknown := [i for i in ids if i not in known]:
        raise TrainingError(
            f"{len(unknown)} of the {len(ids)} utterances of {balanced} are not in {store.path}, "
            f"first {unknown[0]}: name the store that the list was made from, "
            "or run `mmpipe balance-unlabeled` again"
        )
    if made["fingerprint"] != store.fingerprint(made["stages"]):
        raise TrainingError(
            f"{balanced} was made from other features than {store.path} holds now: run `mmpipe balance-unlabeled` again"
        )
    rows = dataset.rows_of(ids)
    if len(rows) == 0:
        raise TrainingError(
            f"none of the {len(ids)} utterances of {balanced} is usable in {store.path}: {dataset.excluded}"
        )
    return rows
