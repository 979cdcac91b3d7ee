r"""Markup of captions: voices, inline times, ASS tags and HTML. What remains is what is said.

Tags of WebVTT and HTML (`<i>`, `<c.yellow>`, `<font color="red">`), override tags of ASS (`{\an8}`) and of MicroDVD
(`{y:i}`) are removed; `<br>` and the line breaks of ASS (`\N`, `\n`, `\h`) are spaces; character references are
unescaped once. `<v Ann>` begins what Ann says, until `</v>` or the next voice. `<00:00:01.200>` is the time of what
follows.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from mmpipe.core.text import clean
from mmpipe.manifests.formats.spoken import TimedWord

__all__ = ["CLOCK", "Said", "has_times", "read_markup", "seconds_of", "timed_words"]

CLOCK = r"(?:(\d{1,3})\s*:\s*)?(\d{1,2})\s*:\s*(\d{1,2})(?:\s*[.,]\s*(\d{1,6})|:(\d{3}))?"
"""A time: hours and fraction optional, as five groups."""

_NAMES = "b|i|u|s|em|strong|font|span|p|div|c|lang|ruby|rt"
_TOKEN = re.compile(
    rf"(?P<time><\s*{CLOCK}\s*>)"
    r"|<v(?:\.[\w.-]*)?(?:\s+(?P<voice>[^<>]*))?>|(?P<end></v\s*>)"
    r"|(?P<space><br\s*/?>|\\[Nnh])"
    rf"|(?P<tag></?(?:{_NAMES})(?:[.\s][^<>]*)?/?>|</?[A-Za-z][\w.-]*\s*/?>|\{{\\[^{{}}]*\}}|\{{[A-Za-z]:[^{{}}]*\}})",
    re.ASCII | re.IGNORECASE,
)
_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


@dataclass(slots=True)
class Said:
    """What one voice says in a cue.

    Attributes:
        voice: the name of `<v Name>`; None without one.
        text: the words.
        times: inline times: number of letters before it, and seconds.
    """

    voice: str | None
    text: str = ""
    times: list[tuple[int, float]] = field(default_factory=list)


def seconds_of(groups: Iterable[str | None]) -> float:
    """Seconds of the five groups of `CLOCK`.

    Example:
        >>> seconds_of(("1", "02", "03", "5", None)), seconds_of((None, "0", "20", None, None))
        (3723.5, 20.0)
    """
    hours, minutes, seconds, fraction, frames = groups
    digits = (fraction or frames or "").ljust(3, "0")
    millis = int(digits[:3]) + (int(digits[3:]) / 10 ** len(digits[3:]) if digits[3:] else 0)
    return (int(hours or 0) * 3_600_000 + int(minutes or 0) * 60_000 + int(seconds or 0) * 1000 + millis) / 1000


def has_times(text: str) -> bool:
    """Whether a text holds inline times.

    Example:
        >>> has_times("good<00:00:00.480><c> morning</c>"), has_times("<i>good</i>")
        (True, False)
    """
    return "<" in text and any(match["time"] for match in _TOKEN.finditer(text))


def _unescape(text: str) -> str:
    return _REFERENCE.sub(lambda match: html.unescape(match[0]), text) if "&" in text else text


def read_markup(text: str) -> list[Said]:
    r"""What each voice says, in order; pieces without words are left out.

    Example:
        >>> [(said.voice, said.text) for said in read_markup("<v Tom &amp; Jerry>{\\an8}so <i>it</i>\\Nis</v>")]
        [('Tom & Jerry', 'so it is')]
    """
    pieces: list[Said] = [Said(None)]
    for kind, value in _parts(text):
        current = pieces[-1]
        if kind == "voice":
            name = clean(_unescape(value)) or None
            if not current.text.strip():
                pieces[-1] = Said(name)
            elif current.voice != name:
                pieces.append(Said(name))
            else:
                current.text += " "
        elif kind == "time":
            match = re.search(CLOCK, value, re.ASCII)
            assert match is not None
            current.times.append((_letters(current.text), seconds_of(match.groups())))
        else:
            current.text += value
    for said in pieces:
        said.text = clean(said.text)
    return [said for said in pieces if said.text]


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Voices, times and plain text in order; other tags are gone."""
    at = 0
    for match in _TOKEN.finditer(text):
        yield "text", _unescape(text[at : match.start()])
        at = match.end()
        if match["time"]:
            yield "time", match["time"]
        elif match["space"]:
            yield "text", " "
        elif not match["tag"]:
            yield "voice", match["voice"] or ""
    yield "text", _unescape(text[at:])


def _letters(text: str) -> int:
    return len("".join(clean(text).split()))


def timed_words(said: Said, start: float, end: float) -> list[TimedWord]:
    """The words of a cue with times: exact where an inline time begins them, else in proportion to their letters.

    Inline times that do not lie between their neighbours are not used.
    """
    texts = said.text.split()
    total = sum(map(len, texts))
    letters, seconds = [0], [start]
    for place, time in said.times:
        if seconds[-1] <= time <= end and letters[-1] <= place < total:
            if place == letters[-1]:
                letters.pop()
                seconds.pop()
            letters.append(place)
            seconds.append(time)
    bounds = np.cumsum([0, *map(len, texts)])
    times = np.interp(bounds, [*letters, total], [*seconds, end]).tolist()
    return [
        TimedWord(text, first, last, said.voice) for text, first, last in zip(texts, times[:-1], times[1:], strict=True)
    ]
