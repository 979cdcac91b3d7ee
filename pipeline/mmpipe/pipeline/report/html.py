"""The report as one self-contained HTML page: it asks for nothing from outside, and equal inputs give equal bytes."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from mmpipe.pipeline.outputs import PAGE_MARK
from mmpipe.pipeline.report.blocks import Section
from mmpipe.pipeline.report.svg import draw_svg

__all__ = ["to_html"]


def to_html(title: str, sections: Sequence[Section]) -> str:
    """The page; every text of data is escaped."""
    environment = Environment(
        loader=PackageLoader("mmpipe.pipeline.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = draw_svg
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["png"] = lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return environment.get_template("report.html.j2").render(mark=PAGE_MARK, title=title, sections=sections)
