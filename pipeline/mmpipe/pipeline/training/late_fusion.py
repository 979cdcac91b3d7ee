"""Late fusion: one logistic regression a modality and the mean of their probabilities, with or without self-training.

It takes arrays, not stores. Of one modality it is logistic regression.

Legend: N rows, D width, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.hardware import in_threads
from mmpipe.pipeline.training.metrics import score

__all__ = ["Features", "LateFusion", "SelfTraining", "fit_late_fusion"]

_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Values of C, the inverse strength of the penalty, that a logistic regression chooses from."""

_ITERATIONS = 500

_Probabilities = npt.NDArray[np.float64]

Features = Mapping[str, npt.NDArray[Any]]
"""[N, D] by modality; the same rows in all of them."""


@dataclass(frozen=True)
class SelfTraining:
    """How unlabelled rows are taken into the training.

    In a round the model answers all unlabelled rows. Of those whose most probable class reaches the threshold, every
    class gets the same number, its most confident ones: as many as the class with the fewest has. They join the
    training rows with that class as their label, and the model is fitted again with the same C. The next round starts
    from the labelled rows.

    Attributes:
        threshold: the least probability of a pseudo-label.
        rounds: at most; a round in which some class has no confident row adds nothing and is the last.
        per_class: rows of a class at most; None: no limit.
    """

    threshold: float = 0.9
    rounds: int = 3
    per_class: int | None = None


@dataclass(frozen=True)
class LateFusion:
    """A fitted late fusion.

    Attributes:
        labels: the classes, in the order of the columns of `predict`.
        strengths: the C of each modality.
        added: pseudo-labelled rows that it was fitted on beside the labelled ones.
        models: by modality what was fitted, from features to probabilities.
    """

    labels: tuple[str, ...]
    strengths: dict[str, float]
    added: int
    models: Mapping[str, _Logistic]

    def predict(self, x: Features) -> _Probabilities:
        """Class probabilities [N, K]; 0 for classes that the training rows lack."""
        mean: _Probabilities = np.mean([model.predict(x[name]) for name, model in self.models.items()], axis=0)
        return mean

    def answer(self, x: Features) -> list[str]:
        """The most probable label of each row; of equal ones the first."""
        return [self.labels[k] for k in self.predict(x).argmax(axis=1)]


def fit_late_fusion(
    train: Features,
    truth: Sequence[str],
    valid: Features,
    valid_truth: Sequence[str],
    labels: Sequence[str],
    *,
    select: str = "ua",
    unlabeled: Features | None = None,
    self_training: SelfTraining | None = None,
) -> LateFusion:
    """Fit a logistic regression on the standardised features of each modality.

    C is chosen modality by modality by the metric of the validation rows, of equal ones the smallest; so is the round
    of self-training, of equal ones the earliest. Validation rows choose, they are never fitted on. Nothing is random.

    Args:
        train: features of the training rows.
        truth: their labels.
        valid: features of the validation rows.
        valid_truth: their labels.
        labels: the label set.
        select: the metric that chooses, one of `METRICS`.
        unlabeled: features of rows without a label.
        self_training: how these are used; None takes the defaults.

    Raises:
        TrainingError: there is no modality, or there are no training or no validation rows.

    Example:
        >>> x = {"a": np.array([[0.0], [1.0], [4.0], [5.0]])}
        >>> fusion = fit_late_fusion(x, ["no", "no", "yes", "yes"], x, ["no", "no", "yes", "yes"], ["no", "yes"])
        >>> fusion.answer({"a": np.array([[-1.0], [7.0]])})
        ['no', 'yes']
    """
    if not train or not len(truth) or not len(valid_truth):
        raise TrainingError(
            f"late fusion needs a modality, training rows and validation rows; got {len(train)}, {len(truth)} and "
            f"{len(valid_truth)}: choose another protocol, or label more data"
        )
    labels, models, strengths = tuple(labels), {}, {}
    with warnings.catch_warnings():
        _ignore_unconverged()
        for name, x in train.items():
            tried = in_threads(partial(_Logistic.fit, x, truth, labels), _STRENGTHS)
            answers = [[labels[k] for k in model.predict(valid[name]).argmax(axis=1)] for model in tried]
            best = int(np.argmax([score(valid_truth, said, labels).value(select) for said in answers]))
            models[name], strengths[name] = tried[best], _STRENGTHS[best]
        fusion = LateFusion(labels, strengths, 0, models)
        if unlabeled is None:
            return fusion
        how = self_training or SelfTraining()
        return _self_trained(fusion, how, (train, truth), (valid, valid_truth), unlabeled, select)


def _self_trained(
    fusion: LateFusion,
    how: SelfTraining,
    train: tuple[Features, Sequence[str]],
    valid: tuple[Features, Sequence[str]],
    unlabeled: Features,
    select: str,
) -> LateFusion:
    """The best round of self-training, the one without pseudo-labels included."""
    (x, truth), last = train, fusion
    best, reached = fusion, score(valid[1], fusion.answer(valid[0]), fusion.labels).value(select)
    for _ in range(how.rounds):
        chosen, classes = _confident(last.predict(unlabeled), how, [fusion.labels.index(y) for y in set(truth)])
        if not len(chosen):
            break
        both = [*truth, *(fusion.labels[k] for k in classes)]
        models = {
            name: _Logistic.fit(np.concatenate([x[name], unlabeled[name][chosen]]), both, fusion.labels, c)
            for name, c in fusion.strengths.items()
        }
        last = LateFusion(fusion.labels, fusion.strengths, len(chosen), models)
        if (value := score(valid[1], last.answer(valid[0]), last.labels).value(select)) > reached:
            best, reached = last, value
    return best


def _confident(
    probabilities_NK: _Probabilities, how: SelfTraining, known: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows that get a pseudo-label, and their classes: the same number of every known class, none if one has none."""
    best, confidence = probabilities_NK.argmax(axis=1), probabilities_NK.max(axis=1)
    sure = [np.flatnonzero((best == k) & (confidence >= how.threshold)) for k in sorted(known)]
    number = min([len(rows) for rows in sure] + ([] if how.per_class is None else [how.per_class]))
    chosen = np.concatenate([rows[np.argsort(-confidence[rows], kind="stable")[:number]] for rows in sure])
    return chosen, best[chosen]


def _ignore_unconverged() -> None:
    """A regression that stops before it converged acts as a stronger penalty; validation judges it as the others."""
    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)


@dataclass(frozen=True)
class _Logistic:
    """Logistic regression on standardised features; the one class where the training rows have one only."""

    fitted: Any
    columns: tuple[int, ...]
    size: int

    @classmethod
    def fit(cls, x: npt.NDArray[Any], truth: Sequence[str], labels: tuple[str, ...], strength: float) -> _Logistic:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        y = np.array([labels.index(label) for label in truth])
        columns = tuple(np.unique(y).tolist())
        if len(columns) == 1:
            return cls(None, columns, len(labels))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_ITERATIONS))
        return cls(model.fit(x, y), columns, len(labels))

    def predict(self, x: npt.NDArray[Any]) -> _Probabilities:
        """Probabilities [N, K]."""
        full = np.zeros((len(x), self.size))
        if len(x):
            full[:, self.columns] = 1 if self.fitted is None else self.fitted.predict_proba(x)
        return full
