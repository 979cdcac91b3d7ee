"""What commands print: one console, and tables of one look."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mmpipe.core.text import printable

__all__ = ["complain", "console", "next_command", "styled", "table"]


class _Console(Console):
    """Prints texts as they are: no markup, and control characters as escapes, which no terminal obeys."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(_line(o) if isinstance(o, str) else o for o in objects), **options)


def _line(text: str) -> str:
    """One line; what the program itself puts before it, a line break, stays one."""
    return "\n" + printable(text[1:]) if text.startswith("\n") else printable(text)


console = _Console(
    highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160
)
"""Standard output; a log file or pipe gets wide lines, so that no table is cut."""


def _shown(text: str) -> str:
    r"""A text with its line breaks, and every other control character as an escape.

    Example:
        >>> _shown("\x1b[31mred\nnext")
        '\\x1b[31mred\nnext'
    """
    return "\n".join(printable(line) for line in text.split("\n"))


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
    """Print an error (red) or a warning (yellow) to standard error."""
    typer.secho(_shown(text), fg=typer.colors.RED if red else typer.colors.YELLOW, err=True)


_PROSE = 60
"""A cell of more characters is a sentence."""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned, everything else is left-aligned.

    A last column of sentences is wrapped, so that it does not push the others out of the line.
    """
    view = Table(
        title=printable(title), title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False
    )
    cells = [[printable(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        is_number = all(row[number].rstrip("%").replace(".", "", 1).isdigit() for row in cells)
        is_prose = number == len(columns) - 1 and any(len(row[number]) > _PROSE for row in cells)
        view.add_column(
            printable(column),
            justify="right" if is_number else "left",
            no_wrap=not is_prose,
            overflow="fold" if is_prose else "ellipsis",
        )
    for row in cells:
        view.add_row(*row)
    console.print(view)


def next_command(text: str) -> None:
    """Print the command to type next."""
    console.print(styled("\nNext: [bold cyan]{}[/]", text), soft_wrap=True)
