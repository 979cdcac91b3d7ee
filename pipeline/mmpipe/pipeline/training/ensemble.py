"""The trained models of a run as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import UsageError, WeightsError
from mmpipe.pipeline.training.checkpoint import SavedModel, load_model
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Norm, Rows
from mmpipe.pipeline.training.results import FoldScores, RunResult
from mmpipe.pipeline.training.run_folder import fold_folder, read_run
from mmpipe.pipeline.training.shift import Shift, measure_shift

__all__ = ["Ensemble", "load_ensemble", "load_fold"]


@dataclass(frozen=True)
class Ensemble:
    """Models of one run, which share config, labels and features."""

    models: tuple[SavedModel, ...]

    @property
    def config(self) -> TrainConfig:
        """Hyper-parameters; those of the first model, which differ from the others' in the seed at most."""
        return self.models[0].config

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in the order of the classes."""
        return self.models[0].labels

    @property
    def provenance(self) -> dict[str, Any]:
        """By stage, what made the features."""
        return self.models[0].provenance

    @property
    def fingerprint(self) -> str:
        """Of the features that the models were trained on."""
        return self.models[0].fingerprint

    def shift(self, dataset: Dataset, row: int, norms: Mapping[str, Norm] | None = None) -> list[Shift] | None:
        """How far a row lies outside the training range, by modality; None of models that were saved without it."""
        reaches = [(m.norms if norms is None else m.adapted(norms), m.reach) for m in self.models]
        known = [(used, reach) for used, reach in reaches if reach is not None]
        return measure_shift(dataset, row, known) if len(known) == len(reaches) else None

    def predict(self, dataset: Dataset, rows: Rows, norms: Mapping[str, Norm] | None = None) -> npt.NDArray[np.float32]:
        """Mean class probabilities float32 [N, K] of rows of a dataset that was loaded with the models' config.

        Args:
            dataset: where the rows are.
            rows: which.
            norms: statistics to normalise with; None takes those of each model's training rows.

        Raises:
            TrainingError: the features were not made as those that the models were trained on.
        """
        mean_NK: npt.NDArray[np.float32] = np.mean(
            [m.predict(dataset, rows, norms) for m in self.models], 0, np.float32
        )
        return mean_NK


def load_ensemble(folder: Path, device: str = "cpu") -> Ensemble:
    """The model in a fold's folder, or those that a run.json names, on a device (`cpu` or `cuda`).

    Raises:
        WeightsError: the folder holds neither a model nor a finished run, or a model is of another run or cannot be
            read.
    """
    if (folder / "model.json").is_file():
        return Ensemble((load_model(folder, device),))
    run = _finished(folder)
    models = tuple(load_fold(folder, run, fold, device) for fold in run.folds)
    for fold, model in zip(run.folds, models, strict=True):
        if model.fingerprint != models[0].fingerprint:
            raise WeightsError(_of_another(folder, run, fold))
    return Ensemble(models)


def load_fold(folder: Path, run: RunResult, fold: FoldScores, device: str = "cpu") -> SavedModel:
    """The model of a fold and seed of a run, on a device (`cpu` or `cuda`).

    Args:
        folder: of the run.
        run: its run.json.
        fold: one of its folds.
        device: see above.

    Raises:
        WeightsError: it is of another run, or cannot be read.
    """
    model = load_model(fold_folder(folder, fold.name, fold.seed, run.seeds), device)
    if model.labels != run.labels or model.config != run.config.model_copy(update={"seed": fold.seed}):
        raise WeightsError(_of_another(folder, run, fold))
    return model


def _of_another(folder: Path, run: RunResult, fold: FoldScores) -> str:
    return (
        f"{fold_folder(folder, fold.name, fold.seed, run.seeds)} holds a model of another run than "
        f"{folder / 'run.json'} describes: finish the run with `mmpipe train`, or name one fold's folder"
    )


def _finished(folder: Path) -> RunResult:
    """The run of a folder: what it names is loaded, whatever else lies there."""
    if not (folder / "run.json").is_file():
        if any(folder.glob("**/model.json")):
            raise WeightsError(
                f"{folder} holds models but no run.json, so the run is not finished: finish it with `mmpipe train`, or "
                "name one fold's folder"
            )
        raise WeightsError(
            f"{folder} does not hold a trained model: name a run folder that `mmpipe train` wrote, or a fold's"
        )
    try:
        return read_run(folder)
    except UsageError as error:
        raise WeightsError(str(error)) from error
