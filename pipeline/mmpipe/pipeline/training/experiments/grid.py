"""Runs of an experiment's whole grid, and its table written beside the paper's figures.

    runs/iemocap-experiments/
      {run}/                       a run folder for each cell; experiments share equal runs
      table-7.md, .csv, .png       what came out beside what the paper says

Every cell is a run of `mmpipe.pipeline.training.run.train`: folds whose config and data did not change are reused, so
a grid that was stopped goes on where it stopped.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.experiments.figures import draw
from mmpipe.pipeline.training.experiments.paper import EXPERIMENTS, Cell, Experiment
from mmpipe.pipeline.training.fold import FoldReport
from mmpipe.pipeline.training.metrics import METRICS
from mmpipe.pipeline.training.run import train

__all__ = ["Grid", "find_experiment", "run_grid"]

Result = dict[str, Any]
"""What run.json holds."""


def find_experiment(name: str) -> Experiment:
    """The experiment called `table-4` or `figure-7a`.

    Raises:
        UsageError: there is none of that name; the message lists them.
    """
    if name not in EXPERIMENTS:
        kind = name.partition("-")[0]
        valid = [n.partition("-")[2] for n in EXPERIMENTS if n.startswith(f"{kind}-")]
        raise UsageError(f"--{kind} {name.partition('-')[2]!r} does not exist; valid: {', '.join(valid)}")
    return EXPERIMENTS[name]


@dataclass(frozen=True)
class Grid:
    """An experiment on one's own stores.

    Attributes:
        name: such as `table-7`.
        base: hyper-parameters of all cells.
        labeled: the labelled store.
        unlabeled: the unlabelled store; None if no cell needs it.
        balanced: its balanced list.
        out: folder of the runs and of the table.
    """

    name: str
    base: TrainConfig
    labeled: Path
    unlabeled: Path | None
    balanced: Path | None
    out: Path

    @property
    def experiment(self) -> Experiment:
        """What it repeats."""
        return find_experiment(self.name)

    def config(self, cell: Cell) -> TrainConfig:
        """The hyper-parameters of a cell."""
        changes: dict[str, Any] = {"modalities": tuple(cell.modalities), **cell.changes}
        if cell.semi and cell.share < 1 and self.balanced is not None:
            changes["unlabeled_rows"] = max(4, round(cell.share * pq.read_metadata(self.balanced).num_rows))
        return make_config(**(self.base.model_dump() | changes))


def run_grid(
    grid: Grid,
    report: FoldReport = lambda fold, row: None,
    note: Callable[[str], None] = lambda text: None,
    *,
    seeds: int = 1,
    device: str = "cpu",
    save_seconds: float = 30.0,
) -> list[Result]:
    """Run every cell and write the table as Markdown, CSV and PNG.

    Returns:
        What run.json holds, by cell.

    Raises:
        TrainingError: see `train`.
    """
    results = []
    for cell in grid.experiment.cells:
        note(f"{grid.name}: {', '.join(cell.labels)} -> {grid.out / cell.run}")
        unlabeled, balanced = (grid.unlabeled, grid.balanced) if cell.semi else (None, None)
        results.append(
            train(
                grid.config(cell),
                grid.labeled,
                grid.out / cell.run,
                unlabeled,
                balanced,
                report,
                note,
                seeds=seeds,
                device=device,
                save_seconds=save_seconds,
            )
        )
    header, rows = table_rows(grid.experiment, results)
    write_bytes(grid.out / f"{grid.name}.md", _markdown(grid, header, rows, results).encode())
    write_bytes(grid.out / f"{grid.name}.csv", _csv(grid.experiment, results).encode())
    write_bytes(grid.out / f"{grid.name}.png", draw(grid.experiment, results, grid.out))
    return results


def table_rows(experiment: Experiment, results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Header and rows in per cent: figure ± deviation [95 % interval], and the paper's."""
    header = [*experiment.columns]
    for metric in experiment.metrics:
        header += [METRICS[metric], "95 % interval", "paper"]
    rows = []
    for cell, result in zip(experiment.cells, results, strict=True):
        row = list(cell.labels)
        for metric in experiment.metrics:
            s = {name: 100 * value for name, value in result["summary"][metric].items()}
            paper = f"{cell.paper[metric]:.1f}" if metric in cell.paper else "-"
            row += [f"{s['mean']:.1f} ± {s['std']:.1f}", f"{s['low']:.1f} to {s['high']:.1f}", paper]
        rows.append(row)
    return header, rows


def _markdown(grid: Grid, header: list[str], rows: list[list[str]], results: list[Result]) -> str:
    number, config, folds = results[0]["pooled"]["n"], grid.base, len(results[0]["folds"])
    seeds = results[0]["seeds"]
    spread = f"{seeds} seeds" if seeds > 1 else f"{folds} folds"
    lines = [
        f"# {grid.name.replace('-', ' ').capitalize()}: {grid.experiment.title}",
        "",
        "| " + " | ".join(header) + " |",
        "| " + " | ".join("---" for _ in header) + " |",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"Per cent; ± is the deviation over {spread}; intervals draw the {number // seeds} test utterances anew. "
        f"Store {grid.labeled.name}, size {config.size}, protocol {config.protocol}, matching {config.matching}, "
        f"{config.epochs} epochs, seed {config.seed}. The paper's figures are of its own features and all of its data.",
        "",
    ]
    return "\n".join(lines)


def _csv(experiment: Experiment, results: list[Result]) -> str:
    text = io.StringIO()
    fields = [*experiment.columns, "metric", "mean", "std", "low", "high", "paper"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for cell, result in zip(experiment.cells, results, strict=True):
        for metric in experiment.metrics:
            figures = [f"{result['summary'][metric][name]:.6f}" for name in ("mean", "std", "low", "high")]
            paper = f"{cell.paper[metric] / 100:.3f}" if metric in cell.paper else ""
            writer.writerow([*cell.labels, metric, *figures, paper])
    return text.getvalue()
