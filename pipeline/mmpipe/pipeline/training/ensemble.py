"""The trained models of a run as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import WeightsError
from mmpipe.pipeline.training.checkpoint import SavedModel, load_model
from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Dataset, Norm, Rows
from mmpipe.pipeline.training.shift import Shift, measure_shift

__all__ = ["Ensemble", "load_ensemble"]


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
    """The model in a fold's folder, or those of all folds and seeds of a run folder, on a device (`cpu` or `cuda`).

    Raises:
        WeightsError: the folder does not hold a model, or its models cannot be read, or are of different runs.
    """
    folders = [path.parent for path in (*folder.glob("model.json"), *folder.glob("**/*/model.json"))]
    if not folders:
        raise WeightsError(
            f"{folder} does not hold a trained model: name a run folder that `mmpipe train` wrote, or a fold's"
        )
    models = tuple(load_model(path, device) for path in sorted(folders))
    for path, model in zip(sorted(folders), models, strict=True):
        same = model.labels == models[0].labels and model.fingerprint == models[0].fingerprint
        if not same or model.config.model_copy(update={"seed": 0}) != models[0].config.model_copy(update={"seed": 0}):
            raise WeightsError(
                f"{folder} holds models of different runs ({sorted(folders)[0]} and {path}): name one run's folder"
            )
    return Ensemble(models)
