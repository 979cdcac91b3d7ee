"""What a check answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "State"]


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """A run works, perhaps slower, or not all options do."""
    MISSING = "missing"
    """The default run needs it."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: of the check.
        state: how it ended.
        text: what was found.
        remedy: what to do; empty if there is nothing to do.
    """

    name: str
    state: State
    text: str
    remedy: str = ""
