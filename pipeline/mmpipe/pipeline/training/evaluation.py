"""What a trained model says of another labelled store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.pipeline.hardware import pick_device
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.data.dataset import Dataset, Norm, Rows, fit_norms, load_dataset
from mmpipe.pipeline.training.ensemble import Ensemble, load_ensemble
from mmpipe.pipeline.training.metrics import Scores, score

__all__ = ["Evaluation", "Normalise", "evaluate"]

Normalise = Literal["train", "store", "speaker"]
"""Whose mean and deviation normalise the scored rows: the model's training rows, all usable rows of the scored store,
or each speaker's rows in it."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on a store.

    Attributes:
        model: the folder of the run or fold.
        store: the labelled store.
        labels: the label set of the model, in the order of the classes.
        scores: of the utterances whose label the model knows.
        unknown: utterances that were left out, by a label that the model does not know.
        excluded: utterances of the store that lack a modality, by reason.
        normalise: whose statistics normalised the rows.
        fitted: utterances that these statistics are of; None of those of training.
    """

    model: Path
    store: Path
    labels: tuple[str, ...]
    scores: Scores
    unknown: dict[str, int]
    excluded: dict[str, int]
    normalise: Normalise
    fitted: int | None

    def to_json(self) -> dict[str, Any]:
        """As plain values, the scores beside the rest."""
        how = {"normalise": self.normalise, "fitted": self.fitted}
        return (
            self.scores.to_json()
            | how
            | {
                "model": str(self.model),
                "store": str(self.store),
                "excluded": self.excluded,
            }
        )


def evaluate(
    model: Path,
    store: Path,
    *,
    split: str | None = None,
    skip_unknown: bool = False,
    normalise: Normalise | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Score a model on a store whose features were made as those that it was trained on.

    Two corpora differ by microphones and cameras before they differ by emotion, so a store is normalised by its own
    statistics unless `normalise` says otherwise.

    Args:
        model: a run folder (the mean of its models), or a fold's.
        store: the labelled store.
        split: only utterances of this split.
        skip_unknown: leave out labels that the model does not know, instead of refusing them.
        normalise: `train`, `store` or `speaker`; None is `speaker` for a model that was trained so, else `store`.
        device: `cpu`, `cuda`, or `auto`: the GPU where there is one.

    Raises:
        TrainingError: the store's features differ from those the model was trained on, it is the store that the model
            was trained on, or it lacks labels or holds unknown ones.
        UsageError: the split does not exist, the store does not name the speakers that are asked for, or the device
            does not exist here.
        WeightsError: the folder does not hold a model.
    """
    ensemble, source = load_ensemble(model, pick_device(device)), FeatureStore(store)
    chosen, dataset, norms = _normalised(ensemble, source, normalise)
    if dataset.fingerprint == ensemble.fingerprint:
        raise TrainingError(
            f"{store} is the store that {model} was trained on: its figures on held-out speakers are in "
            "run.json and predictions.parquet of the run; name another store"
        )
    rows = _rows(source, dataset, split)
    unknown = Counter(str(dataset.labels[row]) for row in rows if dataset.labels[row] not in ensemble.labels)
    if unknown and not skip_unknown:
        raise TrainingError(
            f"{store} holds {unknown.total()} utterances of the labels {', '.join(sorted(unknown))}, which the model "
            f"does not know; its labels: {', '.join(ensemble.labels)}. Leave them out with --skip-unknown, or relabel"
        )
    rows = np.array([row for row in rows if dataset.labels[row] in ensemble.labels], np.int64)
    if len(rows) == 0:
        raise TrainingError(
            f"{store} does not hold a usable labelled utterance to score (left out: {dataset.excluded})"
        )
    best = ensemble.predict(dataset, rows, norms).argmax(axis=1)
    truth = [str(dataset.labels[row]) for row in rows]
    scores = score(truth, [ensemble.labels[k] for k in best], ensemble.labels)
    return Evaluation(
        model=model,
        store=store,
        labels=ensemble.labels,
        scores=scores,
        unknown=dict(sorted(unknown.items())),
        excluded=dataset.excluded,
        normalise=chosen,
        fitted=None if norms is None else len(dataset.ids),
    )


def _normalised(
    ensemble: Ensemble, store: FeatureStore, normalise: Normalise | None
) -> tuple[Normalise, Dataset, dict[str, Norm] | None]:
    """Whose statistics are used, the rows, and the statistics: None are those of each model's training rows."""
    config = ensemble.config
    if normalise == "speaker" and not any(store.manifest().column("speaker").to_pylist()):
        raise UsageError(f"--normalise speaker: {store.path} does not name a speaker; give store or train")
    chosen = normalise or ("speaker" if config.normalise == "speaker" else "store")
    if chosen != "train":
        config = config.model_copy(update={"normalise": "speaker" if chosen == "speaker" else "corpus"})
    dataset = load_dataset(store, config)
    if chosen == "train":
        return chosen, dataset, None
    return chosen, dataset, fit_norms(dataset, np.arange(len(dataset.ids)))


def _rows(store: FeatureStore, dataset: Dataset, split: str | None) -> Rows:
    """Labelled rows of a split."""
    manifest = store.manifest().select(["utterance_id", "split"]).to_pylist()
    splits = {row["utterance_id"]: row["split"] for row in manifest}
    if split is not None and split not in splits.values():
        held = sorted({str(name) for name in splits.values() if name is not None})
        raise UsageError(f"--split {split!r}: {store.path} has {', '.join(held) or 'no splits'}")
    pairs = zip(dataset.ids, dataset.labels, strict=True)
    return np.flatnonzero([label is not None and split in (None, splits[i]) for i, label in pairs])
