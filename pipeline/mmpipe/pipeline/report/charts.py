"""Charts as data. `svg` draws them for the page, `png` for Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = [
    "COLOURS",
    "DARK_COLOURS",
    "PLAIN",
    "Bars",
    "Chart",
    "Histogram",
    "Intervals",
    "Lines",
    "Points",
    "Series",
    "Speech",
    "Spoken",
    "colour_of",
    "histogram",
    "is_drawn",
]

COLOURS = ("#3d86cc", "#d9691e", "#24562f", "#6f0c6f", "#dc2c7a", "#008581", "#78663d", "#0f3fc9")
"""Of series and groups on white, in their order; those who do not see red or green tell them apart, too."""

DARK_COLOURS = ("#2f8fc0", "#c9682a", "#aff19b", "#fcc6f8", "#d07186", "#29b9aa", "#c9a10b", "#a081fe")
"""The same on a dark ground."""

_OTHER = len(COLOURS)
"""The colour of what has no colour of its own: gray."""

_MOST_BINS = 30
"""Bins of a histogram."""

_LARGEST = 1e100
"""Value that is drawn."""

PLAIN = ("unlabelled", "unknown")
"""Values that are gray however frequent they are."""


def colour_of(place: int) -> int:
    """The colour of a series by its place; of more series than colours some share one."""
    return place % len(COLOURS)


def is_drawn(value: float) -> bool:
    """Whether a value has a place on an axis: ticks cannot be computed for the largest floating-point numbers."""
    return math.isfinite(value) and abs(value) < _LARGEST


@dataclass(frozen=True)
class Series:
    """One line, or the bars of one colour.

    Attributes:
        name: of the legend.
        y: values; of bars one a name.
        x: places of a line.
        low: lower ends of intervals, if it has any.
        high: upper ends.
        tips: what to show of each value; empty shows the value.
    """

    name: str
    y: Sequence[float]
    x: Sequence[float] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    tips: Sequence[str] = ()


@dataclass(frozen=True)
class Lines:
    """Lines over a common axis.

    Attributes:
        label: what the chart shows, for those who do not see it.
        series: the lines.
        x_label: of the axis.
        y_label: of the axis.
        markers: whether the values are marked.
        unit_square: whether both axes go from 0 to 1 and the diagonal is drawn.
        y_from_zero: whether the axis of the values begins at 0.
    """

    label: str
    series: Sequence[Series]
    x_label: str
    y_label: str = ""
    markers: bool = False
    unit_square: bool = False
    y_from_zero: bool = False


@dataclass(frozen=True)
class Bars:
    """Horizontal bars by name, those of several series under each other.

    Attributes:
        label: what the chart shows.
        names: of the groups of bars.
        series: one value a name; NaN draws none.
        value_label: of the axis.
        top: where the axis ends; None ends at the largest value.
    """

    label: str
    names: Sequence[str]
    series: Sequence[Series]
    value_label: str
    top: float | None = None


@dataclass(frozen=True)
class Intervals:
    """Values with intervals by name, about zero.

    Attributes:
        label: what the chart shows.
        names: of the rows.
        values: of the rows.
        low: lower ends.
        high: upper ends.
        value_label: of the axis.
    """

    label: str
    names: Sequence[str]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    value_label: str


@dataclass(frozen=True)
class Histogram:
    """Counts by bin.

    Attributes:
        label: what the chart shows.
        counts: of the bins.
        edges: one more than bins.
        value_label: of the axis.
        count_label: of the other axis, what is counted.
        mark: a value that a dashed line marks, and its name.
        whole: whether the values are whole numbers; then edges lie between them.
    """

    label: str
    counts: Sequence[int]
    edges: Sequence[float]
    value_label: str
    count_label: str
    mark: tuple[float, str] | None = None
    whole: bool = False

    @property
    def tips(self) -> list[str]:
        """What to show of each bin."""
        pairs = [*zip(self.edges, self.edges[1:], strict=False)]
        if self.whole:
            bins = [(round(low + 0.5), round(high - 0.5)) for low, high in pairs]
            names = [f"{low:,}" if low == high else f"{low:,} to {high:,}" for low, high in bins]
        else:
            names = [f"{low:.3g} to {high:.3g}" for low, high in pairs]
        return [f"{name}: {count:,}" for name, count in zip(names, self.counts, strict=True)]


@dataclass(frozen=True)
class Points:
    """A cloud of points, coloured by one of several attributes.

    Attributes:
        label: what the chart shows.
        x: places.
        y: places.
        tips: what to show of each point.
        colourings: by attribute the value of each point.
        x_label: of the axis.
        y_label: of the axis.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    tips: Sequence[str]
    colourings: Mapping[str, Sequence[str]]
    x_label: str
    y_label: str

    @cached_property
    def legends(self) -> dict[str, dict[str, int]]:
        """By attribute the colour of each value; the most frequent ones have colours of their own."""
        legends = {}
        for name, values in self.colourings.items():
            unique, counts = np.unique(np.array(values, object).astype(str), return_counts=True)
            order = sorted(zip(-counts, unique, strict=True))
            named = [str(value) for _, value in order if value not in PLAIN]
            kept = sorted(named[: len(COLOURS)])
            legends[name] = {value: place for place, value in enumerate(kept)}
            legends[name] |= {str(value): _OTHER for _, value in order if value in PLAIN}
            if rest := len(named) - len(kept):
                legends[name][f"{rest} {'other' if rest == 1 else 'others'}"] = _OTHER
        return legends

    def colours(self, name: str) -> list[int]:
        """The colour of each point by one of the attributes."""
        legend = self.legends[name]
        return [legend.get(value, _OTHER) for value in self.colourings[name]]


@dataclass(frozen=True)
class Spoken:
    """A word with its times in seconds; None where they are unknown."""

    text: str
    start: float | None
    end: float | None


@dataclass(frozen=True)
class Speech:
    """Waveform, spectrogram and words of an utterance.

    Attributes:
        label: what the chart shows.
        seconds: its length.
        low: the least sample of each column, in [-1, 1].
        high: the largest.
        spectrogram: uint8 [F, T], high frequencies first, loud is bright.
        top_hz: frequency of the spectrogram's upper edge.
        words: what is said.
    """

    label: str
    seconds: float
    low: Sequence[float]
    high: Sequence[float]
    spectrogram: npt.NDArray[np.uint8]
    top_hz: float
    words: Sequence[Spoken]


Chart = Lines | Bars | Intervals | Histogram | Points | Speech


def histogram(
    values: npt.NDArray[np.float64], label: str, value_label: str, mark: tuple[float, str] | None = None
) -> Histogram:
    """A histogram of a value of utterances; bins of whole numbers hold equally many of them.

    Example:
        >>> histogram(np.array([2.0, 3.0, 3.0, 5.0]), "words", "words").tips
        ['2: 1', '3: 2', '4: 0', '5: 1']
    """
    whole = bool((values == np.round(values)).all())
    edges: int | npt.NDArray[np.float64] = min(_MOST_BINS, max(5, round(len(values) ** 0.5)))
    if whole:
        step = 1 + int(np.ptp(values)) // _MOST_BINS
        edges = np.arange(values.min(), values.max() + step + 0.5, step) - 0.5
    counts, edges = np.histogram(values, bins=edges)
    return Histogram(label, counts.tolist(), edges.tolist(), value_label, "utterances", mark, whole)
