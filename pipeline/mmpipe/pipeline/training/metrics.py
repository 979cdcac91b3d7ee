"""Metrics of the field: WAP, UA, weighted F1, macro F1, recall by class, confusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import TrainingError

__all__ = [
    "METRICS",
    "Answers",
    "Difference",
    "Scores",
    "Summary",
    "paired_difference",
    "score",
    "spread_over",
    "summarise",
]

METRICS = {"wap": "WAP", "ua": "UA", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
"""The fields of `Scores` that are one number, and what tables call them."""


@dataclass(frozen=True)
class Scores:
    """Scores of predictions.

    Attributes:
        n: predictions.
        wap: precision weighted by class support, 0 for a class that is never predicted; scikit-learn's
            `precision_score(average="weighted")`. In [0, 1] as all of them.
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
    """One metric of a run or a baseline: what every table of figures shows, as `mean ± std [low, high]`.

    Attributes:
        mean: over seeds, of the figure that is pooled over the test utterances of all folds.
        std: what ± means: the sample deviation (n - 1) of the pooled figure over seeds; where there is one seed, that
            of the figures of the folds; 0 for a single value. `spread_over` names which.
        low: lower end of the 95 % interval of the mean: percentile bootstrap over test utterances.
        high: upper end.
    """

    mean: float
    std: float
    low: float
    high: float

    def __str__(self) -> str:
        """In per cent.

        Example:
            >>> print(Summary(mean=0.5, std=0.012, low=0.47, high=0.534))
            50.0 ± 1.2 [47.0, 53.4]
        """
        mean, std, low, high = (f"{100 * x:.1f}" for x in (self.mean, self.std, self.low, self.high))
        return f"{mean} ± {std} [{low}, {high}]"

    def to_json(self) -> dict[str, float]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, float]) -> Summary:
        """What `to_json` gave."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})


def spread_over(seeds: int, folds: int) -> str:
    """What the ± of a `Summary` is taken over, in words.

    Example:
        >>> spread_over(seeds=3, folds=5), spread_over(seeds=1, folds=5)
        ('over 3 seeds', 'over 5 folds')
    """
    number, name = (seeds, "seed") if seeds > 1 else (folds, "fold")
    return f"over {number} {name}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Difference:
    """One metric of a first training minus that of a second one on the same test utterances.

    Attributes:
        mean: of the two means over seeds.
        low: lower end of the 95 % interval: percentile bootstrap over the utterances, the same ones drawn for both.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """In per cent points.

        Example:
            >>> print(Difference(mean=-0.02, low=-0.051, high=0.01))
            -2.0 [-5.1, +1.0]
        """
        mean, low, high = (f"{100 * x:+.1f}" for x in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Answers:
    """What one training said of the test utterances of its fold.

    Attributes:
        seed: of the training.
        ids: utterance ids.
        truth: labels, by name.
        predicted: predicted labels.
        scores: of both.
    """

    seed: int
    ids: tuple[str, ...]
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

    Raises:
        TrainingError: the seeds did not answer the same utterances.
    """
    size = len(labels)
    _, codes = _by_seed(answers, labels)
    means, drawn = _mean_figures(codes, size), _bootstrap([codes], size, draws)[0]
    several = len(codes) > 1
    spread = [_figures(c, size) for c in codes] if several else [[f.scores.value(m) for m in METRICS] for f in answers]
    std = np.std(spread, axis=0, ddof=1) if len(spread) > 1 else np.zeros(len(METRICS))
    ends = np.percentile(drawn, [2.5, 97.5], axis=0)
    return {name: Summary(*map(float, (means[k], std[k], ends[0, k], ends[1, k]))) for k, name in enumerate(METRICS)}


def paired_difference(
    first: Sequence[Answers], second: Sequence[Answers], labels: Sequence[str], draws: int = 500
) -> dict[str, Difference]:
    """By metric the first minus the second, with an interval that knows that both answered the same utterances.

    Each resample of the bootstrap (percentile, seed 0) draws utterances with repeats and scores both on them, each as
    the mean over its seeds; so what makes an utterance hard for both cancels out.

    Args:
        first: what the trainings of one method said, by seed and fold.
        second: what those of another said; in any order and of any number of seeds.
        labels: the label set.
        draws: resamples.

    Raises:
        TrainingError: the utterances, or their labels, are not the same.

    Example:
        >>> right, ids = ("anger", "sadness"), ("u1", "u2")
        >>> scores = score(right, right, right)
        >>> both = [Answers(seed, ids, right, right, scores) for seed in (0, 1)]
        >>> print(paired_difference(both, both[:1], right)["ua"])
        +0.0 [+0.0, +0.0]
    """
    size = len(labels)
    ids, of_first = _by_seed(first, labels)
    _, of_second = _by_seed(second, labels, ids)
    if (of_first[0] // size != of_second[0] // size).any():
        raise TrainingError("the labels of the test utterances differ: compare trainings on the same store")
    means = _mean_figures(of_first, size) - _mean_figures(of_second, size)
    drawn = _bootstrap([of_first, of_second], size, draws)
    ends = np.percentile(drawn[0] - drawn[1], [2.5, 97.5], axis=0)
    return {name: Difference(*map(float, (means[k], ends[0, k], ends[1, k]))) for k, name in enumerate(METRICS)}


_Codes = npt.NDArray[np.int64]
"""[N] of utterances: number of the true class times K, plus that of the predicted one."""


def _by_seed(
    answers: Sequence[Answers], labels: Sequence[str], like: npt.NDArray[np.str_] | None = None
) -> tuple[npt.NDArray[np.str_], list[_Codes]]:
    """Utterance ids and, by seed, the codes in their order: that of `like`, or of the first seed."""
    number = {label: place for place, label in enumerate(labels)}
    folds: dict[int, list[Answers]] = defaultdict(list)
    for fold in answers:
        folds[fold.seed].append(fold)
    aligned = []
    for held in folds.values():
        ids = np.array([i for fold in held for i in fold.ids])
        pairs = [pair for fold in held for pair in zip(fold.truth, fold.predicted, strict=True)]
        codes = np.array([number[t] * len(labels) + number[p] for t, p in pairs], np.int64)
        like = ids if like is None else like
        order, wanted = np.argsort(ids, kind="stable"), np.argsort(like, kind="stable")
        if not np.array_equal(ids[order], like[wanted]):
            raise TrainingError(
                "the test utterances differ: compare trainings on the same store, modalities, protocol and seed of the "
                "folds"
            )
        placed = np.empty_like(codes)
        placed[wanted] = codes[order]
        aligned.append(placed)
    assert like is not None
    return like, aligned


def _bootstrap(methods: Sequence[Sequence[_Codes]], size: int, draws: int) -> npt.NDArray[np.float64]:
    """Mean figures over seeds [methods, draws, metrics] of resamples that all methods share."""
    generator, number = np.random.default_rng(0), len(methods[0][0])
    drawn = generator.integers(0, number, (draws, number))
    return np.array([[_mean_figures([c[rows] for c in codes], size) for rows in drawn] for codes in methods])


def _mean_figures(codes: Sequence[_Codes], size: int) -> npt.NDArray[np.float64]:
    means: npt.NDArray[np.float64] = np.mean([_figures(c, size) for c in codes], axis=0)
    return means


def _figures(codes: _Codes, size: int) -> list[float]:
    """The metrics of `score`, in the order of `METRICS`, from a confusion matrix: a bootstrap asks a thousand times."""
    counts = np.bincount(codes, minlength=size * size).reshape(size, size)
    hits, support, given = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    seen = support > 0
    precision = hits / np.maximum(given, 1)
    f1 = 2 * hits / np.maximum(support + given, 1)
    share = support / support.sum()
    return [
        float(precision @ share),
        float((hits[seen] / support[seen]).mean()),
        float(f1 @ share),
        float(f1[seen].mean()),
    ]
