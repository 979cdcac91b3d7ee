"""What a reader of media tells of a file that it could read: a warning category, the file, and what was done.

A row whose input has notes keeps the status `ok`; the notes stand in its column `error`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmpipe.core.statuses import Warned

__all__ = ["Note", "notes_text"]


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that is odd with a file.

    Attributes:
        category: one of `mmpipe.core.statuses.WARNINGS`.
        file: name of the file.
        message: what was found where, and what was done.
    """

    category: Warned
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.category}: {self.file}: {self.message}"


def notes_text(notes: Iterable[Note]) -> str | None:
    """The notes of one row as its column `error` holds them; None if there is none.

    Example:
        >>> notes_text([Note("clock_jump", "a.ts", "the timestamps jump")])
        'clock_jump: a.ts: the timestamps jump'
    """
    return "; ".join(dict.fromkeys(map(str, notes))) or None
