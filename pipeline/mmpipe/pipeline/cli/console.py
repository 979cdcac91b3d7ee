"""What commands print: one console, and tables of one look."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["console", "next_command", "table"]

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
"""Standard output; a log file or pipe gets wide lines, so that no table is cut."""


_PROSE = 60
"""A cell of more characters is a sentence."""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned, everything else is left-aligned.

    A last column of sentences is wrapped, so that it does not push the others out of the line.
    """
    view = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    cells = [[str(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        is_number = all(row[number].rstrip("%").replace(".", "", 1).isdigit() for row in cells)
        is_prose = number == len(columns) - 1 and any(len(row[number]) > _PROSE for row in cells)
        view.add_column(
            column,
            justify="right" if is_number else "left",
            no_wrap=not is_prose,
            overflow="fold" if is_prose else "ellipsis",
        )
    for row in cells:
        view.add_row(*row)
    console.print(view)


def next_command(text: str) -> None:
    """Print the command to type next."""
    console.print(f"\nNext: [bold cyan]{text}[/]", soft_wrap=True)
