"""`mmpipe train --table` and `--figure`: an experiment of the paper, beside its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpipe.pipeline.cli.command import only_checked
from mmpipe.pipeline.cli.config_for import config_for
from mmpipe.pipeline.cli.console import console, result, table
from mmpipe.pipeline.cli.train_slice import show_slice
from mmpipe.pipeline.cli.train_view import show_estimate

if TYPE_CHECKING:
    from mmpipe.pipeline.training.experiments.paper import Experiment
    from mmpipe.pipeline.training.results import RunResult

__all__ = ["show_experiment"]


def show_experiment(
    name: str,
    labeled: Path | None,
    unlabeled: Path | None,
    balanced: Path | None,
    out: Path | None,
    *,
    exclude: Path | None,
    chosen: Mapping[str, Any],
    assigned: Mapping[str, Any],
    overwrite: bool,
    part: tuple[int, int] | None,
    sample: bool,
    seeds: int,
    device: str,
) -> None:
    """Train the grid of a table or figure of the paper, or a slice of it; show the estimate, progress and the table."""
    from mmpipe.pipeline.cli.progress import progress
    from mmpipe.pipeline.hardware import use_threads
    from mmpipe.pipeline.store.feature_store import FeatureStore
    from mmpipe.pipeline.training.experiments.grid import Grid, plan_grid
    from mmpipe.pipeline.training.experiments.paper import EXPERIMENTS
    from mmpipe.pipeline.training.requests import find_sources

    experiment = EXPERIMENTS[name]
    semi = any(cell.semi for cell in experiment.cells)
    sources = find_sources(
        labeled, unlabeled, balanced, semi=semi, sample=sample, corpus=experiment.corpus, exclude=exclude
    )
    protocol = {"protocol": "iemocap-5"} if FeatureStore(sources.labeled).corpus == "iemocap" else {}
    base = config_for(
        assigned,
        {**experiment.changes, **protocol, **chosen, "objective": "paper"},
        [sources.labeled],
        sample=sample,
        fixed=True,
    )
    target = out or Path("runs") / f"{sources.labeled.name}-experiments"
    grid = Grid(name, base, sources, target)
    if only_checked(grid):
        return
    use_threads(base.threads)
    console.print(f"{name}: {len(experiment.cells)} runs on {sources.labeled} -> {target}")
    with console.status("reading and estimating"):
        planned = plan_grid(grid, seeds=seeds, device=device, overwrite=overwrite)
        if part is None:
            show_estimate(planned.runs)
    if part is not None:
        if (results := show_slice(planned.runs, part, planned.run_slice)) is not None:
            _show_table(experiment, results, target / name)
        return
    epochs = sum(run.epochs for run in planned.runs)
    with progress("epoch") as bars:
        bar = bars.add_task(name, total=epochs)

        def report(fold: str, row: dict[str, float]) -> None:
            bars.update(bar, advance=1, description=f"{fold} {row['train_loss']:.2f}")

        results = planned.run(report, bars.console.print)
        bars.update(bar, completed=epochs)
    _show_table(experiment, results, target / name)


def _show_table(experiment: Experiment, results: Sequence[RunResult], written: Path) -> None:
    from mmpipe.pipeline.training.experiments.grid import table_rows

    header, rows = table_rows(experiment, results)
    table(f"{experiment.title} (per cent)", header, rows)
    result(f"Beside the paper's figures: {written}.md, .csv and .png")
