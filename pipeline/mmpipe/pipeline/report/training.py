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
    number,
    percent,
    plural,
)
from mmpipe.pipeline.report.charts import PLAIN, Lines, Points, Series
from mmpipe.pipeline.report.stores import spread
from mmpipe.pipeline.training.comparison import read_folds
from mmpipe.pipeline.training.experiments.figures import Panel, curve_panels
from mmpipe.pipeline.training.latents import LatentEpoch, Latents
from mmpipe.pipeline.training.metrics import METRICS, Answers, Scores, score, spread_over
from mmpipe.pipeline.training.modalities import MODALITIES
from mmpipe.pipeline.training.results import FoldResult, RunResult, read_run

__all__ = ["ShownRun", "show_run", "training_section"]

_MOST_SPEAKERS = 200
"""Rows of the table by speaker."""

_MOST_EPOCHS = 3
"""Epochs whose latents are shown, and the best one."""


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
        Table(
            ("run", "objective", "modalities", "folds", "seeds", "utterances", *METRICS.values()),
            [_row(run.result) for run in runs],
            "Runs",
        ),
        *tables,
    ]
    for run in runs:
        blocks += _run_blocks(run, speakers)
    return Section("training", "Training", blocks)


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


def _run_blocks(run: ShownRun, speakers: Mapping[str, str]) -> Iterator[Block]:
    result = run.result
    yield Heading(result.name)
    yield Grid([_curves(panel, result) for panel in run.panels])
    yield _confusion(result)
    yield from _latents(run)
    yield Details(f"Results of {plural(len(result.folds), 'fold')}", [_folds(result)])
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


def _latents(run: ShownRun) -> Iterator[Block]:
    """The latents of the first fold that has them, of a few epochs and the best one."""
    fold = next((fold for fold in run.folds if fold.latents is not None), None)
    if fold is None or fold.latents is None:
        return
    views = fold.latents.epochs
    shown = {views[place].epoch: views[place] for place in spread(len(views), _MOST_EPOCHS)}
    shown |= {view.epoch: view for view in views if view.epoch == fold.best_epoch}
    pool = " and of the unlabelled pool" if None in fold.latents.labels else ""
    yield Details(
        "Latents by epoch",
        [
            Text(
                f"Fold {fold.name} of seed {fold.seed}: a point is the latent of one modality of an utterance, on the "
                "two principal components of all latents after the epoch. The utterances are some of the validation "
                f"part{pool}, evenly spread."
            ),
            Grid([_cloud(fold, fold.latents, view) for _, view in sorted(shown.items())]),
        ],
    )


def _cloud(fold: FoldResult, latents: Latents, view: LatentEpoch) -> Figure:
    letters = list(view.points)
    labels = [label or PLAIN[0] for label in latents.labels]
    colourings: dict[str, list[str]] = {
        "modality": [MODALITIES[letter].name for letter in letters for _ in labels],
        "label": labels * len(letters),
    }
    tips = [
        f"{i}, {label}, {MODALITIES[m].name}" for m in letters for i, label in zip(latents.ids, labels, strict=True)
    ]
    places = [x for letter in letters for x in view.points[letter]]
    axes = [f"component {k + 1} ({100 * share:.0f} %)" for k, share in enumerate(view.shares)]
    shown = {name: values for name, values in colourings.items() if name == "label" or len(letters) > 1}
    title = f"Epoch {view.epoch}" + (", whose model was kept" if view.epoch == fold.best_epoch else "")
    points = Points(f"Latents of {fold.name}: {title}", places[::2], places[1::2], tips, shown, *axes)
    return Figure(points, title)


def _confusion(result: RunResult) -> Table:
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


def _figures(scores: Scores, labels: Sequence[str]) -> list[Cell]:
    present = {label for label, row in zip(labels, scores.confusion, strict=True) if sum(row)}
    recall = [percent(scores.recall[label]) if label in present else Cell("") for label in labels]
    return [number(scores.n), *(percent(scores.value(metric)) for metric in METRICS), *recall]


def _header(first: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    return (*first, "utterances", *METRICS.values(), *(f"recall of {label}" for label in labels))


def _folds(result: RunResult) -> Table:
    rows = [
        [Cell(fold.name), number(fold.seed), number(fold.best_epoch), *_figures(fold.test, result.labels)]
        for fold in result.folds
    ]
    return Table(_header(("fold", "seed", "best epoch"), result.labels), rows, f"{result.name} by fold")


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
        [Cell(name), *_figures(score([t for t, _ in pairs], [p for _, p in pairs], labels), labels)]
        for name, pairs in shown
    ]
    more = f", the {_MOST_SPEAKERS} with most utterances of {len(said):,}" if len(said) > len(shown) else ""
    return Table(_header(("speaker",), labels), rows, f"{run.result.name} by speaker of the test utterances{more}")
