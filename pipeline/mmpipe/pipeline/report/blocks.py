"""What a report is made of: sections of blocks, which `html` and `markdown` write. A block holds data, no drawing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmpipe.pipeline.report.charts import Chart

__all__ = [
    "Block",
    "Cards",
    "Cell",
    "Details",
    "Figure",
    "Grid",
    "Heading",
    "Section",
    "Sheet",
    "Strip",
    "Table",
    "Text",
    "number",
    "percent",
    "plural",
    "slug",
]


_LONG = 24
"""Characters of the longest word that is not broken."""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph; a quiet one is a remark."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it shows.
        value: what its column is sorted by; None sorts by the text.
        share: how dark it is shaded, in [0, 1]; None does not shade it.
        tip: what is shown beside the pointer.
    """

    text: str
    value: float | None = None
    share: float | None = None
    tip: str = ""

    @property
    def has_long_word(self) -> bool:
        """Whether a word of it is so long that it has to be broken on paper."""
        return any(len(word) > _LONG for word in self.text.split())


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: their names.
        rows: one cell a column.
        caption: what it shows.
        matrix: whether it is a square of shaded numbers, whose first column names the rows.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    matrix: bool = False

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers, which stand on its right side."""
        values = [row[column] for row in self.rows if row[column].text]
        return bool(values) and all(cell.value is not None for cell in values)


@dataclass(frozen=True)
class Figure:
    """A chart with its caption."""

    chart: Chart
    caption: str


@dataclass(frozen=True)
class Grid:
    """Figures side by side, as many as the width holds."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Strip:
    """Face crops of one utterance side by side.

    Attributes:
        name: the utterance.
        text: its label, or what it is chosen for.
        said: its transcript.
        note: a remark, such as in how many frames the face was found.
        image: PNG of crops of 64x64 pixels.
        missing: for each crop, whether no face was found in its frame.
        frame: PNG of a frame with the face's box; None without the corpus.
    """

    name: str
    text: str
    said: str
    note: str
    image: bytes
    missing: Sequence[bool]
    frame: bytes | None = None

    @property
    def without(self) -> str:
        """Which crops are of frames without a face, counted from 1; empty where there are none.

        Example:
            >>> Strip("", "", "", "", b"", [False, True, True]).without
            '; without a face: 2, 3'
        """
        numbers = [str(number) for number, is_missing in enumerate(self.missing, 1) if is_missing]
        return f"; without a face: {', '.join(numbers)}" if numbers else ""


@dataclass(frozen=True)
class Sheet:
    """Strips side by side, as many as the width holds."""

    strips: Sequence[Strip]


@dataclass(frozen=True)
class Cards:
    """Figures in large type, each with what it is."""

    cards: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away."""

    summary: str
    blocks: Sequence[Block]


Block = Heading | Text | Table | Figure | Grid | Sheet | Cards | Details


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        id: the target of links to it.
        title: its heading.
        blocks: what it shows.
    """

    id: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def number(value: float, digits: int = 0) -> Cell:
    """A number with thousands apart.

    Example:
        >>> number(12345.678, 1).text
        '12,345.7'
    """
    return Cell(f"{value:,.{digits}f}", float(value))


def percent(share: float) -> Cell:
    """A share in per cent.

    Example:
        >>> percent(0.123).text
        '12.3'
    """
    return Cell(f"{100 * share:.1f}", 100 * share)


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "fold"), plural(2000, "fold")
        ('1 fold', '2,000 folds')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def slug(text: str) -> str:
    """A text as part of an id or of a file's name: lower case, letters and digits only.

    Example:
        >>> slug("Table 7 of the paper: A+V+L")
        'table-7-of-the-paper-a-v-l'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-")
