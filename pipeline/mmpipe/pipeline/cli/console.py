"""What commands print: one console, tables of one look, progress bars with rate and time left."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = ["console", "next_command", "progress", "table"]

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
"""Standard output; a log file or pipe gets wide lines, so that no table is cut."""


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:.1f} {self._unit}/s", style="dim")


def progress(unit: str = "utt") -> Progress:
    """Bars with counts, rate and time left; on a pipe only the final state is printed."""
    return Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeElapsedColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(),
        console=console,
    )


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned, everything else is left-aligned."""
    view = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    cells = [[str(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        is_number = all(row[number].rstrip("%").replace(".", "", 1).isdigit() for row in cells)
        view.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    for row in cells:
        view.add_row(*row)
    console.print(view)


def next_command(text: str) -> None:
    """Print the command to type next."""
    console.print(f"\nNext: [bold cyan]{text}[/]", soft_wrap=True)
