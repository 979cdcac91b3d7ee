"""Praat TextGrids, long and short text form (Boersma and Weenink, "TextGrid file formats" of Praat's manual).

Both forms hold the same values in the same order: numbers, strings in double quotes (a quote inside is doubled) and
flags in angle brackets. Any other text is there for people and is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmpipe.core.text import clean
from mmpipe.manifests.formats.text import parse_seconds

__all__ = ["Interval", "TextGridError", "parse_textgrid"]

# Praat writes `--undefined--` for an undefined number.
_NUMBER = r"(?<![^\s=])([+-]?(?:[\d.][\w.+-]*|(?i:nan|inf(?:inity)?))|--undefined--)(?=\s|$)"
_VALUE = re.compile(rf'"((?:[^"]|"")*)"|<(\w+)>|{_NUMBER}|\[[^\]\n]{{0,40}}\]|![^\n]*')


class TextGridError(Exception):
    """The text is not a TextGrid; `line` is where reading stopped."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval; a time that is not a number of 0 or more is None."""

    start_seconds: float | None
    end_seconds: float | None
    text: str
    line: int


class _Values:
    """The values of a TextGrid, one after the other."""

    def __init__(self, text: str) -> None:
        self._values = self._read(text)
        self.line = 1

    def _read(self, text: str) -> Iterator[tuple[str, str]]:
        seen = 0
        for match in _VALUE.finditer(text):
            self.line += text.count("\n", seen, match.start())
            seen = match.start()
            for kind, group in (("string", 1), ("flag", 2), ("number", 3)):
                if match[group] is not None:
                    yield kind, match[group]

    def next(self, kind: str, what: str) -> str:
        found, value = next(self._values, ("end", ""))
        if found != kind:
            raise TextGridError(f"expected {what} ({kind}), found {value[:40]!r} ({found})", self.line)
        return value.replace('""', '"') if kind == "string" else value

    def count(self, what: str) -> int:
        text = self.next("number", what)
        if not text.isascii() or not text.isdigit() or len(text) > 8:
            raise TextGridError(f"expected {what}, found {text[:40]!r}", self.line)
        return int(text)


def parse_textgrid(text: str) -> dict[str, list[Interval]]:
    """Intervals by tier; point tiers are skipped, and tiers of one name are joined.

    Raises:
        TextGridError: the text is not a TextGrid, or it is cut off.

    Example:
        >>> parse_textgrid('''File type = "ooTextFile"
        ... Object class = "TextGrid"
        ...
        ... 0 2.5 <exists> 1 "IntervalTier" "words" 0 2.5 1 0.5 1.25 "so"''')
        {'words': [Interval(start_seconds=0.5, end_seconds=1.25, text='so', line=4)]}
    """
    values = _Values(text)
    if values.next("string", '"ooTextFile"') != "ooTextFile" or values.next("string", '"TextGrid"') != "TextGrid":
        raise TextGridError('expected "ooTextFile" and "TextGrid" in the first lines', 1)
    values.next("number", "xmin")
    values.next("number", "xmax")
    if values.next("flag", "<exists>") != "exists":
        return {}
    tiers: dict[str, list[Interval]] = {}
    for _ in range(values.count("the number of tiers")):
        kind, name = values.next("string", "the class of a tier"), clean(values.next("string", "the name of a tier"))
        values.next("number", "xmin")
        values.next("number", "xmax")
        size = values.count("the number of intervals")
        if kind == "IntervalTier":
            tiers.setdefault(name, []).extend(_interval(values) for _ in range(size))
        elif kind == "TextTier":
            for _ in range(size):
                values.next("number", "time")
                values.next("string", "mark")
        else:
            raise TextGridError(f"expected IntervalTier or TextTier, found {kind[:40]!r}", values.line)
    return tiers


def _interval(values: _Values) -> Interval:
    start, end = (parse_seconds(values.next("number", what)) for what in ("xmin", "xmax"))
    text = values.next("string", "text")
    return Interval(start, end, text, values.line)
