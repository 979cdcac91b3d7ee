"""What a link asks for: filters, page, and the rows that fit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.browse.catalog import Catalog
from mmpipe.pipeline.store.marks import Mark

__all__ = ["MARKED", "PAGE_ROWS", "Filters", "Rows"]

Rows = npt.NDArray[np.int64]

PAGE_ROWS = 50
"""Rows of a page of the list."""

MARKED = {"any": "marked", "bad": "bad", "label": "label corrected", "no": "not marked"}
"""Values of the filter `mark`, and how the page calls them."""

_LONGEST = 500
"""Characters of a value."""


@dataclass(frozen=True)
class Filters:
    """The filters of a link.

    Attributes:
        text: words that the id or the transcript holds.
        facets: a value by facet, such as `label` or `status.faces`.
        low: the lowest probability of the pseudo-label.
        high: the highest.
        mark: a key of `MARKED`, or empty.
        page: counted from 1.
    """

    text: str = ""
    facets: Mapping[str, str] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    mark: str = ""
    page: int = 1

    @classmethod
    def parse(cls, parameters: Mapping[str, str], catalog: Catalog) -> Self:
        """The filters of a link's parameters; empty ones are left out.

        Raises:
            UsageError: a parameter has a value that no filter takes.
        """
        given = {name: value for name, value in parameters.items() if value.strip()}
        if long := [name for name, value in given.items() if len(value) > _LONGEST]:
            raise UsageError(f"{long[0][:40]} is longer than {_LONGEST} characters")
        facets = {name: given[_parameter(name)] for name in catalog.facets if _parameter(name) in given}
        mark, page = given.get("mark", ""), given.get("page", "1")
        if mark and mark not in MARKED:
            raise UsageError(f"mark={mark}: expected {', '.join(MARKED)}")
        if not re.fullmatch("[1-9][0-9]{0,8}", page):
            raise UsageError(f"page={page[:40]}: expected a number from 1")
        low, high = (_probability(name, given.get(name)) for name in ("low", "high"))
        return cls(given.get("q", ""), facets, low, high, mark, int(page))

    def query(self, **changes: Any) -> str:
        """As the query of a link, with some of the attributes changed."""
        asked = replace(self, **changes)
        values: dict[str, Any] = {"q": asked.text}
        values |= {_parameter(name): value for name, value in asked.facets.items()}
        values |= {"low": asked.low, "high": asked.high, "mark": asked.mark, "page": asked.page}
        return urlencode({n: v for n, v in values.items() if v not in (None, "") and (n, v) != ("page", 1)})

    def rows(self, catalog: Catalog, marks: Mapping[str, Mark]) -> Rows:
        """The rows that fit."""
        fits = np.ones(len(catalog), np.bool_)
        for name, value in self.facets.items():
            fits &= catalog.facets[name].mask(value)
        if self.low is not None:
            fits &= catalog.probability >= self.low
        if self.high is not None:
            fits &= catalog.probability <= self.high
        if self.mark:
            fits &= _marked(self.mark, catalog, marks)
        if self.text and fits.any():
            fits &= catalog.holding(self.text.split())
        return np.flatnonzero(fits)


def _parameter(facet: str) -> str:
    """What a link calls a facet: `store` and `id` name an utterance there."""
    return "from" if facet == "store" else facet


def _marked(mark: str, catalog: Catalog, marks: Mapping[str, Mark]) -> npt.NDArray[np.bool_]:
    if mark == "no":
        return ~catalog.among(list(marks))
    wanted = {
        "any": list(marks),
        "bad": [utterance_id for utterance_id, held in marks.items() if held.is_bad],
        "label": [utterance_id for utterance_id, held in marks.items() if held.label is not None],
    }
    return catalog.among(wanted[mark])


def _probability(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(f"{name}={text[:40]}: expected a probability from 0 to 1")
    return value
