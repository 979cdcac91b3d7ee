"""The report's sections on balancing and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.core.parquet import read_metadata
from mmpipe.core.reading import read_limited
from mmpipe.pipeline.balancing.results import Calibration
from mmpipe.pipeline.report.figures import curves, reliability
from mmpipe.pipeline.training.results import RunResult, read_run

__all__ = ["BalanceSection", "RunSection", "balance_section", "run_section"]

_PANELS = {
    "loss": {
        "train_loss": "total, training",
        "cls": "cross-entropy, training",
        "valid_loss": "cross-entropy, validation",
    },
    "reconstruction": {"rec": "labelled", "unlabeled_rec": "unlabelled"},
    "distance of modalities (MMD)": {
        "pair": "paired, labelled",
        "unlabeled_pair": "paired, unlabelled",
    },
    "validation UA": {"valid_ua": "UA"},
}
"""Panels of the loss curves: by title, the columns of history.csv and what the legend calls them."""


@dataclass(frozen=True)
class BalanceSection:
    """A balanced list.

    Attributes:
        before: utterances by pseudo-label; of a list by fold the mean of the folds.
        after: draws by pseudo-label, likewise.
        distinct: different utterances that are drawn, likewise; empty of lists of earlier versions.
        draws: what is aimed at of each class, in words.
        largest: the largest count.
        folds: how many folds have a list of their own; 0 of a list for all folds.
        valid_ua: unweighted average recall of the classifiers on their validation parts; None if it is not recorded.
        classifier: the name of the run whose models labelled; None where they were trained for it.
        calibration: None if it was not measured.
        diagram: data URI of the reliability diagram, if it was.
    """

    before: dict[str, int]
    after: dict[str, int]
    distinct: dict[str, int]
    draws: str
    largest: int
    folds: int
    valid_ua: float | None
    classifier: str | None
    calibration: Calibration | None
    diagram: str | None


@dataclass(frozen=True)
class RunSection:
    """A run.

    Attributes:
        result: what run.json holds.
        confusion: for each true label its counts as (number, share of the row).
        curves: data URI of the loss curves, means over folds.
    """

    result: RunResult
    confusion: list[list[tuple[int, float]]]
    curves: str


def balance_section(path: Path) -> BalanceSection:
    """Read the footer of a balanced list.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        footer = read_metadata(path)
        parts = [*footer.get("folds", {}).values()] or [footer.get("all_folds", footer)]
        before, after, distinct = (_mean([part.get(name, {}) for part in parts]) for name in _COUNTS)
        if before.keys() != footer["before"].keys() or after.keys() != footer["after"].keys():
            raise KeyError("before and after")
        said = footer.get("calibration")
        calibration = None if said is None else Calibration.from_json(said)
        draws = footer.get("per_class")
        return BalanceSection(
            before=before,
            after=after,
            distinct=distinct,
            draws=", ".join(f"{label} {n}" for label, n in draws.items()) if isinstance(draws, dict) else str(draws),
            largest=max([1, *before.values(), *after.values()]),
            folds=len(footer.get("folds", {})),
            valid_ua=footer.get("model", {}).get("valid_ua"),
            classifier=footer.get("classifier", {}).get("name"),
            calibration=calibration,
            diagram=None if calibration is None else reliability(calibration),
        )
    except (OSError, pa.ArrowInvalid, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the balanced list {path} cannot be read ({error}): make it with `mmpipe balance-unlabeled`"
        ) from error


_COUNTS = ("before", "after", "distinct")


def _mean(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The mean of the folds' counts, rounded."""
    return {label: round(sum(part[label] for part in counts) / len(counts)) for label in counts[0]}


def run_section(path: Path) -> RunSection:
    """Read a run folder.

    Raises:
        UsageError: it does not hold a finished run.
    """
    result = read_run(path)
    try:
        drawn = _curves(pd.read_csv(BytesIO(read_limited(path / "history.csv"))))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{path} has no history.csv that can be read ({error}): train it again") from error
    shares = [[(count, count / max(sum(row), 1)) for count in row] for row in result.pooled.confusion]
    return RunSection(result, shares, drawn)


def _curves(history: pd.DataFrame) -> str:
    """Means over folds; terms that a run does not have are left out, with panels that would be empty."""
    means = history.drop(columns=["seed", "fold"], errors="ignore").groupby("epoch").mean()
    panels = [
        (title, [(column, name) for column, name in lines.items() if column in means.columns])
        for title, lines in _PANELS.items()
    ]
    return curves({name: means[name].tolist() for name in means.columns}, [panel for panel in panels if panel[1]])
