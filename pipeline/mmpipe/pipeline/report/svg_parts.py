"""What the SVG charts share: axes and their frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from mmpipe.pipeline.report.charts import is_drawn

__all__ = ["Axis", "axis", "draw_frame", "element", "tick_text"]


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` at places from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]

    def __call__(self, value: float) -> str:
        """The place of a value."""
        share = (value - self.low) / ((self.high - self.low) or 1)
        return f"{self.start + share * (self.end - self.start):.1f}"


def axis(values: Sequence[float], start: float, end: float, *, integer: bool = False, fit: bool = False) -> Axis:
    """An axis that holds the values.

    Args:
        values: those that are shown; what cannot be drawn is left out.
        start: the place of the least.
        end: the place of the largest.
        integer: whether only whole numbers have ticks.
        fit: whether it ends at the values, not at ticks.
    """
    finite = [value for value in values if is_drawn(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    ticks = [float(tick) for tick in MaxNLocator(5, integer=integer).tick_values(low, high)]
    if not fit:
        low, high = min(low, ticks[0]), max(high, ticks[-1])
    return Axis(low, high, start, end, [tick for tick in ticks if low - 1e-9 <= tick <= high + 1e-9])


def tick_text(value: float) -> str:
    """A value of an axis or beside a bar.

    Example:
        >>> tick_text(-1234.5)
        '\u22121,234.5'
    """
    return f"{value:,.6g}".replace("-", "\u2212")


def element(label: str, width: float, height: float, parts: Sequence[Markup], kind: str = "chart") -> Markup:
    """The SVG element of a chart."""
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, label, Markup("").join(parts)
    )


def draw_frame(x: Axis, y: Axis, x_label: str, y_label: str) -> list[Markup]:
    """Grid lines, ticks and names of both axes."""
    row = Markup('<path class="grid" d="M{} {}H{}"/><text class="end" x="{}" y="{}" dy=".32em">{}</text>')
    parts = [row.format(x.start, y(tick), x.end, x.start - 5, y(tick), tick_text(tick)) for tick in y.ticks]
    below = Markup('<text class="middle" x="{}" y="{}">{}</text>')
    parts += [below.format(x(tick), y.start + 14, tick_text(tick)) for tick in x.ticks]
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(x.start, y.start, x.end))
    parts.append(below.format((x.start + x.end) / 2, y.start + 29, x_label))
    if y_label:
        place = Markup('<text class="middle" transform="translate(11 {}) rotate(-90)">{}</text>')
        parts.append(place.format((y.start + y.end) / 2, y_label))
    return parts
