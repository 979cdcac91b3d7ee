"""Charts as inline SVG: text and colours follow the page's style, values are shown beside the pointer."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import cv2
import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from mmpipe.pipeline.report.charts import Bars, Chart, Histogram, Intervals, Lines, Points, Series, Speech

__all__ = ["draw_svg"]

_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 36
_GUTTER = 112
"""Room for the names of bars."""

_BAR = 13
_LARGEST = 1e100
_MOST_TIPS = 150
"""Values of a line that can be pointed at; of longer lines they are spread evenly."""


def draw_svg(chart: Chart) -> Markup:
    """A chart as an SVG element."""
    match chart:
        case Lines():
            return _lines(chart)
        case Bars():
            return _bars(chart)
        case Intervals():
            return _intervals(chart)
        case Histogram():
            return _histogram(chart)
        case Points():
            return _points(chart)
        case Speech():
            return _speech(chart)
        case _:
            assert_never(chart)


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` at places from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]

    def __call__(self, value: float) -> str:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return f"{self.start + share * (self.end - self.start):.1f}"


def _is_drawn(value: float) -> bool:
    """Whether a value has a place on an axis: ticks cannot be computed for the largest floating-point numbers."""
    return math.isfinite(value) and abs(value) < _LARGEST


def _axis(values: Sequence[float], start: float, end: float, *, integer: bool = False, fit: bool = False) -> _Axis:
    finite = [value for value in values if _is_drawn(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    ticks = [float(tick) for tick in MaxNLocator(5, integer=integer).tick_values(low, high)]
    if not fit:
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    return _Axis(low, high, start, end, [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9])


def _tick(value: float) -> str:
    return f"{value:,.6g}"


def _svg(label: str, width: float, height: float, parts: Sequence[Markup], kind: str = "chart") -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" style="--width:{}px" role="img" aria-label="{}">{}</svg>'
    ).format(kind, width, height, width, label, Markup("").join(parts))


def _frame(x: _Axis, y: _Axis, x_label: str, y_label: str) -> list[Markup]:
    """Grid lines, ticks and names of both axes."""
    row = Markup('<path class="grid" d="M{} {}H{}"/><text class="end" x="{}" y="{}" dy=".32em">{}</text>')
    parts = [row.format(x.start, y(tick), x.end, x.start - 5, y(tick), _tick(tick)) for tick in y.ticks]
    below = Markup('<text class="middle" x="{}" y="{}">{}</text>')
    parts += [below.format(x(tick), y.start + 14, _tick(tick)) for tick in x.ticks]
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(x.start, y.start, x.end))
    parts.append(
        Markup('<text class="middle name" x="{}" y="{}">{}</text>').format((x.start + x.end) / 2, y.start + 29, x_label)
    )
    if y_label:
        middle = (y.start + y.end) / 2
        parts.append(
            Markup('<text class="middle name" transform="translate(11 {}) rotate(-90)">{}</text>').format(
                middle, y_label
            )
        )
    return parts


def _lines(chart: Lines) -> Markup:
    xs = [value for series in chart.series for value in series.x]
    ys = [value for series in chart.series for value in (*series.y, *series.low, *series.high)]
    if chart.unit_square:
        xs, ys = [0.0, 1.0], [0.0, 1.0]
    if chart.y_from_zero:
        ys = [*ys, 0.0]
    left = _LEFT + (14 if chart.y_label else 0)
    whole = not chart.unit_square and all(float(value).is_integer() for value in xs)
    x = _axis(xs, left, _WIDTH - _RIGHT, integer=whole, fit=True)
    y = _axis(ys, _HEIGHT - _BOTTOM, _TOP)
    parts = _frame(x, y, chart.x_label, chart.y_label)
    if chart.unit_square:
        parts.append(Markup('<path class="diagonal" d="M{} {}L{} {}"/>').format(x(0), y(0), x(1), y(1)))
    for place, series in enumerate(chart.series):
        parts += _line(series, place, x, y, chart)
    return _svg(chart.label, _WIDTH, _HEIGHT, parts)


def _line(series: Series, place: int, x: _Axis, y: _Axis, chart: Lines) -> list[Markup]:
    points = [(a, b, n) for n, (a, b) in enumerate(zip(series.x, series.y, strict=True)) if _is_drawn(b)]
    parts = []
    if series.low:
        ends = [f"{x(a)} {y(b)}" for a, b in zip(series.x, series.low, strict=True)]
        ends += [f"{x(a)} {y(b)}" for a, b in reversed(list(zip(series.x, series.high, strict=True)))]
        parts.append(Markup('<path class="band c{}" d="M{}Z"/>').format(place, "L".join(ends)))
    parts.append(
        Markup('<path class="line c{}" d="M{}"/>').format(place, "L".join(f"{x(a)} {y(b)}" for a, b, _ in points))
    )
    step = max(1, -(-len(points) // _MOST_TIPS))
    for a, b, n in points[::step]:
        tip = series.tips[n] if series.tips else f"{series.name}: {b:.4g} ({chart.x_label} {_tick(a)})"
        kind = "mark" if chart.markers else "hit"
        parts.append(
            Markup('<circle class="{} c{}" cx="{}" cy="{}" r="{}" data-tip="{}"/>').format(
                kind, place, x(a), y(b), 3.5 if chart.markers else 5, tip
            )
        )
    return parts


def _name(name: str, y: float) -> Markup:
    short = name if len(name) <= 18 else f"{name[:17]}…"
    return Markup('<text class="end" x="{}" y="{}" dy=".32em" data-tip="{}">{}</text>').format(
        _GUTTER - 6, y, name, short
    )


def _bars(chart: Bars) -> Markup:
    row = _BAR * len(chart.series) + 7
    height = 6 + row * len(chart.names) + _BOTTOM
    values = [v for series in chart.series for v in (*series.y, *series.high)]
    x = _axis([0.0, *values] if chart.top is None else [0.0, chart.top], _GUTTER, _WIDTH - _RIGHT - 30)
    y = _Axis(0, 1, height - _BOTTOM, 2, ())
    parts = [Markup('<path class="grid" d="M{} 2V{}"/>').format(x(tick), y.start) for tick in x.ticks]
    parts += _frame(x, y, chart.value_label, "")
    for group, name in enumerate(chart.names):
        top = 5 + group * row
        parts.append(_name(name, top + _BAR * len(chart.series) / 2))
        for place, series in enumerate(chart.series):
            if not math.isfinite(series.y[group]):
                continue
            tip = series.tips[group] if series.tips else f"{name}, {series.name}: {_tick(round(series.y[group], 4))}"
            start, above = x.start, top + place * _BAR
            width = float(x(series.y[group])) - start
            parts.append(
                Markup('<rect class="bar c{}" x="{}" y="{}" width="{:.1f}" height="{}" data-tip="{}"/>').format(
                    place, start, above, max(width, 0.8), _BAR - 2, tip
                )
            )
            end = series.y[group]
            if series.low:
                low, end = series.low[group], series.high[group]
                middle = above + (_BAR - 2) / 2
                parts.append(Markup('<path class="whisker" d="M{} {}H{}"/>').format(x(low), middle, x(end)))
            parts.append(
                Markup('<text class="value" x="{:.1f}" y="{}" dy=".34em">{}</text>').format(
                    float(x(end)) + 4, above + (_BAR - 2) / 2, _tick(round(series.y[group], 1))
                )
            )
    return _svg(chart.label, _WIDTH, height, parts)


def _intervals(chart: Intervals) -> Markup:
    row = 24
    height = 6 + row * len(chart.names) + _BOTTOM
    x = _axis([0.0, *chart.low, *chart.high], _GUTTER, _WIDTH - _RIGHT)
    y = _Axis(0, 1, height - _BOTTOM, 2, ())
    parts = [Markup('<path class="grid" d="M{} 2V{}"/>').format(x(tick), y.start) for tick in x.ticks]
    parts += _frame(x, y, chart.value_label, "")
    parts.append(Markup('<path class="diagonal" d="M{} 2V{}"/>').format(x(0), y.start))
    for group, name in enumerate(chart.names):
        middle = 5 + group * row + row / 2
        value, low, high = chart.values[group], chart.low[group], chart.high[group]
        tip = f"{name}: {value:+.1f} [{low:+.1f}, {high:+.1f}]"
        parts.append(_name(name, middle))
        parts.append(
            Markup('<path class="interval" d="M{} {}H{}" data-tip="{}"/>').format(x(low), middle, x(high), tip)
        )
        parts.append(
            Markup('<circle class="mark c0" cx="{}" cy="{}" r="4.5" data-tip="{}"/>').format(x(value), middle, tip)
        )
    return _svg(chart.label, _WIDTH, height, parts)


def _histogram(chart: Histogram) -> Markup:
    height = 180
    x = _axis(chart.edges, _LEFT, _WIDTH - _RIGHT, fit=True)
    y = _axis([0.0, *chart.counts], height - _BOTTOM, _TOP, integer=True)
    parts = _frame(x, y, chart.value_label, "")
    for count, low, high in zip(chart.counts, chart.edges, chart.edges[1:], strict=False):
        left, right, top = float(x(low)), float(x(high)), float(y(count))
        tip = f"{low:.3g} to {high:.3g}: {count:,}"
        parts.append(
            Markup('<rect class="bar c0" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" data-tip="{}"/>').format(
                left, top, max(0.5, right - left - 0.8), y.start - top, tip
            )
        )
    if chart.mark is not None:
        value, name = chart.mark
        is_right = float(x(value)) > _WIDTH / 2
        parts.append(Markup('<path class="cut" d="M{} {}V{}"/>').format(x(value), _TOP, y.start))
        parts.append(
            Markup('<text class="note {}" x="{:.1f}" y="{}">{}</text>').format(
                "end" if is_right else "", float(x(value)) + (-5 if is_right else 5), _TOP + 9, name
            )
        )
    return _svg(chart.label, _WIDTH, height, parts)


def _points(chart: Points) -> Markup:
    height = 300
    x, y = _axis(chart.x, _LEFT, _WIDTH - _RIGHT), _axis(chart.y, height - _BOTTOM, _TOP)
    parts = _frame(x, y, chart.x_label, chart.y_label)
    every = [chart.colours(name) for name in chart.colourings]
    for place, tip in enumerate(chart.tips):
        colours = [colours[place] for colours in every]
        parts.append(
            Markup('<circle class="dot c{}" data-c="{}" cx="{}" cy="{}" r="2.6" data-tip="{}"/>').format(
                colours[0], " ".join(map(str, colours)), x(chart.x[place]), y(chart.y[place]), tip
            )
        )
    return _svg(chart.label, _WIDTH, height, parts)


def _speech(chart: Speech) -> Markup:
    width, wave, top = 720, 70, 4
    x = _axis([0.0, chart.seconds], 34, width - 8, fit=True)
    middle, half = top + wave / 2, wave / 2 - 2
    columns = np.linspace(x.start, x.end, len(chart.low))
    upper = [f"{a:.1f} {middle - half * b:.1f}" for a, b in zip(columns, chart.high, strict=True)]
    lower = [f"{a:.1f} {middle - half * b:.1f}" for a, b in zip(columns[::-1], chart.low[::-1], strict=True)]
    parts = [Markup('<path class="wave" d="M{}Z"/>').format("L".join([*upper, *lower]))]
    below, size = top + wave + 6, 84
    coloured = cv2.applyColorMap(chart.spectrogram, cv2.COLORMAP_MAGMA)
    data = base64.b64encode(cv2.imencode(".png", coloured)[1].tobytes()).decode()
    parts.append(
        Markup(
            '<image href="data:image/png;base64,{}" x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none"/>'
        ).format(data, x.start, below, x.end - x.start, size)
    )
    for name, place in ((f"{chart.top_hz / 1000:.0f} kHz", below + 8), ("0", below + size - 2)):
        parts.append(Markup('<text class="end" x="{}" y="{}">{}</text>').format(x.start - 4, place, name))
    ends, deepest = [-1.0, -1.0, -1.0], -1
    for word in chart.words:
        if word.start is None:
            continue
        end = word.end if word.end is not None else word.start
        left, room = float(x(word.start)), 6.4 * len(word.text)
        level = next((n for n in range(3) if ends[n] < left), 2)
        ends[level], deepest = left + room, max(deepest, level)
        base = below + size + 14 + 14 * level
        parts.append(
            Markup('<path class="tick" d="M{} {}V{}"/><text x="{}" y="{}" data-tip="{}">{}</text>').format(
                left, below, base - 9, left, base, f"{word.text}: {word.start:.2f} to {end:.2f} s", word.text
            )
        )
    height = below + size + 18 + (14 * (1 + deepest) if deepest >= 0 else 0)
    below_all = Markup('<text class="middle" x="{}" y="{}">{} s</text>')
    parts += [below_all.format(x(tick), height - 4, _tick(tick)) for tick in x.ticks]
    return _svg(chart.label, width, height, parts, "chart wide")
