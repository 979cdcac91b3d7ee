"""The report's sections on balancing and training."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.core.parquet import read_metadata
from mmpipe.core.reading import read_limited
from mmpipe.pipeline.report.figures import curves
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
    """Utterances by pseudo-label, before and after balancing, and what else the list's footer says."""

    before: dict[str, int]
    after: dict[str, int]
    largest: int
    footer: dict[str, Any]


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
        before, after = footer["before"], footer["after"]
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise StoreError(
            f"the balanced list {path} cannot be read ({error}): make it with `mmpipe balance-unlabeled`"
        ) from error
    return BalanceSection(before, after, max([1, *before.values(), *after.values()]), footer)


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
