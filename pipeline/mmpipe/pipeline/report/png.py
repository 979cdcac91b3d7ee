"""Charts as PNG files, for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mmpipe.pipeline.report.blocks import Table
from mmpipe.pipeline.report.charts import (
    COLOURS,
    Bars,
    Chart,
    Histogram,
    Intervals,
    Lines,
    Points,
    Speech,
    colour_of,
    is_drawn,
)
from mmpipe.pipeline.report.fitting import fitted
from mmpipe.pipeline.training.experiments.figures import png

__all__ = ["draw_matrix", "draw_png"]

_INK, _GRAY = "#1d2530", "#7a8290"
_PALETTE = [*COLOURS, _GRAY]
_NAMES = 240
"""Room for names beside bars, in the pixels of `text_width`."""

_STYLE: dict[Any, Any] = {"text.parse_math": False, "axes.spines.top": False, "axes.spines.right": False} | {
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def draw_png(chart: Chart) -> bytes:
    """A chart as a PNG file; equal charts give equal bytes."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_size(chart), layout="constrained")
        match chart:
            case Lines():
                _lines(figure.subplots(), chart)
            case Bars():
                _bars(figure.subplots(), chart)
            case Intervals():
                _intervals(figure.subplots(), chart)
            case Histogram():
                _histogram(figure.subplots(), chart)
            case Points():
                _points(figure, chart)
            case Speech():
                _speech(figure, chart)
            case _:
                assert_never(chart)
        return png(figure)


def draw_matrix(table: Table) -> bytes:
    """A table of shaded numbers as a PNG file."""
    names, texts = [row[0].text for row in table.rows], [[cell.text for cell in row[1:]] for row in table.rows]
    shares = np.array([[cell.share or 0.0 for cell in row[1:]] for row in table.rows])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(1.4 + 0.9 * shares.shape[1], 0.7 + 0.4 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.5, aspect="auto")
        axes.set_xticks(range(shares.shape[1]), table.columns[1:])
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        for row, line in enumerate(texts):
            for column, text in enumerate(line):
                axes.text(column, row, text, ha="center", va="center")
        return png(figure)


def _size(chart: Chart) -> tuple[float, float]:
    match chart:
        case Bars():
            return 5.0, 1.0 + 0.22 * len(chart.names) * len(chart.series)
        case Intervals():
            return 5.0, 1.0 + 0.3 * len(chart.names)
        case Points():
            return 4.4 * len(chart.colourings), 3.6
        case Speech():
            return 8.0, 3.8
        case _:
            return 4.6, 2.8


def _drawable(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Values for an axis; those that have no place on one are NaN, which is not drawn."""
    return np.array([value if is_drawn(value) else np.nan for value in values], np.float64)


def _lines(axes: Any, chart: Lines) -> None:
    if chart.unit_square:
        axes.plot([0, 1], [0, 1], color=_GRAY, linestyle="--", linewidth=1)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    for place, series in enumerate(chart.series):
        colour = COLOURS[colour_of(place)]
        marker = "o" if chart.markers or len(series.y) == 1 else None
        axes.plot(series.x, _drawable(series.y), color=colour, label=series.name, marker=marker)
        if series.low:
            ends = _drawable(series.low), _drawable(series.high)
            axes.fill_between(series.x, *ends, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    if chart.y_from_zero:
        axes.set_ylim(bottom=0)
    if len(chart.series) > 1:
        axes.legend()


def _names(axes: Any, names: Sequence[str], label: str) -> None:
    axes.set_yticks(range(len(names)), fitted(names, _NAMES))
    axes.invert_yaxis()
    axes.set(xlabel=label)


def _bars(axes: Any, chart: Bars) -> None:
    height = 0.8 / len(chart.series)
    for place, series in enumerate(chart.series):
        places = np.arange(len(chart.names)) + (place - (len(chart.series) - 1) / 2) * height
        axes.barh(places, _drawable(series.y), height, color=COLOURS[colour_of(place)], label=series.name)
        if series.low:
            axes.hlines(places, _drawable(series.low), _drawable(series.high), color=_INK, linewidth=1)
    _names(axes, chart.names, chart.value_label)
    if chart.top is not None:
        axes.set_xlim(0, chart.top)
    if len(chart.series) > 1:
        axes.legend()


def _intervals(axes: Any, chart: Intervals) -> None:
    places = range(len(chart.values))
    axes.hlines(places, _drawable(chart.low), _drawable(chart.high), color=COLOURS[0], linewidth=2)
    axes.plot(_drawable(chart.values), places, "o", color=COLOURS[0])
    axes.axvline(0, color=_GRAY, linestyle="--", linewidth=1)
    _names(axes, chart.names, chart.value_label)


def _histogram(axes: Any, chart: Histogram) -> None:
    axes.stairs(chart.counts, chart.edges, fill=True, color=COLOURS[0])
    axes.set(xlabel=chart.value_label, ylabel=chart.count_label)
    if chart.mark is not None:
        axes.axvline(chart.mark[0], color=_INK, linestyle="--", label=chart.mark[1])
        axes.legend()


def _points(figure: Figure, chart: Points) -> None:
    x, y = _drawable(chart.x), _drawable(chart.y)
    for axes, name in zip(figure.subplots(1, len(chart.colourings), squeeze=False)[0], chart.colourings, strict=True):
        colours = np.array(chart.colours(name))
        for value, colour in chart.legends[name].items():
            axes.scatter(x[colours == colour], y[colours == colour], s=5, color=_PALETTE[colour], label=value)
        axes.set(xlabel=chart.x_label, ylabel=chart.y_label, title=name)
        axes.legend(markerscale=2)


def _speech(figure: Figure, chart: Speech) -> None:
    above, below, words = figure.subplots(3, 1, sharex=True, height_ratios=(4, 5, 2))
    times = np.linspace(0, chart.seconds, len(chart.low))
    above.fill_between(times, chart.low, chart.high, color=COLOURS[0])
    above.set_yticks([])
    extent = (0, chart.seconds, 0, chart.top_hz / 1000)
    below.imshow(chart.spectrogram, cmap="magma", aspect="auto", extent=extent)
    below.set(ylabel="kHz")
    words.set(xlabel="seconds", yticks=[], ylim=(0, 1))
    words.spines["left"].set_visible(False)
    for word in chart.words:
        if word.start is not None:
            words.text(word.start, 1, word.text, rotation=-45, ha="left", va="top", fontsize=7)
