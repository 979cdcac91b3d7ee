"""What balancing gives: by fold, and of the whole list."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mmpipe.pipeline.balancing.calibration import Reliability

__all__ = ["BalanceResult", "Calibration", "FoldBalance", "cautions_of"]

_FEW, _OFTEN = 10, 10
"""A class rests on few utterances if it has fewer than this, or each of them stands for more draws than this."""


@dataclass(frozen=True)
class FoldBalance:
    """What balancing did for a fold.

    Attributes:
        fold: its name; None of a list for all folds.
        before: utterances by pseudo-label.
        after: draws by pseudo-label; a class that no utterance was given has none.
        distinct: different utterances that are drawn, by pseudo-label.
        dropped: utterances that are not drawn, by reason.
        valid_ua: unweighted average recall of the classifier on the validation part; NaN where a list does not say it.
        best_epochs: of its models.
    """

    fold: str | None
    before: dict[str, int]
    after: dict[str, int]
    distinct: dict[str, int]
    dropped: dict[str, int]
    valid_ua: float
    best_epochs: tuple[int, ...]

    @property
    def few(self) -> list[str]:
        """Classes that rest on few utterances, which are repeated."""
        return [
            label
            for label, number in self.distinct.items()
            if 0 < number < self.after[label] and (number < _FEW or self.after[label] > _OFTEN * number)
        ]

    def to_json(self) -> dict[str, Any]:
        """What the footer of the list says of it."""
        return {
            "before": self.before,
            "after": self.after,
            "distinct": self.distinct,
            "dropped": self.dropped,
            "valid_ua": round(self.valid_ua, 6),
            "best_epochs": list(self.best_epochs),
        }

    @classmethod
    def from_json(cls, fold: str | None, value: Mapping[str, Any]) -> FoldBalance:
        """What `to_json` gave; lists of earlier versions leave out all but `before` and `after`."""
        return cls(
            fold=fold,
            before=value["before"],
            after=value["after"],
            distinct=value.get("distinct", {}),
            dropped=value.get("dropped", {}),
            valid_ua=value.get("valid_ua", math.nan),
            best_epochs=tuple(value.get("best_epochs", ())),
        )


@dataclass(frozen=True)
class Calibration:
    """How calibrated the probabilities are.

    Attributes:
        temperatures: by fold, fitted on its validation part.
        before: of the test parts of all folds, each by the classifier of its fold, which never saw them.
        after: the same after temperature scaling.
    """

    temperatures: dict[str, float]
    before: Reliability
    after: Reliability

    def to_json(self) -> dict[str, Any]:
        """What the footer of the list says of it."""
        return {
            "temperatures": self.temperatures,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """What `to_json` gave."""
        return cls(value["temperatures"], *(Reliability.from_json(value[name]) for name in ("before", "after")))


@dataclass(frozen=True)
class BalanceResult:
    """What balancing did.

    Attributes:
        path: the list: by fold, one row a draw, classes in turn, so that every beginning of it is balanced too; `draw`
            counts the repeats of an utterance from 0.
        labels: the label set.
        folds: one a fold, or a single one for all folds.
        targets: draws of each class and fold that are aimed at.
        modalities: what the classifier looked at.
        protocol: how the folds were made.
        fold_seed: their seed.
        excluded: utterances of the unlabelled store that lack a modality, by reason.
        beyond: usable utterances that are not in the pool.
        calibration: None of a classifier that was trained on test parts, whose probabilities are as it gives them.
        cautions: what to keep in mind of the list, in sentences.
    """

    path: Path
    labels: tuple[str, ...]
    folds: tuple[FoldBalance, ...]
    targets: dict[str, int]
    modalities: tuple[str, ...]
    protocol: str
    fold_seed: int
    excluded: dict[str, int]
    beyond: int
    calibration: Calibration | None
    cautions: tuple[str, ...]

    @property
    def before(self) -> dict[str, int]:
        """Utterances by pseudo-label, of all folds."""
        return self.total("before")

    @property
    def after(self) -> dict[str, int]:
        """Draws by pseudo-label, of all folds."""
        return self.total("after")

    @property
    def valid_ua(self) -> float:
        """The classifiers' unweighted average recall on their validation parts, mean of the folds."""
        return sum(fold.valid_ua for fold in self.folds) / len(self.folds)

    @classmethod
    def from_footer(cls, path: Path, said: Mapping[str, Any]) -> BalanceResult:
        """What the footer of a list says; lists of earlier versions leave some of it out.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: it is not the footer of a list.
        """
        model, protocol, calibration = said.get("model", {}), said.get("protocol", {}), said.get("calibration")
        flat = {"valid_ua": model.get("valid_ua", math.nan), **said.get("all_folds", said)}
        parts = {**said["folds"]} if said.get("folds") else {None: flat}
        folds = tuple(FoldBalance.from_json(name, part) for name, part in parts.items())
        labels = tuple(said.get("labels", said["before"]))
        measured = None if calibration is None else Calibration.from_json(calibration)
        targets = said.get("per_class", {})
        found = cls(
            path=path,
            labels=labels,
            folds=folds,
            targets=targets if isinstance(targets, dict) else dict.fromkeys(labels, targets),
            modalities=tuple(model.get("config", {}).get("modalities", ())),
            protocol=protocol.get("name", ""),
            fold_seed=protocol.get("seed", 0),
            excluded=said.get("excluded", {}),
            beyond=said.get("beyond", 0),
            calibration=measured,
            cautions=tuple(said["cautions"] if "cautions" in said else cautions_of(folds, measured)),
        )
        if any({*counts} != {*labels} for fold in folds for counts in (fold.before, fold.after)):
            raise ValueError("before and after are not of its labels")
        if any(fold.distinct and {*fold.distinct} != {*labels} for fold in folds):
            raise ValueError("distinct is not of its labels")
        return TypeAdapter(cls).validate_python(asdict(found))

    def total(self, what: str) -> dict[str, int]:
        """`before`, `after`, `distinct` or `dropped` of all folds together."""
        total: dict[str, int] = {}
        for fold in self.folds:
            for name, number in getattr(fold, what).items():
                total[name] = total.get(name, 0) + number
        return total


def cautions_of(folds: Sequence[FoldBalance], calibration: Calibration | None) -> Iterator[str]:
    """What the counts and the calibration give reason to keep in mind."""

    def named(held: Sequence[FoldBalance]) -> str:
        return "" if folds[0].fold is None else f" in {len(held)} of {len(folds)} folds ({_names(held)})"

    if alone := [fold for fold in folds if sum(count > 0 for count in fold.before.values()) == 1]:
        yield f"All utterances got one pseudo-label{named(alone)}: the classifier tells no classes of this pool apart"
    for label in folds[0].before:
        if absent := [fold for fold in folds if not fold.before[label]]:
            yield f"No utterance was labelled {label}{named(absent)}: the list cannot hold any"
        if few := [fold for fold in folds if label in fold.few]:
            least = min(few, key=lambda fold: fold.distinct[label])
            yield (
                f"The class {label} rests on few utterances{named(few)}: {least.after[label]} draws of "
                f"{least.distinct[label]} different ones"
            )
    if calibration is not None and calibration.after.error > calibration.before.error:
        yield (
            "Temperature scaling did not lower the calibration error on the held-out test parts: the validation parts "
            "are too small, or of other speakers"
        )


def _names(folds: Sequence[FoldBalance]) -> str:
    names = [str(fold.fold) for fold in folds]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
