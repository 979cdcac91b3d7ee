"""`mmpipe evaluate` and `mmpipe predict`: what a trained model says of a store, or of a clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.core.files import write_json
from mmpipe.pipeline.cli.console import console, table
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.data.dataset import Rows, load_dataset
from mmpipe.pipeline.training.ensemble import Ensemble, load_ensemble
from mmpipe.pipeline.training.metrics import METRICS, score

__all__ = ["run_evaluate", "run_predict"]


def run_evaluate(
    model: Path, store: Path, split: str | None = None, *, skip_unknown: bool = False, out: Path | None = None
) -> dict[str, Any]:
    """Score a model on a store, show the figures and return them.

    Args:
        model: a run folder, or a fold's.
        store: the labelled store.
        split: only utterances of this split.
        skip_unknown: leave out labels that the model does not know, instead of refusing them.
        out: a JSON file for the figures.

    Raises:
        TrainingError: the store's features differ from those the model was trained on, it is the store that the model
            was trained on, or it holds no or unknown labels.
        UsageError: the split does not exist.
        WeightsError: the folder holds no model.
    """
    ensemble, source = load_ensemble(model), FeatureStore(store)
    dataset = load_dataset(source, ensemble.config)
    if dataset.fingerprint == ensemble.fingerprint:
        raise TrainingError(
            f"{store} is the store that {model} was trained on: its figures on held-out speakers stand in "
            "run.json and predictions.parquet of the run; name another store"
        )
    rows = _rows(source, dataset.ids, dataset.labels, split)
    known = np.array([dataset.labels[row] in ensemble.labels for row in rows], bool)
    if not known.all():
        unknown = sorted({str(dataset.labels[row]) for row in rows[~known]})
        if not skip_unknown:
            raise TrainingError(
                f"{store} holds {(~known).sum()} utterances of the labels {', '.join(unknown)}, which the model does "
                f"not know; its labels: {', '.join(ensemble.labels)}. Leave them out with --skip-unknown, or relabel"
            )
        console.print(f"[yellow]{(~known).sum()} utterances left out[/]: unknown labels {', '.join(unknown)}")
        rows = rows[known]
    if len(rows) == 0:
        raise TrainingError(f"{store} holds no usable labelled utterance to score (left out: {dataset.excluded})")
    chosen = ensemble.predict(dataset, rows).argmax(axis=1)
    truth = [str(dataset.labels[row]) for row in rows]
    figures = score(truth, [ensemble.labels[k] for k in chosen], ensemble.labels)
    table(
        f"{model} on {store} (per cent)",
        ["utterances", *METRICS.values()],
        [(figures["n"], *(f"{100 * figures[name]:.1f}" for name in METRICS))],
    )
    table(
        "By label",
        ["label", "utterances", "recall", *(f"as {label}" for label in ensemble.labels)],
        (
            (label, sum(counts), f"{100 * figures['recall'][label]:.1f}", *counts)
            for label, counts in zip(ensemble.labels, figures["confusion"], strict=True)
        ),
    )
    if out is not None:
        write_json(out, figures | {"model": str(model), "store": str(store), "excluded": dataset.excluded})
    return figures


def _rows(store: FeatureStore, ids: tuple[str, ...], labels: tuple[str | None, ...], split: str | None) -> Rows:
    manifest = store.manifest().select(["utterance_id", "split"]).to_pylist()
    splits = {row["utterance_id"]: row["split"] for row in manifest}
    if split is not None and split not in splits.values():
        held = sorted({str(name) for name in splits.values() if name is not None})
        raise UsageError(f"--split {split!r}: {store.path} has {', '.join(held) or 'no splits'}")
    usable = [label is not None and split in (None, splits[i]) for i, label in zip(ids, labels, strict=True)]
    return np.flatnonzero(usable)


def run_predict(
    model: Path, clip: Path, text: str | None = None, vtt: Path | None = None, *, as_json: bool = False
) -> dict[str, float]:
    """Show and return the class probabilities of a clip. The arguments are the options of the command."""
    from mmpipe.pipeline.training.predict import extract_clip

    ensemble: Ensemble = load_ensemble(model)
    dataset = extract_clip(ensemble, clip, text, vtt)
    probabilities = ensemble.predict(dataset, np.array([0]))[0]
    answer = {label: round(float(p), 6) for label, p in zip(ensemble.labels, probabilities, strict=True)}
    answer = dict(sorted(answer.items(), key=lambda item: -item[1]))
    if as_json:
        print(json.dumps({"clip": str(clip), "probabilities": answer}, ensure_ascii=False))
    else:
        table(
            f"{clip.name} by {model}",
            ["label", "probability", ""],
            ((label, f"{p:.3f}", "█" * round(30 * p)) for label, p in answer.items()),
        )
    return answer
