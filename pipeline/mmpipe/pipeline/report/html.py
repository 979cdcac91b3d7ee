"""The report as one self-contained HTML page: it asks for nothing from outside, and equal inputs give equal bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import chain, count

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from mmpipe.pipeline.outputs import PAGE_MARK
from mmpipe.pipeline.report.blocks import Section, slug
from mmpipe.pipeline.report.charts import COLOURS, DARK_COLOURS
from mmpipe.pipeline.report.svg import draw_svg

__all__ = ["to_html"]


class _Anchors:
    """Ids of headings, which links can name."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, section: str, text: str) -> str:
        """The id of a heading of a section; equal headings get a number."""
        plain = f"{section}-{slug(text) or 'part'}"
        names = chain([plain], (f"{plain}-{number}" for number in count(2)))
        name = next(name for name in names if name not in self._given)
        self._given.add(name)
        return name


def to_html(title: str, sections: Sequence[Section]) -> str:
    """The page; every text of data is escaped."""
    environment = Environment(
        loader=PackageLoader("mmpipe.pipeline.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(colours=COLOURS, dark_colours=DARK_COLOURS, anchor=_Anchors())
    environment.filters["svg"] = draw_svg
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["png"] = lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return environment.get_template("report.html.j2").render(mark=PAGE_MARK, title=title, sections=sections)
