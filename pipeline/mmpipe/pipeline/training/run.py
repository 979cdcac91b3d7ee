"""A cross-validated run: folds over held-out speakers, one folder that says everything about it.

    runs/iemocap-semi/
      run.json               config, labels, figures by fold and pooled over all test utterances, what made the features
      history.csv            one line an epoch of every fold
      predictions.parquet    utterance_id, fold, label, predicted, probabilities
      {fold}/                model.safetensors, model.json, and fold.json, from which a run that was stopped goes on
      tensorboard/           the same figures for TensorBoard, if asked for

A run of several seeds has the folds of each seed in `seed-{n}/{fold}/`.

Each store is z-normalised by its own statistics, the labelled one by the training rows of the fold, the unlabelled one
by all its usable rows: two corpora differ by microphones and cameras before they differ by emotion.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmpipe.core.errors import TrainingError
from mmpipe.core.files import write_json
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset
from mmpipe.pipeline.training.data.inputs import TrainInput, load_input
from mmpipe.pipeline.training.fold import FoldJob, FoldReport
from mmpipe.pipeline.training.loop import Pool
from mmpipe.pipeline.training.metrics import score, summarise
from mmpipe.pipeline.training.records import write_events, write_history, write_predictions

__all__ = ["train"]


def train(
    config: TrainConfig,
    labeled: Path,
    out: Path,
    unlabeled: Path | None = None,
    balanced: Path | None = None,
    report: FoldReport = lambda fold, row: None,
    note: Callable[[str], None] = lambda text: None,
    *,
    seeds: int = 1,
    device: str = "cpu",
    tensorboard: bool = False,
    save_seconds: float = 30.0,
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
        seeds: trainings of each fold, with the seeds `config.seed`, `config.seed` + 1 and so on.
        device: `cpu` or `cuda`.
        tensorboard: write event files beside the CSV.
        save_seconds: between two states of an unfinished fold.

    Returns:
        What run.json holds.

    Raises:
        StoreError: see `load_input`.
        TrainingError: see `load_input` and `fit`; or the semi-supervised objective has a single modality.
        UsageError: TensorBoard is asked for and not installed.
    """
    if unlabeled is not None and len(config.modalities) < 2:
        raise TrainingError(
            f"unlabelled data are learnt from by matching modalities, which needs two or more; got "
            f"{','.join(config.modalities)}: add a modality, or train supervised"
        )
    began, data = time.perf_counter(), load_input(config, labeled, unlabeled, balanced)
    _note_small(data, config, note)
    done = []
    for seed in range(config.seed, config.seed + seeds):
        folder = out if seeds == 1 else out / f"seed-{seed}"
        seeded = config.model_copy(update={"seed": seed})
        for fold in data.folds:
            job = FoldJob(seeded, data, fold, folder / fold.name, device, save_seconds)
            done.append(job.run(report, note) | {"seed": seed})
    truth, predicted = ([row[key] for fold in done for row in fold["predictions"]] for key in ("label", "predicted"))
    result = {
        "name": out.name,
        "objective": "supervised" if unlabeled is None else "semi",
        "config": config.model_dump(mode="json"),
        "seeds": seeds,
        "labels": list(data.labels),
        "folds": [
            {"name": fold["name"], "seed": fold["seed"], "best_epoch": fold["best_epoch"], **fold["test"]}
            for fold in done
        ],
        "pooled": score(truth, predicted, data.labels),
        "summary": summarise(done, data.labels),
        "features": data.labeled.provenance,
        "excluded": _excluded(data.labeled),
        "unlabeled": None if data.unlabeled is None else _summary(data.unlabeled),
        "seconds": round(time.perf_counter() - began, 1),
    }
    write_history(out / "history.csv", done)
    write_predictions(out / "predictions.parquet", done, data.labels)
    if tensorboard:
        write_events(out / "tensorboard", done)
    write_json(out / "run.json", result)
    return result


def _note_small(data: TrainInput, config: TrainConfig, note: Callable[[str], None]) -> None:
    fewest = min(len(fold.train) for fold in data.folds)
    if fewest < config.batch_size:
        note(
            f"a training part of {fewest} utterances is smaller than a batch of {config.batch_size}: every epoch is "
            f"one step; lower it with --set batch_size={max(4, fewest // 4)}"
        )


def _excluded(dataset: Dataset) -> dict[str, int]:
    missing = sum(label is None for label in dataset.labels)
    return {**dataset.excluded, **({"no label": missing} if missing else {})}


def _summary(pool: Pool) -> dict[str, Any]:
    return {
        "rows": len(pool.rows),
        "utterances": len(set(pool.rows.tolist())),
        "excluded": pool.dataset.excluded,
    }
