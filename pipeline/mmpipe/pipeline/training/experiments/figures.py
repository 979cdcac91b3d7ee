"""PNG figures of experiments: bars beside the paper's, confusion matrices, quantity of data, loss curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mmpipe.pipeline.training.experiments.paper import Experiment
from mmpipe.pipeline.training.metrics import METRICS
from mmpipe.pipeline.training.results import RunResult

__all__ = ["draw", "png"]

_BLUE, _GRAY = "#3b82c4", "#b5bcc6"


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
    history = pd.read_csv(runs / experiment.cells[0].run / "history.csv").drop(columns=["seed", "fold"])
    means = history.groupby("epoch").mean()
    panels = {
        "cross-entropy": ("cls", "valid_loss"),
        "reconstruction": ("rec", "unlabeled_rec"),
        "matching": ("pair", "unpaired", "unlabeled_pair", "unlabeled_unpaired"),
    }
    figure = Figure(figsize=(4 * len(panels), 3.2), layout="constrained")
    for axis, (title, names) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for name in names:
            axis.plot(means.index, means[name], label=name.replace("_", " "))
        axis.set(title=title, xlabel="epoch")
        axis.legend(fontsize=8)
    return figure
