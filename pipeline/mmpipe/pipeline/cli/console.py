"""What commands print: one console, and tables of one look."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmpipe.core.text import printable

__all__ = ["console", "lines", "next_command", "result", "table"]

_TAG = re.compile(r"\[(/|bold|dim|green|red|yellow|bold red|bold cyan)\]")
"""The styles that messages use. Whatever else is in brackets is text, such as the name of a file."""


class _Console(Console):
    """A console on which data cannot be taken for markup, emoji or control sequences."""

    def render_str(self, text: str, *, markup: bool | None = None, **options: Any) -> Text:
        """A text with the styles of its tags."""
        del options
        text = lines(text)
        if markup is False:
            return Text(text)
        styled, styles, end = Text(), list[str](), 0
        for tag in _TAG.finditer(text):
            styled.append(text[end : tag.start()], styles[-1] if styles else None)
            end = tag.end()
            if tag[1] != "/":
                styles.append(tag[1])
            elif styles:
                styles.pop()
            else:
                styled.append(tag[0])
        return styled.append(text[end:], styles[-1] if styles else None)


console = _Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
)
"""Standard output; a log file or pipe gets wide lines, unless COLUMNS says how wide they may be."""

_PADDING = 2
"""Columns between two columns of a table."""

_NARROWEST = 12
"""A column of text may be wrapped to this width; a table that needs narrower ones is printed as a list."""


def lines(text: str) -> str:
    r"""A text of several lines that is safe for any terminal.

    Example:
        >>> lines("one\n\ttwo \x1b[31m")
        'one\n\ttwo \\x1b[31m'
    """
    return re.sub(r"[^\n\t]+", lambda part: printable(part[0]), text)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned, everything else is left-aligned.

    Where it is wider than the console, its longest columns are wrapped; where that is not enough, each row becomes a
    list of its cells. No text is left out, and no line is wider than the console.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, [name, *(row[number] for row in cells)])) for number, name in enumerate(columns)]
    left = console.width - _PADDING * (len(columns) - 1)
    if sum(min(width, _NARROWEST) for width in widths) > left:
        _print_list(title, columns, cells)
        return
    while sum(widths) > left:
        longest = max(range(len(widths)), key=lambda number: widths[number])
        widths[longest] -= 1
    _print_wrapped(Text(title, "bold"))
    view = Table(header_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        is_number = all(row[number].rstrip("%").replace(".", "", 1).isdigit() for row in cells)
        view.add_column(
            Text(column), justify="right" if is_number else "left", overflow="fold", width=widths[number], no_wrap=False
        )
    for row in cells:
        view.add_row(*map(Text, row))
    console.print(view)


def _print_list(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    _print_wrapped(Text(title, "bold"))
    for row in cells:
        for number, (column, cell) in enumerate(zip(columns, row, strict=True)):
            _print_wrapped(Text(f"{'- ' if number == 0 else '  '}{column}: {cell}"))


def _print_wrapped(text: Text) -> None:
    """Print a part of a table: no line is wider than the console."""
    console.print(text, soft_wrap=False, overflow="fold", no_wrap=False)


def result(text: str) -> None:
    """Print the line that says what a command made, with --quiet too."""
    was, console.quiet = console.quiet, False
    console.print(text, markup=False)
    console.quiet = was


def next_command(text: str) -> None:
    """Print the command to type next."""
    console.print(Text.assemble("\nNext: ", (lines(text), "bold cyan")), soft_wrap=True)
