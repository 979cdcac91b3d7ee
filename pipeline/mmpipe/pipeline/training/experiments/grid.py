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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_bytes
from mmpipe.pipeline.outputs import claim
from mmpipe.pipeline.store.exclusions import read_exclusions
from mmpipe.pipeline.training.config import TrainConfig, make_config
from mmpipe.pipeline.training.data.dataset import Datasets
from mmpipe.pipeline.training.data.unlabeled import read_balanced
from mmpipe.pipeline.training.experiments.figures import draw
from mmpipe.pipeline.training.experiments.paper import EXPERIMENTS, Cell, Experiment
from mmpipe.pipeline.training.fold import FoldReport
from mmpipe.pipeline.training.metrics import METRICS, spread_over
from mmpipe.pipeline.training.requests import Sources, TrainRequest
from mmpipe.pipeline.training.results import RunResult
from mmpipe.pipeline.training.run import TrainRun, plan_run
from mmpipe.pipeline.training.slices import SliceResult, train_slice

__all__ = ["Grid", "GridRun", "find_experiment", "plan_grid", "run_grid", "table_rows"]


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
        sources: labelled store, unlabelled store and balanced list; the latter two are None if no cell needs them.
        out: folder of the runs and of the table.
    """

    name: str
    base: TrainConfig
    sources: Sources
    out: Path

    @property
    def experiment(self) -> Experiment:
        """What it repeats."""
        return find_experiment(self.name)

    def config(self, cell: Cell) -> TrainConfig:
        """The hyper-parameters of a cell."""
        changes: dict[str, Any] = {"modalities": tuple(cell.modalities), **cell.changes}
        if cell.semi and cell.share < 1 and self.sources.balanced is not None:
            changes["unlabeled_rows"] = max(4, round(cell.share * read_balanced(self.sources.balanced).shortest))
        return make_config(**(self.base.model_dump() | changes))


@dataclass(frozen=True)
class GridRun:
    """A grid whose stores have been read, but that has not begun.

    Attributes:
        grid: what it repeats.
        runs: one a cell.
    """

    grid: Grid
    runs: tuple[TrainRun, ...]

    def run(
        self,
        report: FoldReport = lambda fold, row: None,
        note: Callable[[str], None] = lambda text: None,
    ) -> list[RunResult]:
        """Run every cell and write the table as Markdown, CSV and PNG.

        Returns:
            By cell.

        Raises:
            TrainingError: see `TrainRun.run`.
        """
        grid, results = self.grid, []
        for cell, run in zip(grid.experiment.cells, self.runs, strict=True):
            note(f"{grid.name}: {', '.join(cell.labels)} -> {run.request.out}")
            results.append(run.run(report, note))
        self._write(results)
        return results

    def run_slice(self, part: tuple[int, int], report: FoldReport, note: Callable[[str], None]) -> SliceResult:
        """Train the folds of a slice of all cells; the slice that finds every fold finished writes the table.

        Args:
            part: the slice: its number, counted from 1, and the number of slices.
            report: see `TrainRun.run`.
            note: see `TrainRun.run`.

        Raises:
            BusyError, TrainingError, UsageError: see `train_slice`.
        """
        done = train_slice(self.runs, part, report, note)
        if done.results is not None:
            self._write(done.results)
        return done

    def _write(self, results: Sequence[RunResult]) -> None:
        grid = self.grid
        header, rows = table_rows(grid.experiment, results)
        write_bytes(grid.out / f"{grid.name}.md", _markdown(grid, header, rows, results).encode())
        write_bytes(grid.out / f"{grid.name}.csv", _csv(grid.experiment, results).encode())
        write_bytes(grid.out / f"{grid.name}.png", draw(grid.experiment, results, grid.out))


def plan_grid(
    grid: Grid, *, seeds: int = 1, device: str = "cpu", save_seconds: float = 30.0, overwrite: bool = False
) -> GridRun:
    """Read what the cells train on, each store once for cells of the same modalities; nothing is trained yet.

    Raises:
        StoreError, TrainingError, UsageError: see `plan_run`.
    """
    claim(grid.out / f"{grid.name}.csv", "table of runs", overwrite=overwrite)
    exclude = grid.sources.exclude
    datasets, runs = Datasets(None if exclude is None else read_exclusions(exclude)), []
    for cell in grid.experiment.cells:
        sources = grid.sources if cell.semi else Sources(grid.sources.labeled, exclude=exclude)
        request = TrainRequest(
            grid.config(cell),
            sources,
            grid.out / cell.run,
            seeds,
            device,
            save_seconds=save_seconds,
            overwrite=overwrite,
        )
        runs.append(plan_run(request, datasets))
    return GridRun(grid, tuple(runs))


def run_grid(
    grid: Grid,
    report: FoldReport = lambda fold, row: None,
    note: Callable[[str], None] = lambda text: None,
    *,
    seeds: int = 1,
    device: str = "cpu",
    save_seconds: float = 30.0,
) -> list[RunResult]:
    """Plan a grid, run every cell and write the table: `plan_grid` and `GridRun.run` in one call."""
    return plan_grid(grid, seeds=seeds, device=device, save_seconds=save_seconds).run(report, note)


def table_rows(experiment: Experiment, results: Sequence[RunResult]) -> tuple[list[str], list[list[str]]]:
    """Header and rows in per cent: figure ± deviation [95 % interval], and the paper's."""
    header = [*experiment.columns]
    for metric in experiment.metrics:
        header += [METRICS[metric], "95 % interval", "paper"]
    rows = []
    for cell, result in zip(experiment.cells, results, strict=True):
        row = list(cell.labels)
        for metric in experiment.metrics:
            s = {name: 100 * value for name, value in result.summary[metric].to_json().items()}
            paper = f"{cell.paper[metric]:.1f}" if metric in cell.paper else "-"
            row += [f"{s['mean']:.1f} ± {s['std']:.1f}", f"{s['low']:.1f} to {s['high']:.1f}", paper]
        rows.append(row)
    return header, rows


def _markdown(grid: Grid, header: list[str], rows: list[list[str]], results: Sequence[RunResult]) -> str:
    number, config, seeds = results[0].pooled.n, grid.base, results[0].seeds
    spread = spread_over(seeds, len(results[0].folds) // seeds)
    lines = [
        f"# {grid.name.replace('-', ' ').capitalize()}: {grid.experiment.title}",
        "",
        "| " + " | ".join(header) + " |",
        "| " + " | ".join("---" for _ in header) + " |",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"Per cent; ± is the deviation {spread}; intervals draw the {number // seeds} test utterances again. "
        f"Store {grid.sources.labeled.name}, size {config.size}, protocol {config.protocol}, "
        f"matching {config.matching}, {config.epochs} epochs, seed {config.seed}. "
        "The paper's figures are of its own features and all of its data.",
        "",
    ]
    return "\n".join(lines)


def _csv(experiment: Experiment, results: Sequence[RunResult]) -> str:
    text = io.StringIO()
    fields = [*experiment.columns, "metric", "mean", "std", "low", "high", "paper"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for cell, result in zip(experiment.cells, results, strict=True):
        for metric in experiment.metrics:
            figures = [f"{value:.6f}" for value in result.summary[metric].to_json().values()]
            paper = f"{cell.paper[metric] / 100:.3f}" if metric in cell.paper else ""
            writer.writerow([*cell.labels, metric, *figures, paper])
    return text.getvalue()
