"""Metrics of the field: WAP, UA, weighted F1, macro F1, recall by class, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

__all__ = ["score"]


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
