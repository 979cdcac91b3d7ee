"""Metrics of the field: WAP, UA, weighted F1, macro F1, recall by class, confusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["METRICS", "Answers", "Scores", "Summary", "score", "summarise"]

METRICS = {"wap": "WAP", "ua": "UA", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
"""The fields of `Scores` that are one number, and what tables call them."""


@dataclass(frozen=True)
class Scores:
    """Scores of predictions.

    Attributes:
        n: predictions.
        wap: precision weighted by class support, in [0, 1] as all of them.
        ua: mean recall of the classes that occur.
        weighted_f1: F1 weighted by class support.
        macro_f1: mean F1 of the classes that occur.
        recall: by label.
        confusion: [K, K] counts, rows are truth, in the order of the label set.
    """

    n: int
    wap: float
    ua: float
    weighted_f1: float
    macro_f1: float
    recall: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]

    def value(self, metric: str) -> float:
        """One of `METRICS` by name."""
        if metric not in METRICS:
            raise KeyError(f"{metric} is not one of {', '.join(METRICS)}")
        number: float = getattr(self, metric)
        return number

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"confusion": [list(row) for row in self.confusion]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scores:
        """What `to_json` gave; further keys are left out."""
        given = {field.name: value[field.name] for field in fields(cls)}
        return cls(**given | {"confusion": tuple(tuple(row) for row in value["confusion"])})


@dataclass(frozen=True)
class Summary:
    """One metric of a run.

    Attributes:
        mean: over seeds, of the figure pooled over folds.
        std: sample deviation over seeds, or over folds where there is one seed; 0 for a single value.
        low: lower end of the 95 % interval of the mean.
        high: upper end.
    """

    mean: float
    std: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, float]) -> Summary:
        """What `to_json` gave."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Answers:
    """What one training said of the test utterances of its fold.

    Attributes:
        seed: of the training.
        truth: labels, by name.
        predicted: predicted labels.
        scores: of both.
    """

    seed: int
    truth: tuple[str, ...]
    predicted: tuple[str, ...]
    scores: Scores


def score(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Scores:
    """Scores of predictions.

    Args:
        truth: labels, by name.
        predicted: predicted labels.
        labels: the label set; it gives the order of `recall` and `confusion`.

    Example:
        >>> score(["anger", "anger", "sadness"], ["anger", "sadness", "sadness"], ["anger", "sadness"]).ua
        0.75
    """
    from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score  # predicting needs none

    present = [label for label in labels if label in set(truth)]
    recall = recall_score(truth, predicted, labels=list(labels), average=None, zero_division=0)
    by_label = dict(zip(labels, map(float, recall), strict=True))
    return Scores(
        n=len(truth),
        wap=float(precision_score(truth, predicted, labels=list(labels), average="weighted", zero_division=0)),
        ua=sum(by_label[label] for label in present) / len(present),
        weighted_f1=float(f1_score(truth, predicted, labels=list(labels), average="weighted", zero_division=0)),
        macro_f1=float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        recall=by_label,
        confusion=tuple(map(tuple, confusion_matrix(truth, predicted, labels=list(labels)).tolist())),
    )


def summarise(answers: Sequence[Answers], labels: Sequence[str], draws: int = 500) -> dict[str, Summary]:
    """Mean, deviation and interval of each metric over the seeds of a run.

    Args:
        answers: what the trainings said, by seed and fold.
        labels: the label set.
        draws: resamples of the bootstrap.

    Returns:
        By metric; `low` and `high` are those of the mean when utterances are drawn again with repeats (percentile
        bootstrap, seed 0).
    """
    number = {label: place for place, label in enumerate(labels)}
    by_seed: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for fold in answers:
        by_seed[fold.seed] += [(number[t], number[p]) for t, p in zip(fold.truth, fold.predicted, strict=True)]
    pairs = [np.array(rows) for rows in by_seed.values()]
    means = _mean_figures(pairs)
    several = len(pairs) > 1
    spread = [_figures(p) for p in pairs] if several else [{m: f.scores.value(m) for m in METRICS} for f in answers]
    generator = np.random.default_rng(0)
    size = len(pairs[0])
    drawn = [_mean_figures([p[chosen] for p in pairs]) for chosen in generator.integers(0, size, (draws, size))]
    summary = {}
    for name in METRICS:
        low, high = np.percentile([figures[name] for figures in drawn], [2.5, 97.5])
        values = [figures[name] for figures in spread]
        std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        summary[name] = Summary(means[name], std, float(low), float(high))
    return summary


def _mean_figures(pairs: Sequence[npt.NDArray[np.int64]]) -> dict[str, float]:
    figures = [_figures(pair) for pair in pairs]
    return {name: float(np.mean([f[name] for f in figures])) for name in METRICS}


def _figures(pairs_N2: npt.NDArray[np.int64]) -> dict[str, float]:
    """The metrics of `score` from a confusion matrix: a bootstrap asks a thousand times."""
    size = int(pairs_N2.max()) + 1
    counts = np.bincount(pairs_N2[:, 0] * size + pairs_N2[:, 1], minlength=size * size).reshape(size, size)
    hits, support, given = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    seen = support > 0
    precision = hits / np.maximum(given, 1)
    f1 = 2 * hits / np.maximum(support + given, 1)
    share = support / support.sum()
    return {
        "wap": float(precision @ share),
        "ua": float((hits[seen] / support[seen]).mean()),
        "weighted_f1": float(f1 @ share),
        "macro_f1": float(f1[seen].mean()),
    }
