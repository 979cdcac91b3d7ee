"""Metrics of the field: WAP, UA, weighted F1, macro F1, recall by class, confusion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

__all__ = ["METRICS", "score", "summarise"]

METRICS = {"wap": "WAP", "ua": "UA", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
"""Figures of `score` that are one number, and what tables call them."""


def score(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Scores of predictions.

    Args:
        truth: labels, by name.
        predicted: predicted labels.
        labels: the label set; it gives the order of `recall` and `confusion`.

    Returns:
        `wap` (precision weighted by class support), `ua` (mean recall of the classes that occur),
        `weighted_f1`, `macro_f1`, all in [0, 1]; `recall` by label; `confusion` [K, K], rows are truth; `n`.

    Example:
        >>> score(["anger", "anger", "sadness"], ["anger", "sadness", "sadness"], ["anger", "sadness"])["ua"]
        0.75
    """
    present = [label for label in labels if label in set(truth)]
    recall = recall_score(truth, predicted, labels=list(labels), average=None, zero_division=0)
    by_label = dict(zip(labels, map(float, recall), strict=True))
    return {
        "n": len(truth),
        "wap": float(precision_score(truth, predicted, labels=list(labels), average="weighted", zero_division=0)),
        "ua": sum(by_label[label] for label in present) / len(present),
        "weighted_f1": float(f1_score(truth, predicted, labels=list(labels), average="weighted", zero_division=0)),
        "macro_f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "recall": by_label,
        "confusion": confusion_matrix(truth, predicted, labels=list(labels)).tolist(),
    }


def summarise(done: Sequence[dict[str, Any]], labels: Sequence[str], draws: int = 500) -> dict[str, dict[str, float]]:
    """Mean, deviation and interval of each metric over the seeds of a run.

    Args:
        done: what fold.json holds, with its `seed`, by fold and seed.
        labels: the label set.
        draws: resamples of the bootstrap.

    Returns:
        By metric `mean` over seeds of the figure pooled over folds; `std` over seeds, or over folds where there is one
        seed (sample deviation, 0 for a single value); `low` and `high`, the 95 % interval of the mean when utterances
        are drawn anew with repeats (percentile bootstrap, seed 0).
    """
    number = {label: place for place, label in enumerate(labels)}
    by_seed: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for fold in done:
        by_seed[fold["seed"]] += fold["predictions"]
    pairs = [np.array([[number[r["label"]], number[r["predicted"]]] for r in rows]) for rows in by_seed.values()]
    means = _mean_figures(pairs)
    spread = [_figures(pair) for pair in pairs] if len(pairs) > 1 else [fold["test"] for fold in done]
    generator = np.random.default_rng(0)
    size = len(pairs[0])
    drawn = [_mean_figures([p[chosen] for p in pairs]) for chosen in generator.integers(0, size, (draws, size))]
    summary = {}
    for name in METRICS:
        low, high = np.percentile([figures[name] for figures in drawn], [2.5, 97.5])
        values = [figures[name] for figures in spread]
        std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        summary[name] = {"mean": means[name], "std": std, "low": float(low), "high": float(high)}
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
