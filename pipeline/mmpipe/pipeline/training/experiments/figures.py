"""PNG figures of experiments: bars beside the paper's, confusion matrices, quantity of data, loss curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mmpipe.pipeline.training.experiments.paper import Experiment
from mmpipe.pipeline.training.metrics import METRICS
from mmpipe.pipeline.training.results import RunResult

__all__ = ["Panel", "curve_panels", "draw", "png"]

_BLUE, _GRAY = "#3b82c4", "#b5bcc6"


@dataclass(frozen=True)
class Panel:
    """Curves that share an axis.

    Attributes:
        title: what they are of.
        epochs: from 1.
        lines: one value an epoch, by name.
    """

    title: str
    epochs: list[int]
    lines: dict[str, list[float]]


_PANELS = {
    "loss": {
        "train_loss": "total, training",
        "cls": "cross-entropy, training",
        "valid_loss": "cross-entropy, validation",
    },
    "pseudo-labels": {"unlabeled_cls": "cross-entropy, unlabelled"},
    "share of unlabelled rows with a pseudo-label": {"unlabeled_labelled": "share"},
    "reconstruction": {"rec": "labelled", "unlabeled_rec": "unlabelled"},
    "distance of modalities": {
        "pair": "paired, labelled",
        "unpaired": "unpaired, labelled",
        "unlabeled_pair": "paired, unlabelled",
        "unlabeled_unpaired": "unpaired, unlabelled",
    },
    "validation": {f"valid_{name}": title for name, title in METRICS.items()},
    "deviation of the latents": {"latent_std": "mean over a batch"},
}
"""Panels of the curves: by title, the columns of history.csv and what the legend calls them."""


def curve_panels(history: pd.DataFrame) -> list[Panel]:
    """The curves of a history.csv, means over folds and seeds; terms that are always 0 are left out, and empty panels.

    Raises:
        LookupError: it has no column `epoch`.
    """
    means = history.drop(columns=["seed", "fold"], errors="ignore").groupby("epoch").mean()
    panels = []
    for title, names in _PANELS.items():
        lines = {name: means[column].tolist() for column, name in names.items() if _is_used(means, column)}
        if lines:
            panels.append(Panel(title, [int(epoch) for epoch in means.index], lines))
    return panels


def _is_used(means: pd.DataFrame, column: str) -> bool:
    return column in means.columns and bool((means[column].fillna(0) != 0).any())


def png(figure: Figure) -> bytes:
    """A figure as PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def draw(experiment: Experiment, results: Sequence[RunResult], runs: Path) -> bytes:
    """The experiment as PNG.

    Args:
        experiment: its `kind` says how.
        results: of the runs, by cell.
        runs: folder of the run folders.
    """
    maker = {"table": _bars, "confusion": _confusions, "quantity": _quantity, "curves": _curves}[experiment.kind]
    return png(maker(experiment, results, runs))


def _bars(experiment: Experiment, results: Sequence[RunResult], runs: Path) -> Figure:
    columns = len(experiment.metrics)
    figure = Figure(figsize=(5 * columns, 0.6 + 0.55 * len(results)), layout="constrained")
    names = [" ".join(cell.labels) for cell in experiment.cells]
    places = np.arange(len(names))
    for axis, metric in zip(figure.subplots(1, columns, squeeze=False)[0], experiment.metrics, strict=True):
        summary = [result.summary[metric] for result in results]
        means, low, high = (np.array([100 * getattr(s, key) for s in summary]) for key in ("mean", "low", "high"))
        paper = [cell.paper.get(metric, np.nan) for cell in experiment.cells]
        errors = np.maximum([means - low, high - means], 0)
        axis.barh(places - 0.2, means, 0.4, xerr=errors, color=_BLUE, label="here, 95 % interval")
        axis.barh(places + 0.2, paper, 0.4, color=_GRAY, label="paper")
        axis.set_yticks(places, names)
        axis.invert_yaxis()
        axis.set(xlabel=f"{METRICS[metric]} (per cent)", xlim=(0, 100))
        axis.legend(fontsize=7, loc="lower right")
    return figure


def _confusions(experiment: Experiment, results: Sequence[RunResult], runs: Path) -> Figure:
    figure = Figure(figsize=(3.4 * len(results), 3.4), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False)[0]
    for axis, cell, result in zip(axes, experiment.cells, results, strict=True):
        counts = np.array(result.pooled.confusion, float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(shares.shape):
            share = shares[row, column]
            axis.text(column, row, f"{share:.2f}", ha="center", va="center", color="white" if share > 0.5 else "black")
        places = range(len(result.labels))
        axis.set_xticks(places, result.labels, rotation=40, ha="right")
        axis.set_yticks(places, result.labels)
        axis.set(title=", ".join(cell.labels), xlabel="predicted", ylabel="label")
    return figure


def _quantity(experiment: Experiment, results: Sequence[RunResult], runs: Path) -> Figure:
    figure = Figure(figsize=(5.5, 3.2), layout="constrained")
    axis = figure.subplots()
    rows = [0 if result.unlabeled is None else result.unlabeled.rows for result in results]
    for metric, color in zip(experiment.metrics, (_BLUE, "#d9772b"), strict=False):
        summary = [result.summary[metric] for result in results]
        mean, low, high = (np.array([100 * getattr(s, key) for s in summary]) for key in ("mean", "low", "high"))
        axis.plot(rows, mean, marker="o", color=color, label=METRICS[metric])
        axis.fill_between(rows, low, high, color=color, alpha=0.15, linewidth=0)
    axis.set(xlabel="unlabelled rows", ylabel="per cent (band: 95 % interval)")
    axis.legend()
    return figure


def _curves(experiment: Experiment, results: Sequence[RunResult], runs: Path) -> Figure:
    panels = curve_panels(pd.read_csv(runs / experiment.cells[0].run / "history.csv"))
    figure = Figure(figsize=(4 * len(panels), 3.2), layout="constrained")
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, values in panel.lines.items():
            axis.plot(panel.epochs, values, label=name)
        axis.set(title=panel.title, xlabel="epoch")
        axis.legend(fontsize=8)
    return figure
