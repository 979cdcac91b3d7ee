"""Probabilities that mean what they say: temperature scaling, and how far it gets.

Guo et al. (ICML 2017): the logits of a trained classifier are divided by one number, the temperature, that minimises
the negative log-likelihood of the validation part. The most probable class stays the same. The expected calibration
error is the mean distance of confidence and accuracy over bins of confidence, weighted by their utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

__all__ = ["Bin", "Reliability", "fit_temperature", "measure_reliability", "temper"]

_Probabilities = npt.NDArray[np.float32]

_BINS = 10
"""Of equal width, from 0 to 1."""

_BOUNDS = (0.1, 10.0)
"""Of the temperature: a validation part without an error would be fitted best by 0."""

_LEAST = 1e-30
"""A probability that was rounded to 0 counts as this."""


@dataclass(frozen=True)
class Bin:
    """Utterances whose confidence, the probability of the most probable class, is in a range.

    Attributes:
        low: lower end of the range, which is part of the bin only if it is 0.
        high: upper end.
        n: utterances.
        confidence: their mean confidence; 0 of an empty bin.
        accuracy: the share whose most probable class is right; 0 of an empty bin.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """What probabilities are worth on labelled utterances.

    Attributes:
        n: utterances.
        error: expected calibration error, in [0, 1].
        bins: the reliability diagram.
    """

    n: int
    error: float
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"bins": [asdict(part) for part in self.bins]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Reliability:
        """What `to_json` gave."""
        return cls(value["n"], value["error"], tuple(Bin(**part) for part in value["bins"]))


def temper(probabilities: _Probabilities, temperature: float) -> _Probabilities:
    """Probabilities [N, K] of the logits divided by a temperature: above 1 less confident, below 1 more.

    Example:
        >>> temper(np.array([[0.8, 0.2]], np.float32), 2.0).round(3).tolist()
        [[0.6669999957084656, 0.3330000042915344]]
    """
    tempered: _Probabilities = softmax(_logits(probabilities) / temperature, axis=1).astype(np.float32)
    return tempered


def fit_temperature(probabilities: _Probabilities, truth: npt.NDArray[np.int64]) -> float:
    """The temperature from 0.1 to 10 that minimises the negative log-likelihood of the true classes [N]."""
    logits = _logits(probabilities)

    def loss(log_temperature: float) -> float:
        likelihoods = log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(truth)), truth]
        return -float(likelihoods.mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(_BOUNDS)), method="bounded", options={"xatol": 1e-6})
    return round(float(np.clip(np.exp(found.x), *_BOUNDS)), 4)


def measure_reliability(probabilities: _Probabilities, truth: Sequence[int] | npt.NDArray[np.int64]) -> Reliability:
    """Confidence and accuracy by bin.

    Args:
        probabilities: of the classes [N, K].
        truth: the true classes [N].

    Example:
        >>> measure_reliability(np.array([[0.9, 0.1], [0.9, 0.1]], np.float32), [0, 1]).error
        0.4
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == np.asarray(truth)
    place = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    bins, error = [], 0.0
    for number in range(_BINS):
        inside = place == number
        n = int(inside.sum())
        mean, share = (float(values[inside].mean()) if n else 0.0 for values in (confidence, right))
        error += n / max(1, len(right)) * abs(mean - share)
        bins.append(Bin(number / _BINS, (number + 1) / _BINS, n, round(mean, 6), round(share, 6)))
    return Reliability(len(right), round(error, 6), tuple(bins))


def _logits(probabilities: _Probabilities) -> npt.NDArray[np.float64]:
    """Logits up to a constant of each row, which no softmax sees."""
    return np.log(np.maximum(probabilities.astype(np.float64), _LEAST))
