"""What commands print: one console, and tables of one look."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mmpipe.core.text import printable

__all__ = ["complain", "console", "next_command", "result", "styled", "table"]


class _Console(Console):
    """Prints texts as they are: no markup, and control characters as escapes, which no terminal obeys."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts, each as one line, and what rich can print."""
        super().print(*(_line(o) if isinstance(o, str) else o for o in objects), **options)


def _line(text: str) -> str:
    """One line; what the program itself puts before it, a line break, stays one."""
    return "\n" + printable(text[1:]) if text.startswith("\n") else printable(text)


console = _Console(
    highlight=False,
    markup=False,
    emoji=False,
    soft_wrap=True,
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160,
)
"""Standard output; a log file or pipe gets wide lines, unless COLUMNS says how wide they may be."""

_PADDING = 2
"""Columns between two columns of a table."""

_NARROWEST = 12
"""A column of text may be wrapped to this width; a table that needs narrower ones is printed as a list."""


def styled(form: str, *values: object) -> Text:
    """A line with styles of its own and values of data, which are shown as they are.

    Args:
        form: rich markup with a `{}` for each value.
        values: of any kind.

    Example:
        >>> styled("[yellow]{} left out[/]: {}", 3, "[/sad]").plain
        '3 left out: [/sad]'
    """
    return Text.from_markup(form.format(*(escape(printable(value)) for value in values)), emoji=False)


def complain(text: str, *, red: bool = True) -> None:
    """Print an error (red) or a warning (yellow) to standard error; it may have several lines."""
    shown = re.sub(r"[^\n\t]+", lambda part: printable(part[0]), text)
    typer.secho(shown, fg=typer.colors.RED if red else typer.colors.YELLOW, err=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned, everything else is left-aligned.

    Where it is wider than the console, its longest columns are wrapped; where that is not enough, each row becomes a
    list of its cells. No text is left out, and no line is wider than the console.
    """
    title, columns = printable(title), [printable(column) for column in columns]
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
    console.print(text)
    console.quiet = was


def next_command(text: str) -> None:
    """Print the command to type next."""
    console.print(styled("\nNext: [bold cyan]{}[/]", text), soft_wrap=True)
