"""Late fusion: one logistic regression a modality and the mean of their probabilities, with or without self-training.

It takes arrays, not stores. Of one modality it is logistic regression.

Legend: N rows, D width, K classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import TrainingError
from mmpipe.pipeline.hardware import in_threads
from mmpipe.pipeline.training.metrics import score
from mmpipe.pipeline.training.pooling import Features

__all__ = ["LateFusion", "SelfTraining", "fit_late_fusion", "most_confident"]

_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Values of C, the inverse strength of the penalty, that a logistic regression chooses from by default."""

_ITERATIONS = 500

_Probabilities = npt.NDArray[np.float64]


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
        shares: instead of threshold and rounds: one round each, in which every class gets its most confident rows, up
            to this share of the unlabelled rows divided by the number of classes. Confidence is compared within a class
            only, so that it need not be calibrated, and the last round counts.
    """

    threshold: float = 0.9
    rounds: int = 3
    per_class: int | None = None
    shares: tuple[float, ...] | None = None


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
    strengths: Sequence[float] = _STRENGTHS,
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
        strengths: values of C to choose from.
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
    labels, models, chosen = tuple(labels), {}, {}
    with warnings.catch_warnings():
        _ignore_unconverged()
        for name, x in train.items():
            tried = in_threads(_Fitting.of(x, truth, labels).fit, strengths)
            answers = [[labels[k] for k in model.predict(valid[name]).argmax(axis=1)] for model in tried]
            best = int(np.argmax([score(valid_truth, said, labels).value(select) for said in answers]))
            models[name], chosen[name] = tried[best], strengths[best]
        fusion = LateFusion(labels, chosen, 0, models)
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
    known = sorted({fusion.labels.index(y) for y in truth})
    best, reached = fusion, score(valid[1], fusion.answer(valid[0]), fusion.labels).value(select)
    for turn in range(how.rounds if how.shares is None else len(how.shares)):
        answers_NK = last.predict(unlabeled)
        if how.shares is None:
            chosen, classes = _confident(answers_NK, how, known)
        else:
            chosen, classes = most_confident(answers_NK, how.shares[turn], len(known), how.per_class)
        if not len(chosen):
            break
        both = [*truth, *(fusion.labels[k] for k in classes)]
        models = {
            name: _Fitting.of(np.concatenate([x[name], unlabeled[name][chosen]]), both, fusion.labels).fit(c)
            for name, c in fusion.strengths.items()
        }
        last = LateFusion(fusion.labels, fusion.strengths, len(chosen), models)
        if how.shares is not None:
            best = last
        elif (value := score(valid[1], last.answer(valid[0]), last.labels).value(select)) > reached:
            best, reached = last, value
    return best


def most_confident(
    probabilities_NK: _Probabilities, share: float, classes: int, per_class: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of each class that are most probably of it, and their classes.

    Args:
        probabilities_NK: of the classes.
        share: of all rows that are taken, if every class has enough.
        classes: among which the share is divided equally.
        per_class: rows of a class at most.

    Example:
        >>> rows, found = most_confident(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]), 0.5, 2)
        >>> rows.tolist(), found.tolist()
        ([0, 3], [0, 1])
    """
    best, confidence = probabilities_NK.argmax(axis=1), probabilities_NK.max(axis=1)
    number = max(1, math.floor(share * len(best) / classes))
    number = number if per_class is None else min(number, per_class)
    members = [np.flatnonzero(best == k) for k in range(probabilities_NK.shape[1])]
    chosen = _surest(members, confidence, number)
    return chosen, best[chosen]


def _confident(
    probabilities_NK: _Probabilities, how: SelfTraining, known: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows that get a pseudo-label, and their classes: the same number of every known class, none if one has none."""
    best, confidence = probabilities_NK.argmax(axis=1), probabilities_NK.max(axis=1)
    sure = [np.flatnonzero((best == k) & (confidence >= how.threshold)) for k in sorted(known)]
    number = min([len(rows) for rows in sure] + ([] if how.per_class is None else [how.per_class]))
    chosen = _surest(sure, confidence, number)
    return chosen, best[chosen]


def _surest(
    members: Sequence[npt.NDArray[np.int64]], confidence_N: _Probabilities, number: int
) -> npt.NDArray[np.int64]:
    """Of each class at most so many of its members, the most confident ones first."""
    return np.concatenate([rows[np.argsort(-confidence_N[rows], kind="stable")[:number]] for rows in members])


def _ignore_unconverged() -> None:
    """A regression that stops before it converged acts as a stronger penalty; validation judges it as the others."""
    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)


@dataclass(frozen=True)
class _Logistic:
    """Logistic regression on standardised features; the one class where the training rows have one only.

    `basis` are orthonormal rows [R, D] that the training rows lie in; None: all dimensions.
    """

    fitted: Any
    columns: tuple[int, ...]
    size: int
    scaler: Any = None
    basis: npt.NDArray[Any] | None = None

    def reduced(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Standardised features [N, R], or [N, D]."""
        scaled: npt.NDArray[Any] = self.scaler.transform(x)
        return scaled if self.basis is None else scaled @ self.basis.T

    def predict(self, x: npt.NDArray[Any]) -> _Probabilities:
        """Probabilities [N, K]."""
        full = np.zeros((len(x), self.size))
        if len(x):
            full[:, self.columns] = 1 if self.fitted is None else self.fitted.predict_proba(self.reduced(x))
        return full


@dataclass(frozen=True)
class _Fitting:
    """Training rows, standardised and reduced once for every strength.

    `empty` is the regression before it is fitted, `x` its features [N, R], `y` the classes [N].
    """

    empty: _Logistic
    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64]

    @classmethod
    def of(cls, x: npt.NDArray[Any], truth: Sequence[str], labels: tuple[str, ...]) -> _Fitting:
        from sklearn.preprocessing import StandardScaler

        y = np.array([labels.index(label) for label in truth])
        columns = tuple(np.unique(y).tolist())
        if len(columns) == 1:
            return cls(_Logistic(None, columns, len(labels)), x, y)
        scaler = StandardScaler().fit(x)
        empty = _Logistic(None, columns, len(labels), scaler, _basis(scaler.transform(x)))
        return cls(empty, empty.reduced(x), y)

    def fit(self, strength: float) -> _Logistic:
        """The regression of a strength."""
        from sklearn.linear_model import LogisticRegression

        if len(self.empty.columns) == 1:
            return self.empty
        return replace(self.empty, fitted=LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(self.x, self.y))


def _basis(x_ND: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Orthonormal rows [R, D] that span fewer rows than dimensions; None where there are as many rows.

    The weights of a regression with a square penalty lie in the span of its rows, so it can be fitted in R dimensions.
    """
    if len(x_ND) >= x_ND.shape[1]:
        return None
    _, singular, basis_RD = np.linalg.svd(x_ND, full_matrices=False)
    kept: npt.NDArray[Any] = basis_RD[singular > 1e-6 * singular[0]] if singular[0] > 0 else basis_RD[:1]
    return kept
