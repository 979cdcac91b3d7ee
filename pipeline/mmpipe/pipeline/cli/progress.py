"""Progress with rate and time left: bars on a terminal, a line a minute elsewhere."""

from __future__ import annotations

from datetime import timedelta
from threading import Event, Thread

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

_SECONDS = 60.0
"""Between two lines where there is no terminal."""


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


class _Lines(Progress):
    """Progress as lines of a log: one a minute for each task that goes on, and one at its end."""

    def __init__(self, unit: str) -> None:
        super().__init__(console=console, disable=True)
        self._unit, self._shown = unit, dict[int, float]()
        self._stopped, self._clock = Event(), Thread(target=self._tick, daemon=True)

    def start(self) -> None:
        """Begin to print."""
        self._clock.start()

    def stop(self) -> None:
        """Print where every task is, if it is further than the last line says."""
        self._stopped.set()
        if self._clock.is_alive():
            self._clock.join()
        self._show()

    def _tick(self) -> None:
        while not self._stopped.wait(_SECONDS):
            self._show()

    def _show(self) -> None:
        for task in self.tasks:
            if task.completed and self._shown.get(task.id) != task.completed:
                self._shown[task.id] = task.completed
                console.print(self._line(task), markup=False)

    def _line(self, task: Task) -> str:
        elapsed = task.finished_time or task.elapsed or 0.0
        parts = [f"{task.completed:.0f}/{'?' if task.total is None else f'{task.total:.0f}'}"]
        if elapsed > 0:
            parts.append(f"{task.completed / elapsed:.1f} {self._unit}/s")
        if task.finished:
            parts.append(f"took {_clock(elapsed)}")
        elif task.total is not None and elapsed > 0:
            parts.append(f"{_clock(elapsed * (task.total - task.completed) / task.completed)} left")
        return f"{task.description}: {', '.join(parts)}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def progress(unit: str = "utt") -> Progress:
    """Counts, rate and time left: bars on a terminal; in a pipe or log file a line a minute."""
    if not console.is_terminal:
        return _Lines(unit)
    return Progress(
        SpinnerColumn(finished_text=Text("✓", "green")),
        _Description(),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(unit),
        TimeElapsedColumn(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(),
        console=console,
    )
