"""Praat TextGrids in their three text forms (Boersma and Weenink, "TextGrid file formats" of Praat's manual).

The long and the short form hold the same values in the same order: numbers, strings in double quotes (a quote inside is
doubled) and flags in angle brackets. Any other text is there for people and is skipped. In the chronological form the
intervals of all tiers are in the order of time, each with the number of its tier.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from mmpipe.core.text import clean
from mmpipe.manifests.formats.text import parse_seconds

__all__ = ["Interval", "TextGridError", "parse_textgrid"]

_STRING = r'"([^"]*(?:""[^"]*)*)"'
# Praat writes `--undefined--` for an undefined number.
_NUMBER = r"(?<![^\s=])([+-]?(?:[\d.][\w.+-]*|(?i:nan|inf(?:inity)?))|--undefined--)(?=\s|$)"
_VALUE = re.compile(rf"{_STRING}|<(\w+)>|{_NUMBER}|\[[^\]\n]{{0,40}}\]|![^\n]*")
_KINDS = ("", "string", "flag", "number")
# An interval as Praat writes it in the long form: the same values as by `_VALUE`, several times faster.
_LONG_FORM = re.compile(
    r"\s*intervals \[\d+\]:\s*xmin = ([+-]?[\d.][\w.+-]*)\s+xmax = ([+-]?[\d.][\w.+-]*)\s+text = " + _STRING
)


class TextGridError(Exception):
    """The text is not a TextGrid; `line` is where reading stopped."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class Interval(NamedTuple):
    """An interval; a time that is not a number of 0 or more is None."""

    start_seconds: float | None
    end_seconds: float | None
    text: str
    line: int


class _Values:
    """The values of a TextGrid, one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = self._counted = 0
        self._line = 1

    @property
    def line(self) -> int:
        """The line of the value that was read last."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _read(self) -> re.Match[str] | None:
        while match := _VALUE.search(self._text, self._at):
            self._at = match.end()
            if match.lastindex:
                return match
        return None

    def is_at_end(self) -> bool:
        """Whether all values are read."""
        before = self._at
        match = self._read()
        self._at = before
        return match is None

    def next(self, kind: str, what: str) -> str:
        match = self._read()
        found = _KINDS[match.lastindex or 0] if match else "end"
        value = match[match.lastindex or 0] if match else ""
        if found != kind:
            raise TextGridError(f"expected {what} ({kind}), found {value[:40]!r} ({found})", self.line)
        return value.replace('""', '"') if kind == "string" else value

    def count(self, what: str) -> int:
        text = self.next("number", what)
        if not text.isascii() or not text.isdigit() or len(text) > 8:
            raise TextGridError(f"expected {what}, found {text[:40]!r}", self.line)
        return int(text)

    def skip_bounds(self) -> None:
        self.next("number", "xmin")
        self.next("number", "xmax")

    def skip_point(self) -> None:
        self.next("number", "time")
        self.next("string", "mark")

    def interval(self) -> Interval:
        match = _LONG_FORM.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
            first, last, text = match.groups()
            text = text.replace('""', '"')
        else:
            first, last = self.next("number", "xmin"), self.next("number", "xmax")
            text = self.next("string", "text")
        return Interval(parse_seconds(first), parse_seconds(last), text, self.line)


def parse_textgrid(text: str) -> dict[str, list[Interval]]:
    """Intervals by tier; point tiers are skipped.

    Tiers of one name are joined, unless something is said in both at one time: then the second is called `name (2)`.

    Raises:
        TextGridError: the text is not a TextGrid, or it is cut off.

    Example:
        >>> parse_textgrid('''File type = "ooTextFile"
        ... Object class = "TextGrid"
        ...
        ... 0 2.5 <exists> 1 "IntervalTier" "words" 0 2.5 1 0.5 1.25 "so"''')
        {'words': [Interval(start_seconds=0.5, end_seconds=1.25, text='so', line=4)]}
    """
    if text.startswith("ooBinaryFile"):
        raise TextGridError('a binary TextGrid: in Praat, save it again with "Save as text file"', 1)
    values = _Values(text)
    kind = values.next("string", '"ooTextFile"')
    if kind == "Praat chronological TextGrid text file":
        return _chronological(values)
    if kind != "ooTextFile" or values.next("string", '"TextGrid"') != "TextGrid":
        raise TextGridError('expected "ooTextFile" and "TextGrid" in the first lines', 1)
    values.skip_bounds()
    if values.next("flag", "<exists>") != "exists":
        return {}
    tiers: dict[str, list[Interval]] = {}
    for _ in range(values.count("the number of tiers")):
        kind, name = values.next("string", "the class of a tier"), clean(values.next("string", "the name of a tier"))
        values.skip_bounds()
        size = values.count("the number of intervals")
        if kind == "IntervalTier":
            _add(tiers, name, [values.interval() for _ in range(size)])
        elif kind == "TextTier":
            for _ in range(size):
                values.skip_point()
        else:
            raise TextGridError(f"expected IntervalTier or TextTier, found {kind[:40]!r}", values.line)
    return tiers


def _add(tiers: dict[str, list[Interval]], name: str, intervals: list[Interval]) -> None:
    unique, number = name, 1
    while _overlap(tiers.get(unique, []), intervals):
        number += 1
        unique = f"{name} ({number})"
    tiers.setdefault(unique, []).extend(intervals)


def _overlap(one: list[Interval], other: list[Interval]) -> bool:
    """Whether two lists of intervals have text at one time."""
    spans = sorted((i.start_seconds or 0.0, i.end_seconds or 0.0) for i in (*one, *other) if i.text.strip())
    return bool(one) and any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def _chronological(values: _Values) -> dict[str, list[Interval]]:
    values.skip_bounds()
    heads = []
    for _ in range(values.count("the number of tiers")):
        heads.append((values.next("string", "the class of a tier"), clean(values.next("string", "the name of a tier"))))
        values.skip_bounds()
    found: list[list[Interval]] = [[] for _ in heads]
    while not values.is_at_end():
        number = values.count("the number of a tier")
        if not 1 <= number <= len(heads):
            raise TextGridError(f"expected a tier from 1 to {len(heads)}, found {number}", values.line)
        if heads[number - 1][0] == "IntervalTier":
            found[number - 1].append(values.interval())
        else:
            values.skip_point()
    tiers: dict[str, list[Interval]] = {}
    for (kind, name), intervals in zip(heads, found, strict=True):
        if kind == "IntervalTier":
            _add(tiers, name, intervals)
    return tiers
