"""The tables and figures of the paper beside one's own runs, where `mmpipe train --table` or `--figure` wrote them."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from mmpipe.core.errors import UsageError
from mmpipe.core.reading import read_limited
from mmpipe.pipeline.report.blocks import Block, Cell, Figure, Grid, Heading, Table
from mmpipe.pipeline.report.charts import Bars, Lines, Series
from mmpipe.pipeline.training.experiments.paper import EXPERIMENTS, Experiment
from mmpipe.pipeline.training.metrics import METRICS

__all__ = ["grid_runs", "paper_tables", "read_table", "tables_in"]

_NUMBERS = ["mean", "std", "low", "high", "paper"]


def grid_runs(grid: Path) -> list[Path]:
    """The finished runs of the tables in a folder, in the order of the tables."""
    names = dict.fromkeys(cell.run for name in tables_in(grid) for cell in EXPERIMENTS[name].cells)
    return [grid / name for name in names if (grid / name / "run.json").is_file()]


def tables_in(grid: Path) -> list[str]:
    """The experiments of the paper whose table a folder holds."""
    return [name for name in EXPERIMENTS if (grid / f"{name}.csv").is_file()]


def paper_tables(grids: Sequence[Path], runs: Iterable[Path]) -> list[Block]:
    """The tables of folders of runs, and those that a run is a cell of.

    Raises:
        UsageError: a table is not what `mmpipe train` wrote.
    """
    wanted = {(grid, name): None for grid in grids for name in tables_in(grid)}
    for run in runs:
        for name, experiment in EXPERIMENTS.items():
            if run.name in {cell.run for cell in experiment.cells} and (run.parent / f"{name}.csv").is_file():
                wanted[run.parent, name] = None
    return [block for grid, name in wanted for block in _experiment(grid, name)]


def _experiment(grid: Path, name: str) -> Iterator[Block]:
    experiment, table = EXPERIMENTS[name], read_table(grid, name)
    yield Heading(f"{name.replace('-', ' ').capitalize()} of the paper: {experiment.title}")
    parts = {metric: table[table["metric"] == metric] for metric in experiment.metrics}
    if experiment.kind == "quantity":
        yield Grid([_quantity(experiment, parts)])
    elif experiment.kind != "curves":
        yield Grid([_bars(experiment, part, metric) for metric, part in parts.items()])
    rows = []
    for _, row in table.iterrows():
        figures = {number: 100 * float(row[number]) for number in _NUMBERS}
        is_in_paper = not math.isnan(figures["paper"])
        rows.append(
            [
                *(Cell(str(row[column])) for column in experiment.columns),
                Cell(METRICS[row["metric"]]),
                Cell(f"{figures['mean']:.1f} ± {figures['std']:.1f}", figures["mean"]),
                Cell(f"{figures['low']:.1f} to {figures['high']:.1f}", figures["low"]),
                Cell(f"{figures['paper']:.1f}", figures["paper"]) if is_in_paper else Cell(""),
                Cell(f"{figures['mean'] - figures['paper']:+.1f}", figures["mean"] - figures["paper"])
                if is_in_paper
                else Cell(""),
            ]
        )
    columns = (*experiment.columns, "metric", "here", "95 % interval", "paper", "minus paper")
    yield Table(columns, rows, "Per cent; the paper's figures are of its own features and all of its data")


def read_table(grid: Path, name: str) -> pd.DataFrame:
    """The table of an experiment: one row a cell and metric, figures as shares of 1.

    Raises:
        UsageError: it is not what `mmpipe train` wrote.
    """
    experiment, path = EXPERIMENTS[name], grid / f"{name}.csv"
    try:
        table = pd.read_csv(
            io.BytesIO(read_limited(path)), dtype=dict.fromkeys(experiment.columns, str), keep_default_na=False
        )
        table[_NUMBERS] = table[_NUMBERS].apply(pd.to_numeric)
        if not set(table["metric"]) <= METRICS.keys() or not {*experiment.columns} <= {*table.columns}:
            raise ValueError("it has other metrics or columns")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{path} cannot be read ({error}): run its `mmpipe train` again") from error
    return table


def _series(name: str, part: pd.DataFrame) -> Series:
    y, low, high = ((100 * part[column]).tolist() for column in ("mean", "low", "high"))
    tips = [f"{name}: {a:.1f} [{b:.1f}, {c:.1f}]" for a, b, c in zip(y, low, high, strict=True)]
    return Series(name, y, low=low, high=high, tips=tips)


def _names(experiment: Experiment, part: pd.DataFrame) -> list[str]:
    return [" ".join(map(str, row)) for row in part[list(experiment.columns)].to_numpy()]


def _bars(experiment: Experiment, part: pd.DataFrame, metric: str) -> Figure:
    paper = Series("paper", (100 * part["paper"]).tolist())
    label = f"{METRICS[metric]} of {experiment.title}, here and in the paper"
    series = [_series("here, 95 % interval", part), paper]
    bars = Bars(label, _names(experiment, part), series, f"{METRICS[metric]} in per cent", 100)
    return Figure(bars, f"{METRICS[metric]} by {', '.join(experiment.columns)}")


def _quantity(experiment: Experiment, parts: dict[str, pd.DataFrame]) -> Figure:
    shares = [0.0] + [100 * cell.share for cell in experiment.cells if cell.semi]
    series = []
    for metric, part in parts.items():
        one = _series(METRICS[metric], part)
        series.append(Series(one.name, one.y, shares[: len(one.y)], one.low, one.high, one.tips))
    lines = Lines(experiment.title, series, "per cent of the unlabelled list", "per cent", markers=True)
    return Figure(lines, "Figures by the quantity of unlabelled data, with 95 % intervals")
