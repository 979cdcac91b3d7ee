"""Blocks of caption files: which lines are said at which times. Every line of times and every dropped text is reported.

SubRip is split by its lines of times alone, since files in use lack numbers or repeat them, put blank lines anywhere
and write times in many ways. No library reads all of that: pysubs2 needs milliseconds and hours, srt needs comma and
`-->`, and both take a number after an invisible mark for text. WebVTT, which has a grammar, is read by webvtt-py.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.markup import CLOCK, seconds_of

__all__ = ["Block", "subrip_blocks", "webvtt_blocks"]

_ARROW = r"\s*(?:-{1,3}>|[–—]>|→)\s*"
_TIMING = re.compile(rf"{CLOCK}{_ARROW}{CLOCK}(?=\s|$)(?P<rest>.*)", re.ASCII)
_LIKE_TIMING = re.compile(rf".*-->.*|.*\d{_ARROW}\d.*", re.ASCII)
_SETTINGS = re.compile(r"(?:[A-Za-z]\w*:\S*(?:\s+|$))*", re.ASCII)
_NUMBER = re.compile(r"[#]?(-?\d{1,9})[.:]?", re.ASCII)
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"))
_INVISIBLE |= dict.fromkeys(range(0x2066, 0x206A))
_EXPECTED = "expected 00:00:00.000 --> 00:00:00.000"


@dataclass(frozen=True, slots=True)
class Block:
    """The lines that belong to a line of times.

    Attributes:
        line: number of the line of times, from 1.
        times: start and end in seconds.
        lines: the lines of text, with their markup.
    """

    line: int
    times: tuple[float, float]
    lines: tuple[str, ...]


def _visible(line: str) -> str:
    """A line without the invisible marks at its ends (byte order, direction, zero width)."""
    line = line.strip()
    while line and (ord(line[0]) in _INVISIBLE or ord(line[-1]) in _INVISIBLE):
        line = line.strip("".join(map(chr, _INVISIBLE))).strip()
    return line


def _timing(line: str) -> tuple[tuple[float, float], str] | None:
    """Times of a line, and the text after them that is not a setting; None if they cannot be read."""
    match = _TIMING.fullmatch(_visible(line.translate(_INVISIBLE)))
    if match is None:
        return None
    groups, rest = match.groups()[:10], match["rest"].strip()
    return (seconds_of(groups[:5]), seconds_of(groups[5:])), "" if _SETTINGS.fullmatch(rest) else rest


def _has_timing(line: str) -> bool:
    return (">" in line and _LIKE_TIMING.fullmatch(line) is not None) or ("→" in line and _timing(line) is not None)


def subrip_blocks(where: str, text: str, prepared: Prepared) -> list[Block]:
    """The blocks of a SubRip file, by its lines of times."""
    lines = [_visible(line) for line in text.split("\n")]
    timed = [n for n, line in enumerate(lines) if _has_timing(line)]
    starts = _starts(where, lines, timed, prepared)
    first = starts[0] if timed else len(lines)
    _report_dropped(where, [(n, line) for n, line in enumerate(lines[:first]) if line], prepared)
    blocks = []
    for place, number in enumerate(timed):
        end = starts[place + 1] if place + 1 < len(timed) else len(lines)
        said = [line for line in lines[number + 1 : end] if line]
        if (timing := _timing(lines[number])) is None:
            _report_malformed(where, number + 1, lines[number], said, prepared)
        else:
            times, rest = timing
            blocks.append(Block(number + 1, times, tuple([rest, *said] if rest else said)))
    return blocks


def _starts(where: str, lines: Sequence[str], timed: Sequence[int], prepared: Prepared) -> list[int]:
    """Where the text before each line of times ends: above its number, if it has one.

    A number directly above is one if the line over it is blank or it continues the count; a number with blank lines
    below it only if it continues the count, and so is one in a file without numbers until then. Any other is text.
    """
    starts: list[int] = []
    before, last = -1, None
    for cue, number in enumerate(timed):
        start, own = number, None
        above = [n for n in range(number - 1, before, -1) if lines[n]]
        if above and (match := _NUMBER.fullmatch(lines[above[0]])):
            value, place = int(match[1]), above[0]
            continues = value in ((cue, cue + 1) if last is None else (last, last + 1))
            is_apart = place == number - 1 and place - 1 > before and not lines[place - 1] and last is not None
            if continues or is_apart or before < 0:
                start, own = place, value
        if own is not None and len(above) > 1 and lines[above[1]] == lines[above[0]] and not lines[above[1] - 1]:
            message = f"the number {own} occurs twice: it is not text"
            prepared.problem("malformed_line", f"{where}:{above[1] + 1}", message)
            start = above[1]
        starts.append(start)
        before, last = number, own if own is not None else last
    return starts


def _report_dropped(where: str, dropped: Sequence[tuple[int, str]], prepared: Prepared) -> None:
    if dropped:
        shown = " ".join(line for _, line in dropped)[:60]
        message = f"{len(dropped)} lines do not belong to any times: {shown!r}: left out"
        prepared.problem("malformed_line", f"{where}:{dropped[0][0] + 1}", message)


def _report_malformed(where: str, number: int, line: str, said: Sequence[str], prepared: Prepared) -> None:
    text = f" with its text {' '.join(said)[:60]!r}" if said else ""
    prepared.problem("malformed_line", f"{where}:{number}", f"{_EXPECTED}, got {line[:60]!r}: left out{text}")


def webvtt_blocks(where: str, text: str, prepared: Prepared) -> list[Block]:
    """The blocks of a WebVTT file.

    webvtt-py finds the cues but does not give their lines, and refuses or drops those whose times are wrong. So it is
    given a copy of the file in which the time of each cue is the number of its line.
    """
    import webvtt
    from webvtt.errors import MalformedCaptionError, MalformedFileError

    above = text[: len(text) - len(text.lstrip("\ufeff\n"))].count("\n") + 1
    lines = text.lstrip("\ufeff\n").split("\n")
    timed = [number for number, line in enumerate(lines) if _has_timing(line)]
    numbered = list(lines)
    for before, number in pairwise([0, *timed]):
        mark = f"{number // 3_600_000:02d}:{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}"
        # A line of times ends the cue before it, also without a blank line between them, which webvtt-py expects.
        is_next = _has_timing(lines[before]) and all(lines[before:number])
        numbered[number] = f"{chr(10) if is_next else ''}{mark} --> {mark}"
    try:
        captions: list[Any] = webvtt.from_buffer(io.StringIO("\n".join(numbered)), format="vtt").captions
    except (MalformedFileError, MalformedCaptionError) as error:
        prepared.problem("file_damaged", where, f"{error}: expected WEBVTT at the start; the clip has no transcript")
        return []
    found = {caption.start_time.in_milliseconds(): tuple(caption.lines) for caption in captions}
    blocks = []
    for number in timed:
        timing, said = _timing(lines[number]), found.get(number)
        if timing is None or said is None:
            _report_malformed(where, number + above, lines[number], said or (), prepared)
        else:
            blocks.append(Block(number + above, timing[0], said))
    _report_dropped(where, [(n + above - 1, line) for n, line in _outside_blocks(lines, set(timed))], prepared)
    return blocks


def _outside_blocks(lines: Sequence[str], timed: set[int]) -> list[tuple[int, str]]:
    """Lines of text with blank lines around them and without times, which belong to no cue."""
    dropped: list[tuple[int, str]] = []
    block: list[tuple[int, str]] = []
    is_header = True
    for number, line in [*enumerate(lines), (len(lines), "")]:
        if line:
            block.append((number, line))
            continue
        if block and not is_header and not re.match(r"(NOTE|STYLE|REGION)(\s|$)", block[0][1]):
            dropped += [] if any(n in timed for n, _ in block) else [item for item in block if item[1].strip()]
        is_header, block = is_header and not block, []
    return dropped
