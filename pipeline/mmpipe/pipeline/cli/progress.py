"""Progress bars with rate and time left."""

from __future__ import annotations

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
from rich.text import Text

from mmpipe.core.text import printable
from mmpipe.pipeline.cli.console import console

__all__ = ["progress"]


class _Description(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{printable(task.description):<12}")


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
        _Description(),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeElapsedColumn(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(),
        console=console,
    )
