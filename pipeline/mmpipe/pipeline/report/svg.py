"""Charts as inline SVG: text and colours follow the page's style, values are shown beside the pointer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import assert_never

import cv2
import numpy as np
from markupsafe import Markup

from mmpipe.pipeline.report.charts import (
    Bars,
    Chart,
    Histogram,
    Intervals,
    Lines,
    Points,
    Series,
    Speech,
    colour_of,
    is_drawn,
)
from mmpipe.pipeline.report.fitting import fitted, text_width
from mmpipe.pipeline.report.svg_parts import Axis, axis, draw_frame, element, tick_text

__all__ = ["draw_svg"]

_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 36
_GUTTER = 190
"""The most room that names beside bars take; longer ones are shortened."""

_BAR = 13
_WORD_ROWS = 3
"""Rows below a spectrogram that words are spread over."""

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


def _lines(chart: Lines) -> Markup:
    xs = [value for series in chart.series for value in series.x]
    ys = [value for series in chart.series for value in (*series.y, *series.low, *series.high)]
    if chart.unit_square:
        xs, ys = [0.0, 1.0], [0.0, 1.0]
    if chart.y_from_zero:
        ys = [*ys, 0.0]
    left = _LEFT + (14 if chart.y_label else 0)
    whole = not chart.unit_square and all(float(value).is_integer() for value in xs)
    x = axis(xs, left, _WIDTH - _RIGHT, integer=whole, fit=True)
    y = axis(ys, _HEIGHT - _BOTTOM, _TOP)
    parts = draw_frame(x, y, chart.x_label, chart.y_label)
    if chart.unit_square:
        parts.append(Markup('<path class="diagonal" d="M{} {}L{} {}"/>').format(x(0), y(0), x(1), y(1)))
    for place, series in enumerate(chart.series):
        parts += _line(series, colour_of(place), x, y, chart)
    return element(chart.label, _WIDTH, _HEIGHT, parts)


def _line(series: Series, place: int, x: Axis, y: Axis, chart: Lines) -> list[Markup]:
    points = [(a, b, n) for n, (a, b) in enumerate(zip(series.x, series.y, strict=True)) if is_drawn(b)]
    parts = []
    if series.low:
        held = [(a, low, high) for a, low, high in zip(series.x, series.low, series.high, strict=True) if is_drawn(low)]
        ends = [f"{x(a)} {y(low)}" for a, low, _ in held] + [f"{x(a)} {y(high)}" for a, _, high in held[::-1]]
        parts.append(Markup('<path class="band c{}" d="M{}Z"/>').format(place, "L".join(ends)))
    parts.append(
        Markup('<path class="line c{}" d="M{}"/>').format(place, "L".join(f"{x(a)} {y(b)}" for a, b, _ in points))
    )
    step = max(1, -(-len(points) // _MOST_TIPS))
    for a, b, n in points[::step]:
        tip = series.tips[n] if series.tips else f"{series.name}: {b:.4g} ({chart.x_label} {tick_text(a)})"
        is_marked = chart.markers or len(points) == 1
        parts.append(
            Markup('<circle class="{} c{}" cx="{}" cy="{}" r="{}" data-tip="{}"/>').format(
                "mark" if is_marked else "hit", place, x(a), y(b), 3.5 if is_marked else 5, tip
            )
        )
    return parts


def _gutter(names: Sequence[str]) -> float:
    """Room for the names beside bars: that of the longest one, but not most of the chart."""
    return min(_GUTTER, 12 + max(map(text_width, names), default=0.0))


def _names(names: Sequence[str], gutter: float, places: Sequence[float]) -> list[Markup]:
    """Names beside bars; a shortened one says itself in full beside the pointer."""
    parts = []
    for name, shown, y in zip(names, fitted(names, gutter - 8), places, strict=True):
        tip = Markup(' data-tip="{}"').format(name) if shown != name else ""
        parts.append(
            Markup('<text class="end" x="{:.1f}" y="{}" dy=".32em"{}>{}</text>').format(gutter - 6, y, tip, shown)
        )
    return parts


def _bars(chart: Bars) -> Markup:
    row = _BAR * len(chart.series) + 7
    height = 6 + row * len(chart.names) + _BOTTOM
    values = [v for series in chart.series for v in (*series.y, *series.high) if is_drawn(v)]
    is_whole = all(float(value).is_integer() for value in values)
    texts = [[f"{v:,.{0 if is_whole else 1}f}" if is_drawn(v) else "" for v in series.y] for series in chart.series]
    gutter, room = _gutter(chart.names), 6 + max((text_width(text) for part in texts for text in part), default=0.0)
    held = [0.0, *values] if chart.top is None else [0.0, chart.top]
    x = axis(held, gutter, _WIDTH - max(_RIGHT, room), integer=is_whole and chart.top is None)
    y = Axis(0, 1, height - _BOTTOM, 2, ())
    parts = [Markup('<path class="grid" d="M{} 2V{}"/>').format(x(tick), y.start) for tick in x.ticks]
    parts += draw_frame(x, y, chart.value_label, "")
    tops = [5 + row * group for group in range(len(chart.names))]
    parts += _names(chart.names, gutter, [top + _BAR * len(chart.series) / 2 for top in tops])
    for group, (name, top) in enumerate(zip(chart.names, tops, strict=True)):
        for place, series in enumerate(chart.series):
            end = series.y[group]
            if not is_drawn(end):
                continue
            tip = series.tips[group] if series.tips else f"{name}, {series.name}: {tick_text(round(end, 4))}"
            above, width = top + place * _BAR, float(x(end)) - x.start
            parts.append(
                Markup('<rect class="bar c{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}" data-tip="{}"/>').format(
                    colour_of(place), x.start, above, max(width, 0.8), _BAR - 2, tip
                )
            )
            middle = above + (_BAR - 2) / 2
            if series.low and is_drawn(series.low[group]):
                low, high = series.low[group], series.high[group]
                parts.append(Markup('<path class="whisker" d="M{} {}H{}"/>').format(x(low), middle, x(high)))
                end = max(end, high)
            parts.append(
                Markup('<text x="{:.1f}" y="{}" dy=".34em">{}</text>').format(
                    float(x(end)) + 4, middle, texts[place][group]
                )
            )
    return element(chart.label, _WIDTH, height, parts)


def _intervals(chart: Intervals) -> Markup:
    row = 24
    height = 6 + row * len(chart.names) + _BOTTOM
    gutter = _gutter(chart.names)
    x = axis([0.0, *chart.low, *chart.high], gutter, _WIDTH - _RIGHT)
    y = Axis(0, 1, height - _BOTTOM, 2, ())
    parts = [Markup('<path class="grid" d="M{} 2V{}"/>').format(x(tick), y.start) for tick in x.ticks]
    parts += draw_frame(x, y, chart.value_label, "")
    parts.append(Markup('<path class="diagonal" d="M{} 2V{}"/>').format(x(0), y.start))
    places = [5 + group * row + row / 2 for group in range(len(chart.names))]
    parts += _names(chart.names, gutter, places)
    for group, (name, middle) in enumerate(zip(chart.names, places, strict=True)):
        value, low, high = chart.values[group], chart.low[group], chart.high[group]
        if not all(map(is_drawn, (value, low, high))):
            continue
        tip = f"{name}: {value:+.1f} [{low:+.1f}, {high:+.1f}]"
        row_of = Markup(
            '<g data-tip="{}"><rect class="pad" x="{}" y="{}" width="{:.1f}" height="{}"/>'
            '<path class="interval" d="M{} {}H{}"/><circle class="mark c0" cx="{}" cy="{}" r="4.5"/></g>'
        )
        width = float(x(high)) - float(x(low))
        parts.append(
            row_of.format(tip, x(low), middle - row / 2, width, row, x(low), middle, x(high), x(value), middle)
        )
    return element(chart.label, _WIDTH, height, parts)


def _histogram(chart: Histogram) -> Markup:
    top = _TOP + (14 if chart.mark is not None else 0)
    height = 170 + top
    x = axis(chart.edges, _LEFT + 14, _WIDTH - _RIGHT, integer=chart.whole, fit=True)
    y = axis([0.0, *chart.counts], height - _BOTTOM, top, integer=True)
    parts = draw_frame(x, y, chart.value_label, chart.count_label)
    for count, low, high, tip in zip(chart.counts, chart.edges, chart.edges[1:], chart.tips, strict=False):
        left, right, above = float(x(low)), float(x(high)), float(y(count))
        parts.append(
            Markup('<rect class="bar c0" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" data-tip="{}"/>').format(
                left, above, max(0.5, right - left - 0.8), y.start - above, tip
            )
        )
    if chart.mark is not None:
        value, name = chart.mark
        is_right = float(x(value)) > _WIDTH / 2
        parts.append(Markup('<path class="cut" d="M{} {}V{}"/>').format(x(value), _TOP - 4, y.start))
        parts.append(
            Markup('<text class="{}" x="{:.1f}" y="{}">{}</text>').format(
                "end" if is_right else "", float(x(value)) + (-5 if is_right else 5), _TOP + 4, name
            )
        )
    return element(chart.label, _WIDTH, height, parts)


def _points(chart: Points) -> Markup:
    height = 300
    x, y = axis(chart.x, _LEFT, _WIDTH - _RIGHT), axis(chart.y, height - _BOTTOM, _TOP)
    parts = draw_frame(x, y, chart.x_label, chart.y_label)
    every = [chart.colours(name) for name in chart.colourings]
    for place, tip in enumerate(chart.tips):
        if not (is_drawn(chart.x[place]) and is_drawn(chart.y[place])):
            continue
        colours = [colours[place] for colours in every]
        parts.append(
            Markup('<circle class="dot c{}" data-c="{}" cx="{}" cy="{}" r="2.6" data-tip="{}"/>').format(
                colours[0], " ".join(map(str, colours)), x(chart.x[place]), y(chart.y[place]), tip
            )
        )
    return element(chart.label, _WIDTH, height, parts)


def _speech(chart: Speech) -> Markup:
    width, wave, top = 720, 70, 4
    x = axis([0.0, chart.seconds], 42, width - 18, fit=True)
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
    words, rows = _words(chart, x, below, size)
    height = below + size + 18 + 14 * rows
    below_all = Markup('<text class="middle" x="{}" y="{}">{} s</text>')
    parts += [*words, *(below_all.format(x(tick), height - 4, tick_text(tick)) for tick in x.ticks)]
    return element(chart.label, width, height, parts, "chart wide")


def _words(chart: Speech, x: Axis, top: float, size: float) -> tuple[list[Markup], int]:
    """Words where they begin, in rows below the spectrogram so that none covers another; and how many rows."""
    parts, ends = [], [-1.0] * _WORD_ROWS
    for word in chart.words:
        if word.start is None:
            continue
        end = word.end if word.end is not None else word.start
        left = float(x(word.start))
        row = next((n for n in range(_WORD_ROWS) if ends[n] < left), int(np.argmin(ends)))
        ends[row] = left + text_width(word.text) + 3
        base = top + size + 14 + 14 * row
        parts.append(
            Markup('<path class="tick" d="M{} {}V{}"/><text x="{}" y="{}" data-tip="{}">{}</text>').format(
                left, top, base - 9, left, base, f"{word.text}: {word.start:.2f} to {end:.2f} s", word.text
            )
        )
    return parts, sum(end > 0 for end in ends)
