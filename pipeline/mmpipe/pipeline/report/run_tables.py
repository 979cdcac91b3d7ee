"""Tables of finished runs, for the report and the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mmpipe.pipeline.report.blocks import Cell, Table, number, percent
from mmpipe.pipeline.training.metrics import METRICS, Scores
from mmpipe.pipeline.training.results import RunResult

__all__ = ["confusion_table", "figure_cells", "figure_columns", "folds_table", "runs_table"]


def runs_table(runs: Sequence[RunResult]) -> Table:
    """One row a run, pooled over the test utterances of all folds."""
    columns = ("run", "objective", "modalities", "folds", "seeds", "utterances", *METRICS.values())
    return Table(columns, [_row(run) for run in runs], "Runs")


def _row(run: RunResult) -> list[Cell]:
    return [
        Cell(run.name),
        Cell(run.objective),
        Cell("+".join(run.config.modalities).upper()),
        number(len(run.folds) // run.seeds),
        number(run.seeds),
        number(run.pooled.n // run.seeds),
        *(Cell(str(run.summary[metric]), 100 * run.summary[metric].mean) for metric in METRICS),
    ]


def confusion_table(result: RunResult) -> Table:
    """What was answered for what, with the recall of each class."""
    rows = []
    for label, counts in zip(result.labels, result.pooled.confusion, strict=True):
        total = max(sum(counts), 1)
        cells = [
            Cell(f"{n:,}", n, n / total, f"{label} answered as {other}: {n:,} of {total:,} ({100 * n / total:.1f} %)")
            for other, n in zip(result.labels, counts, strict=True)
        ]
        rows.append([Cell(label), *cells, percent(result.pooled.recall[label])])
    caption = "Confusion: rows are truth, columns predictions; counts of all test utterances and seeds"
    return Table(("", *result.labels, "recall"), rows, caption, matrix=True)


def figure_cells(scores: Scores, labels: Sequence[str]) -> list[Cell]:
    """Utterances, metrics and the recall of each class; blank where the class has no utterance."""
    present = {label for label, row in zip(labels, scores.confusion, strict=True) if sum(row)}
    recall = [percent(scores.recall[label]) if label in present else Cell("") for label in labels]
    return [number(scores.n), *(percent(scores.value(metric)) for metric in METRICS), *recall]


def figure_columns(first: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Names of columns: `first`, then those of `figure_cells`."""
    return (*first, "utterances", *METRICS.values(), *(f"recall of {label}" for label in labels))


def folds_table(result: RunResult) -> Table:
    """Each fold of each seed: the epoch that was kept, and its figures."""
    rows = [
        [Cell(fold.name), number(fold.seed), number(fold.best_epoch), *figure_cells(fold.test, result.labels)]
        for fold in result.folds
    ]
    return Table(figure_columns(("fold", "seed", "best epoch"), result.labels), rows, f"{result.name} by fold")
