"""The report's section on runs: figures, loss curves, confusion, results by fold and by speaker."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd

from mmpipe.core.errors import UsageError
from mmpipe.core.reading import read_limited
from mmpipe.pipeline.report.blocks import (
    Block,
    Cell,
    Details,
    Figure,
    Grid,
    Heading,
    Section,
    Table,
    Text,
    plural,
)
from mmpipe.pipeline.report.charts import Lines, Series
from mmpipe.pipeline.report.latents import latents_blocks
from mmpipe.pipeline.report.run_tables import confusion_table, figure_cells, figure_columns, folds_table, runs_table
from mmpipe.pipeline.training.comparison import read_folds
from mmpipe.pipeline.training.experiments.figures import Panel, curve_panels
from mmpipe.pipeline.training.metrics import Answers, score, spread_over
from mmpipe.pipeline.training.results import FoldResult, RunResult
from mmpipe.pipeline.training.run_folder import read_run

__all__ = ["ShownRun", "show_run", "training_section"]

_MOST_SPEAKERS = 200
"""Rows of the table by speaker."""


@dataclass(frozen=True)
class ShownRun:
    """A run as the report looks at it.

    Attributes:
        path: its folder.
        result: what run.json holds.
        panels: its curves, means over folds.
        folds: in the order of the result; empty where it has no fold.json.
    """

    path: Path
    result: RunResult
    panels: list[Panel]
    folds: list[FoldResult]

    @property
    def answers(self) -> list[Answers]:
        """What it said of the test utterances, by seed and fold."""
        return [fold.answers for fold in self.folds]


def show_run(path: Path) -> ShownRun:
    """Read a run folder.

    Raises:
        UsageError: it does not hold a finished run, or a file of it is missing or altered.
    """
    result = read_run(path)
    try:
        panels = curve_panels(pd.read_csv(BytesIO(read_limited(path / "history.csv"))))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{path} has no history.csv that can be read ({error}): train it again") from error
    return ShownRun(path, result, panels, read_folds(path, result) if any(path.rglob("fold.json")) else [])


def training_section(runs: Sequence[ShownRun], speakers: Mapping[str, str], tables: Sequence[Block]) -> Section:
    """What runs reached.

    Args:
        runs: of the report.
        speakers: of the utterances of the report's stores, by utterance.
        tables: of the paper's experiments that the runs are of.
    """
    spreads = {spread_over(run.result.seeds, len(run.result.folds) // run.result.seeds) for run in runs}
    blocks: list[Block] = [
        Text(
            "Figures in per cent, pooled over the test utterances of all folds; no test speaker is trained on or "
            f"chooses the epoch. ± is the standard deviation ({', '.join(sorted(spreads))}); in brackets the 95 % "
            "interval."
        ),
        runs_table([run.result for run in runs]),
        *tables,
    ]
    for run in runs:
        blocks += _run_blocks(run, speakers)
    return Section("training", "Training", blocks)


def _run_blocks(run: ShownRun, speakers: Mapping[str, str]) -> Iterator[Block]:
    result = run.result
    yield Heading(result.name)
    yield Grid([_curves(panel, result) for panel in run.panels])
    yield confusion_table(result)
    yield from latents_blocks(run.folds)
    yield Details(f"Results of {plural(len(result.folds), 'fold')}", [folds_table(result)])
    if (table := _by_speaker(run, speakers)) is not None:
        yield Details(f"Results of {plural(len(table.rows), 'speaker')}", [table])
    config = result.config.model_dump(mode="json")
    rows = [[Cell(name), Cell(json.dumps(value, ensure_ascii=False))] for name, value in sorted(config.items())]
    yield Details("Hyper-parameters", [Table(("name", "value"), rows, f"Hyper-parameters of {result.name}")])


def _curves(panel: Panel, result: RunResult) -> Figure:
    epochs = [float(epoch) for epoch in panel.epochs]
    lines = Lines(
        f"Curves of {result.name}: {panel.title}",
        [Series(name, values, epochs) for name, values in panel.lines.items()],
        "epoch",
    )
    only = f" ({next(iter(panel.lines))})" if len(panel.lines) == 1 else ""
    return Figure(
        lines, f"{panel.title[0].upper()}{panel.title[1:]}{only}, mean of {plural(len(result.folds), 'fold')}"
    )


def _by_speaker(run: ShownRun, speakers: Mapping[str, str]) -> Table | None:
    """Figures of each speaker that the report's stores name; None where they name none."""
    said: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for answers in run.answers:
        for utterance, truth, predicted in zip(answers.ids, answers.truth, answers.predicted, strict=True):
            if utterance in speakers:
                said[speakers[utterance]].append((truth, predicted))
    if not said:
        return None
    labels = run.result.labels
    shown = sorted(said.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST_SPEAKERS]
    rows = [
        [Cell(name), *figure_cells(score([t for t, _ in pairs], [p for _, p in pairs], labels), labels)]
        for name, pairs in shown
    ]
    more = f", the {_MOST_SPEAKERS} with most utterances of {len(said):,}" if len(said) > len(shown) else ""
    return Table(
        figure_columns(("speaker",), labels), rows, f"{run.result.name} by speaker of the test utterances{more}"
    )
