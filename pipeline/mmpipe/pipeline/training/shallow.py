"""Baselines of scikit-learn on pooled features: an utterance is the means over steps of its modalities, side by side.

All of them are fitted on the training rows, scaling and principal components included; validation rows choose the
settings by the metric of the config, of equal ones the first. None depends on a seed.

Legend: N rows, M training rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mmpipe.pipeline.hardware import in_threads
from mmpipe.pipeline.training.late_fusion import fit_late_fusion
from mmpipe.pipeline.training.metrics import score

__all__ = ["PooledFold", "boosting", "late_fusion", "linear_svm", "logistic", "majority", "rbf_svm"]

_SVM_STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Values of C for a kernel of the mean product over the D features: C / D of scikit-learn's linear kernel."""
_GAMMAS = (0.1, 0.3, 1.0)
"""Values of gamma times D."""
_COMPONENTS, _TREES, _LEAVES = 64, 100, 15
"""Of boosting: principal components, rounds at most, leaves of a tree at most."""

_Array = npt.NDArray[Any]
_SIDES = ("train", "valid", "test")


@dataclass(frozen=True)
class PooledFold:
    """A fold as arrays.

    Attributes:
        x: by part (train, valid, test), z-normalised features [N, D] by modality.
        y: by part, labels.
        labels: the label set.
        select: the validation metric that chooses.
    """

    x: Mapping[str, Mapping[str, npt.NDArray[np.float32]]]
    y: Mapping[str, Sequence[str]]
    labels: tuple[str, ...]
    select: str

    @cached_property
    def one_class(self) -> bool:
        """Whether the training rows have one label only."""
        return len(set(self.y["train"])) == 1

    @cached_property
    def scaled(self) -> dict[str, npt.NDArray[np.float32]]:
        """By part, all modalities side by side, each feature of mean 0 and deviation 1 over the training rows."""
        from sklearn.preprocessing import StandardScaler

        joined = {side: np.concatenate(list(self.x[side].values()), axis=1) for side in _SIDES}
        scaler = StandardScaler().fit(joined["train"])
        return {side: scaler.transform(x) for side, x in joined.items()}

    @cached_property
    def products(self) -> dict[str, npt.NDArray[np.float64]]:
        """By part, mean products over features of its rows and the training rows, [N, M]: a linear kernel."""
        x = self.scaled
        made = in_threads(lambda side: x[side] @ x["train"].T / x[side].shape[1], _SIDES)
        return {side: products.astype(np.float64) for side, products in zip(_SIDES, made, strict=True)}

    @cached_property
    def distances(self) -> dict[str, npt.NDArray[np.float64]]:
        """By part, mean squared differences over features of its rows and the training rows, [N, M]."""
        square = {side: (x.astype(np.float64) ** 2).mean(axis=1) for side, x in self.scaled.items()}
        return {side: square[side][:, None] + square["train"] - 2 * self.products[side] for side in _SIDES}

    def value(self, answers: Sequence[str]) -> float:
        """What validation says of answers to its rows."""
        return score(self.y["valid"], list(answers), self.labels).value(self.select)


def majority(fold: PooledFold) -> list[str]:
    """The most frequent label of the training rows, of equal ones the first."""
    return [max(fold.labels, key=list(fold.y["train"]).count)] * len(fold.y["test"])


def logistic(fold: PooledFold) -> list[str]:
    """Logistic regression on all features, C chosen."""
    joined = {side: {"all": np.concatenate(list(fold.x[side].values()), axis=1)} for side in _SIDES}
    return _fused(fold, joined)


def late_fusion(fold: PooledFold) -> list[str]:
    """One logistic regression a modality, each with its own C, and the mean of their probabilities."""
    return _fused(fold, fold.x)


def _fused(fold: PooledFold, x: Mapping[str, Mapping[str, _Array]]) -> list[str]:
    fusion = fit_late_fusion(x["train"], fold.y["train"], x["valid"], fold.y["valid"], fold.labels, select=fold.select)
    return fusion.answer(x["test"])


def linear_svm(fold: PooledFold) -> list[str]:
    """A support vector machine with a linear kernel, C chosen."""
    return majority(fold) if fold.one_class else _best_svm(fold, [lambda side: fold.products[side]])


def rbf_svm(fold: PooledFold) -> list[str]:
    """A support vector machine with a Gaussian kernel, C and gamma chosen."""
    if fold.one_class:
        return majority(fold)
    kernels = [lambda side, gamma=gamma: np.exp(-gamma * fold.distances[side]) for gamma in _GAMMAS]
    return _best_svm(fold, kernels)


def _best_svm(fold: PooledFold, kernels: Sequence[Callable[[str], _Array]]) -> list[str]:
    """The answers of the best kernel and C; a kernel gives the products [N, M] of a part with the training rows."""
    best: list[str] = []
    reached = -1.0
    for kernel in kernels:
        train, valid, test = (kernel(side) for side in _SIDES)
        fit = partial(_fit_svm, train, fold.y["train"])
        for model in in_threads(fit, _SVM_STRENGTHS):
            if (value := fold.value([str(y) for y in model.predict(valid)])) > reached:
                best, reached = [str(y) for y in model.predict(test)], value
    return best


def _fit_svm(kernel_MM: _Array, truth: Sequence[str], strength: float) -> Any:
    from sklearn.svm import SVC

    return SVC(C=strength, kernel="precomputed").fit(kernel_MM, truth)


def boosting(fold: PooledFold) -> list[str]:
    """Gradient-boosted trees on the first principal components, their number chosen."""
    return majority(fold) if fold.one_class else in_threads(_boosted, [fold])[0]


def _boosted(fold: PooledFold) -> list[str]:
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier

    x = fold.scaled
    number = min(_COMPONENTS, *x["train"].shape)
    components = PCA(number, svd_solver="randomized", random_state=0).fit(x["train"])
    reduced = {side: components.transform(x[side]) for side in _SIDES}
    model = HistGradientBoostingClassifier(
        max_iter=_TREES, max_leaf_nodes=_LEAVES, min_samples_leaf=5, early_stopping=False, random_state=0
    ).fit(reduced["train"], fold.y["train"])
    reached = [fold.value([str(y) for y in answers]) for answers in model.staged_predict(reduced["valid"])]
    staged = list(model.staged_predict(reduced["test"]))
    return [str(y) for y in staged[int(np.argmax(reached))]]
