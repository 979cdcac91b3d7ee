"""Figures as data URIs. Text and lines are of a gray that reads on white and on black."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmpipe.pipeline.balancing.results import Calibration

__all__ = ["curves", "histogram", "png_uri", "reliability"]

_BLUE, _ORANGE, _GRAY = "#3b82c4", "#d9772b", "#7a8290"

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "mmpipe",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 10,
    "text.color": _GRAY,
    "axes.labelcolor": _GRAY,
    "axes.edgecolor": _GRAY,
    "xtick.color": _GRAY,
    "ytick.color": _GRAY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    return _uri("image/svg+xml", buffer.getvalue())


def _figure(columns: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def png_uri(image: npt.NDArray[np.uint8]) -> str:
    """An image uint8 [H, W] or BGR [H, W, 3] as a PNG data URI."""
    return _uri("image/png", cv2.imencode(".png", image)[1].tobytes())


def histogram(values: npt.NDArray[np.float64], label: str, mark: float | None = None) -> str:
    """A histogram; `mark` draws a dashed line with its value."""
    with mpl.rc_context(_STYLE):
        figure, (axes,) = _figure(1, 4.4, 2.2)
        axes.hist(values, bins=min(30, max(5, round(len(values) ** 0.5))), color=_BLUE)
        axes.set(xlabel=label, ylabel="utterances")
        if mark is not None:
            axes.axvline(mark, color=_ORANGE, linestyle="--", linewidth=1.5)
            axes.annotate(
                f"80 %: {mark:.1f} s",
                (mark, 0.96),
                xycoords=("data", "axes fraction"),
                xytext=(5, 0),
                textcoords="offset points",
                va="top",
                color=_ORANGE,
            )
        return _svg(figure)


def curves(history: Mapping[str, Sequence[float]], panels: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Line plots over epochs.

    Args:
        history: by column, one value an epoch.
        panels: for each panel its title and its lines as (column, name).
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(len(panels), 3.1 * len(panels), 2.3)
        epochs = np.arange(1, 1 + max(len(values) for values in history.values()))
        for axis, (title, lines) in zip(axes, panels, strict=True):
            for (column, name), color in zip(lines, (_BLUE, _ORANGE, _GRAY, "#4d9f6b", "#9467bd"), strict=False):
                axis.plot(epochs, history[column], color=color, label=name, linewidth=1.6)
            axis.set(title=title, xlabel="epoch")
            _integer_ticks(axis)
            if len(lines) > 1:
                axis.set_ylim(top=axis.get_ylim()[1] + 0.45 * float(np.ptp(axis.get_ylim())))  # room for the legend
                axis.legend(fontsize=8, loc="upper right")
        return _svg(figure)


def reliability(calibration: Calibration) -> str:
    """A reliability diagram: accuracy over confidence, before and after temperature scaling."""
    with mpl.rc_context(_STYLE):
        figure, (axes,) = _figure(1, 3.4, 3.0)
        axes.plot([0, 1], [0, 1], color=_GRAY, linestyle="--", linewidth=1)
        for name, color in (("before", _ORANGE), ("after", _BLUE)):
            bins = [part for part in getattr(calibration, name).bins if part.n]
            axes.plot(
                [part.confidence for part in bins],
                [part.accuracy for part in bins],
                color=color,
                marker="o",
                markersize=4,
                label=f"{name} scaling",
            )
        axes.set(xlabel="mean probability", ylabel="right", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.legend(fontsize=8, loc="upper left")
        return _svg(figure)


def _integer_ticks(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
