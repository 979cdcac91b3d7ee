"""Balanced lists as the report and the terminal show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmpipe.core.errors import StoreError
from mmpipe.core.parquet import read_sealed
from mmpipe.pipeline.balancing.results import BalanceResult
from mmpipe.pipeline.report.blocks import Cell, Table, number, percent

__all__ = ["ShownList", "list_folds", "show_list"]


@dataclass(frozen=True)
class ShownList:
    """A balanced list.

    Attributes:
        path: its file.
        result: what balancing did, as its footer says; lists of earlier versions leave some of it out.
        footer: what else it says of itself.
        rows: its draws.
    """

    path: Path
    result: BalanceResult
    footer: Mapping[str, Any]
    rows: pa.Table

    @property
    def is_by_fold(self) -> bool:
        """Whether each fold has a list of its own."""
        return self.result.folds[0].fold is not None

    def counts(self, name: str) -> dict[str, int]:
        """`before`, `after` or `distinct` by pseudo-label, the mean of the folds, rounded."""
        return {label: round(n / len(self.result.folds)) for label, n in self.result.total(name).items()}


def show_list(path: Path) -> ShownList:
    """Read a balanced list.

    Raises:
        StoreError: it cannot be read, or is not what was written.
    """
    try:
        rows, sealed = read_sealed(path)
        return ShownList(path, BalanceResult.from_footer(path, sealed.metadata), sealed.metadata, rows)
    except (OSError, pa.ArrowInvalid, LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"the balanced list {path} cannot be read ({error}): make it with `mmpipe balance-unlabeled`"
        ) from error


def list_folds(shown: ShownList) -> Table:
    """Each fold of a list: its classifier, and the utterances by pseudo-label."""
    result = shown.result
    temperatures = {} if result.calibration is None else result.calibration.temperatures
    rows = [
        [
            Cell(str(fold.fold)),
            Cell("") if math.isnan(fold.valid_ua) else percent(fold.valid_ua),
            number(temperatures[fold.fold], 2) if fold.fold in temperatures else Cell(""),
            *(number(fold.before[label]) for label in result.labels),
        ]
        for fold in result.folds
    ]
    columns = ("fold", "validation UA", "temperature", *(f"{label} before" for label in result.labels))
    return Table(columns, rows, "Folds")
