"""What classifiers say of unlabelled rows, with probabilities that are calibrated on validation parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmpipe.pipeline.balancing.calibration import fit_temperature, measure_reliability, temper
from mmpipe.pipeline.balancing.classifiers import Classifier
from mmpipe.pipeline.balancing.results import Calibration
from mmpipe.pipeline.training.data.dataset import Rows

__all__ = ["Labelled", "label_rows", "measure_calibration"]

_Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Labelled:
    """What a classifier says of the rows, and of the test part of its fold.

    Attributes:
        fold: the name of the fold.
        valid_ua: of the classifier.
        best_epochs: of the classifier.
        rows: class probabilities [N, K] of the rows.
        temperature: of these probabilities; 1 where they are as the classifier gives them.
        test: class probabilities [M, K] of the test part, before the temperature.
        truth: the classes [M] of the test part.
    """

    fold: str
    valid_ua: float
    best_epochs: tuple[int, ...]
    rows: _Probabilities
    temperature: float
    test: _Probabilities
    truth: npt.NDArray[np.int64]


def label_rows(made: Classifier, rows: Rows, labels: Sequence[str], *, calibrate: bool) -> Labelled:
    """The answers of a classifier.

    Args:
        made: the classifier.
        rows: of the unlabelled store.
        labels: the classes.
        calibrate: fit a temperature on the validation part, and look at the test part; else the probabilities are as
            the classifier gives them.
    """
    answers, fold = made.of_unlabeled(rows), made.fold
    known = (fold.name, made.valid_ua, made.best_epochs)
    if not calibrate:
        return Labelled(*known, answers, 1.0, answers[:0], np.zeros(0, np.int64))
    valid, truth = (_classes(made, ids, labels) for ids in (fold.valid, fold.test))
    temperature = fit_temperature(made.of_labeled(fold.valid), valid)
    return Labelled(*known, temper(answers, temperature), temperature, made.of_labeled(fold.test), truth)


def measure_calibration(labelled: Sequence[Labelled]) -> Calibration:
    """How calibrated the classifiers are on the test parts of their folds, all utterances together."""
    truth = np.concatenate([part.truth for part in labelled])
    before = np.concatenate([part.test for part in labelled])
    after = np.concatenate([temper(part.test, part.temperature) for part in labelled])
    temperatures = {part.fold: part.temperature for part in labelled}
    return Calibration(temperatures, measure_reliability(before, truth), measure_reliability(after, truth))


def _classes(made: Classifier, ids: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """The true classes of labelled utterances."""
    labeled = made.data.labeled
    return np.array([labels.index(str(labeled.labels[row])) for row in labeled.rows_of(ids)], np.int64)
