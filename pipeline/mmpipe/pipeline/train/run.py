"""A cross-validated run: folds over held-out speakers, one folder that says everything about it.

    runs/iemocap-semi/
      run.json               config, labels, figures by fold and pooled over all test utterances, what made the features
      history.csv            one line an epoch of every fold
      predictions.parquet    utterance_id, fold, label, predicted, probabilities
      {fold}/                model.safetensors, model.json, and fold.json, from which a run that was stopped goes on

Each store is z-normalised by its own statistics, the labelled one by the training rows of the fold, the unlabelled one
by all its usable rows: two corpora differ by microphones and cameras before they differ by emotion.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpipe.manifests.errors import TrainingError
from mmpipe.manifests.files import write_json
from mmpipe.manifests.splits import Fold, folds
from mmpipe.pipeline.store import FeatureStore, fingerprint
from mmpipe.pipeline.train.checkpoint import save_model
from mmpipe.pipeline.train.config import TrainConfig
from mmpipe.pipeline.train.data import Dataset, fit_norms, load_dataset
from mmpipe.pipeline.train.loop import DivergedError, Pool, fit, predict
from mmpipe.pipeline.train.metrics import score
from mmpipe.pipeline.train.records import write_history, write_predictions
from mmpipe.pipeline.train.unlabeled import load_unlabeled

__all__ = ["FoldReport", "TrainInput", "load_input", "train"]

FoldReport = Callable[[str, dict[str, float]], None]
"""Called with the fold's name and the figures of every epoch; for a fold that is taken over, with those of
then."""


@dataclass(frozen=True)
class TrainInput:
    """What a run trains on.

    Attributes:
        labeled: usable rows of the labelled store that have a label.
        folds: its folds, cut to these rows.
        labels: the label set, sorted.
        unlabeled: rows to draw from, with repeats where a balanced list repeats them; None trains supervised.
        identity: hashes of what every result follows from, by part.
    """

    labeled: Dataset
    folds: tuple[Fold, ...]
    labels: tuple[str, ...]
    unlabeled: Pool | None
    identity: dict[str, str]


def load_input(
    config: TrainConfig, labeled: Path, unlabeled: Path | None = None, balanced: Path | None = None
) -> TrainInput:
    """Read stores, folds and the balanced list, and check that they go together.

    Raises:
        StoreError: a store or the list cannot be read.
        TrainingError: no usable rows, fewer than two labels, a fold without train, validation or test rows,
            or stores of different features.
    """
    store = FeatureStore(labeled)
    dataset = load_dataset(store, config)
    labels = tuple(sorted({label for label in dataset.labels if label is not None}))
    if len(labels) < 2:
        raise TrainingError(
            f"training needs two labels or more; the usable utterances of {labeled} have {', '.join(labels) or 'none'}"
        )
    cut = tuple(_cut(fold, dataset) for fold in folds(store.manifest(), config.protocol, config.seed))
    pool = None if unlabeled is None else load_unlabeled(unlabeled, balanced, config, dataset)
    identity = {"labelled features": dataset.fingerprint}
    if pool is not None:
        identity["unlabelled features"] = pool.dataset.fingerprint
        identity["unlabelled rows"] = fingerprint([pool.dataset.ids[row] for row in pool.rows])
    return TrainInput(dataset, cut, labels, pool, identity)


def _cut(fold: Fold, dataset: Dataset) -> Fold:
    known = set(dataset.ids)
    sides = {name: tuple(i for i in getattr(fold, name) if i in known) for name in ("train", "valid", "test")}
    if empty := [name for name, ids in sides.items() if not ids]:
        excluded = ", ".join(f"{reason} {n}" for reason, n in dataset.excluded.items()) or "none"
        raise TrainingError(
            f"fold {fold.name} has no usable utterance in its part {' and '.join(empty)} "
            f"(left out: {excluded}): use fewer modalities, or another protocol"
        )
    return Fold(fold.name, **sides)


def train(
    config: TrainConfig,
    labeled: Path,
    out: Path,
    unlabeled: Path | None = None,
    balanced: Path | None = None,
    report: FoldReport = lambda fold, row: None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train every fold and write the run folder. Finished folds of an equal run are taken over.

    Args:
        config: hyper-parameters.
        labeled: the labelled store.
        out: the run folder.
        unlabeled: the unlabelled store; None trains supervised.
        balanced: a list of `balance-unlabeled`; None draws from all usable rows of `unlabeled`.
        report: called with the figures of every epoch.
        note: called with a sentence where a fold is taken over, or trained again, and why.

    Returns:
        What run.json holds.

    Raises:
        StoreError: see `load_input`.
        TrainingError: see `load_input` and `fit`; or the semi-supervised objective has a single modality.
    """
    if unlabeled is not None and len(config.modalities) < 2:
        raise TrainingError(
            f"unlabelled data are learnt from by matching modalities, which needs two or more; got "
            f"{','.join(config.modalities)}: add a modality, or train supervised"
        )
    began, data = time.perf_counter(), load_input(config, labeled, unlabeled, balanced)
    done = [_fold(config, data, fold, out / fold.name, report, note) for fold in data.folds]
    truth, predicted = ([row[key] for fold in done for row in fold["predictions"]] for key in ("label", "predicted"))
    result = {
        "name": out.name,
        "objective": "supervised" if unlabeled is None else "semi",
        "config": config.model_dump(mode="json"),
        "labels": list(data.labels),
        "folds": [{"name": fold["name"], "best_epoch": fold["best_epoch"], **fold["test"]} for fold in done],
        "pooled": score(truth, predicted, data.labels),
        "features": data.labeled.provenance,
        "excluded": _excluded(data.labeled),
        "unlabeled": None if data.unlabeled is None else _summary(data.unlabeled),
        "seconds": round(time.perf_counter() - began, 1),
    }
    write_history(out / "history.csv", done)
    write_predictions(out / "predictions.parquet", done, data.labels)
    write_json(out / "run.json", result)
    return result


def _excluded(dataset: Dataset) -> dict[str, int]:
    missing = sum(label is None for label in dataset.labels)
    return {**dataset.excluded, **({"no label": missing} if missing else {})}


def _summary(pool: Pool) -> dict[str, Any]:
    return {
        "rows": len(pool.rows),
        "utterances": len(set(pool.rows.tolist())),
        "excluded": pool.dataset.excluded,
    }


def _fold(
    config: TrainConfig,
    data: TrainInput,
    fold: Fold,
    folder: Path,
    report: FoldReport,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Train one fold, or take it over from an equal run."""
    record = folder / "fold.json"
    identity = {
        "config": config.model_dump(mode="json"),
        **data.identity,
        "utterances": fingerprint([fold.train, fold.valid, fold.test]),
    }
    if record.is_file():
        saved: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if (changed := _changed(saved["identity"], identity)) is None:
            note(f"fold {fold.name}: taken over from an earlier run")
            for row in saved["history"]:
                report(fold.name, row)
            return saved
        note(f"fold {fold.name}: trained again, changed: {changed}")
        record.unlink()
    rows = {name: data.labeled.rows_of(getattr(fold, name)) for name in ("train", "valid", "test")}
    norms = fit_norms(data.labeled, rows["train"])
    pools = {name: Pool(data.labeled, rows[name], norms) for name in rows}
    try:
        trained = fit(
            config,
            data.labels,
            pools["train"],
            pools["valid"],
            data.unlabeled,
            lambda row: report(fold.name, row),
        )
    except DivergedError as error:
        kept = f"the model of epoch {error.trained.best_epoch} is kept in {folder}"
        if error.trained.best_epoch:
            save_model(folder, error.trained.model, config, data.labels, norms, data.labeled)
        else:
            kept = "there is no model yet, since this was the first epoch"
        raise TrainingError(f"fold {fold.name}: {error}; {kept}") from error
    except TrainingError as error:
        raise TrainingError(f"fold {fold.name}: {error}") from error
    probabilities = predict(trained.model, pools["test"])
    predicted = [data.labels[k] for k in probabilities.argmax(axis=1)]
    truth = [str(data.labeled.labels[row]) for row in rows["test"]]
    save_model(folder, trained.model, config, data.labels, norms, data.labeled)
    result = {
        "identity": identity,
        "name": fold.name,
        "best_epoch": trained.best_epoch,
        "history": trained.history,
        "test": score(truth, predicted, data.labels),
        "predictions": [
            {
                "utterance_id": i,
                "label": t,
                "predicted": p,
                "probabilities": [round(float(x), 6) for x in values],
            }
            for i, t, p, values in zip(fold.test, truth, predicted, probabilities, strict=True)
        ],
    }
    write_json(record, result)
    return result


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Which parts of an identity differ, None if none does."""
    differ = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if "config" in differ:
        old, new = before.get("config", {}), now["config"]
        differ[differ.index("config")] = ", ".join(
            f"{name} {old.get(name)} -> {new.get(name)}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        )
    return ", ".join(differ) or None
