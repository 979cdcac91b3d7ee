"""Names that fit their room in a chart."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

__all__ = ["fitted", "text_width"]

_NARROW, _WIDE = "!'(),-./:;I[]`fijlrt|\u00b7 ", "%@MWmw\u2026\u2192\u2713\u2717"
_SHARES = (0.5, 0.7, 0.3, 0.9, 0.1)
"""Of a shortened name, how much of what is left comes from its beginning."""


def text_width(text: str) -> float:
    """About how wide a text is at the 11 pixels of charts; sans-serif fonts differ by a tenth.

    Example:
        >>> text_width("MMM") > text_width("iii")
        True
    """
    return sum(map(_letter_width, text))


def _letter_width(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 11.0
    if unicodedata.combining(letter):
        return 0.0
    return 4.4 if letter in _NARROW else 10.5 if letter in _WIDE else 7.7 if letter.isupper() else 6.8


def fitted(names: Sequence[str], room: float) -> list[str]:
    """Names of at most a width; longer ones lose their middle, and different ones stay different.

    Example:
        >>> fitted(["one", "speaker 1 of the first session", "speaker 2 of the first session"], 120)
        ['one', 'speaker 1 of …ssion', 'speaker 2 of …ssion']
    """
    different = len({*names})
    for shown in _shortened(names, room):
        if len({*shown}) == different:
            return shown
    numbers = {name: f" ({place})" for place, name in enumerate(dict.fromkeys(names), 1)}
    return [
        name if text_width(name) <= room else _cut(name, room - text_width(numbers[name]), 0.5) + numbers[name]
        for name in names
    ]


def _shortened(names: Sequence[str], room: float) -> Iterator[list[str]]:
    for share in _SHARES:
        yield [name if text_width(name) <= room else _cut(name, room, share) for name in names]


def _cut(name: str, room: float, share: float) -> str:
    """A name without its middle, as much of it as has room."""
    room -= text_width("\u2026")
    head = _fitting(name, share * room)
    tail = _fitting(name[::-1], room - text_width(head))[::-1]
    return f"{head}\u2026{tail}"


def _fitting(text: str, room: float) -> str:
    """The beginning of a text that has room."""
    kept = 0
    for letter in text:
        room -= _letter_width(letter)
        if room < 0:
            break
        kept += 1
    return text[:kept]
