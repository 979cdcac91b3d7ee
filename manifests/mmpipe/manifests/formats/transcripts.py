"""Transcripts beside clips: WebVTT, SubRip, Praat TextGrid and plain text. Bad cues are noted and skipped."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmpipe.core.text import clean
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.text import read_text
from mmpipe.manifests.formats.textgrid import Interval, TextGridError, parse_textgrid
from mmpipe.manifests.schema import Word

__all__ = ["TRANSCRIPT_ENDINGS", "Cue", "Transcript", "read_transcript"]

TRANSCRIPT_ENDINGS = (".vtt", ".srt", ".TextGrid", ".txt")
"""Endings of transcripts, in the order in which they are searched for beside a clip."""

_WORD_TIERS = re.compile(r"(.* - )?words?", re.IGNORECASE)
"""Names of TextGrid tiers that hold one word an interval (`speaker - words` is what forced aligners write)."""

_PHONE_TIERS = re.compile(r"(.* - )?(phones?|phonemes?|segments?)", re.IGNORECASE)
_CLOCK = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?!\d).*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue on the clip's clock.

    Attributes:
        number: its place among the file's cues, from 0, the bad ones included.
        start_seconds: start.
        end_seconds: end, later than the start.
        text: one line.
        speaker: who says it, if the file names the speaker.
    """

    number: int
    start_seconds: float
    end_seconds: float
    text: str
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of a clip, with its cues and words on the clip's clock as far as the file has them."""

    text: str
    cues: tuple[Cue, ...] = ()
    words: tuple[Word, ...] = ()


def read_transcript(root: Path, path: Path, prepared: Prepared, tier: str | None = None) -> Transcript:
    """Read a transcript by its ending.

    Args:
        root: the corpus root, which contains `path`.
        path: the file.
        prepared: takes the problems.
        tier: the TextGrid tier that holds the cues; by default the first that contains neither words nor phones.
    """
    text = read_text(root, path, prepared)
    ending, where = path.suffix.lower(), path.relative_to(root).as_posix()
    if not text or not text.strip():
        return Transcript("")
    if ending == ".txt":
        return Transcript(clean(text))
    if ending == ".textgrid":
        return _textgrid(where, text, prepared, tier)
    cues = _captions(where, text, ending.removeprefix("."), prepared)
    return Transcript(" ".join(cue.text for cue in cues), cues)


def _seconds(groups: Sequence[str | None]) -> float:
    hours, minutes, seconds, millis = (
        int((group or "0").ljust(width, "0")) for group, width in zip(groups, (1, 1, 1, 3), strict=True)
    )
    return (hours * 3_600_000 + minutes * 60_000 + seconds * 1000 + millis) / 1000


def _captions(where: str, text: str, kind: str, prepared: Prepared) -> tuple[Cue, ...]:
    """The cues of a WebVTT or SubRip file.

    webvtt-py finds the cues and their text but does not give their lines, and refuses or drops those whose times are
    wrong. So it is given a copy of the file in which the time of each cue is the number of its line.
    """
    import webvtt
    from webvtt.errors import MalformedCaptionError, MalformedFileError

    lines = text.strip("\n").split("\n")
    offset = len(text) - len(text.lstrip("\n")) + 1
    timed = [number for number, line in enumerate(lines) if "-->" in line]
    numbered = list(lines)
    for number in timed:
        mark = f"{number // 3_600_000:02d}:{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}"
        numbered[number] = f"{mark} --> {mark}"
    try:
        captions: list[Any] = webvtt.from_buffer(io.StringIO("\n".join(numbered)), format=kind).captions
    except (MalformedFileError, MalformedCaptionError) as error:
        first = "WEBVTT" if kind == "vtt" else "a number, then a line with -->"
        prepared.problem("file_damaged", where, f"{error}: expected {first} at the start; the clip has no transcript")
        return ()
    cues: list[Cue] = []
    for caption in captions:
        spoken = clean(html.unescape(caption.text) if kind == "vtt" else caption.text)
        if spoken:
            number = round(_seconds(re.split("[:.]", caption.start)) * 1000)
            match = _TIMING.fullmatch(lines[number])
            times = (_seconds(match.groups()[:4]), _seconds(match.groups()[4:])) if match else None
            cue = Cue(len(cues), 0.0, 0.0, spoken, clean(caption.voice or "") or None)
            cues.append(_timed(cue, times, f"{where}:{number + offset}", lines[number], prepared))
    return tuple(cue for cue in cues if cue.end_seconds > cue.start_seconds)


def _timed(cue: Cue, times: tuple[float, float] | None, where: str, line: str, prepared: Prepared) -> Cue:
    """The cue with its times, or without times if they are wrong."""
    if times is None:
        prepared.problem(
            "malformed_line", where, f"expected 00:00:00.000 --> 00:00:00.000, got {line[:60]!r}: left out"
        )
    elif times[1] <= times[0]:
        prepared.problem("times_backwards", where, f"{cue.text[:40]!r} runs from {times[0]} to {times[1]} s: left out")
    else:
        return replace(cue, start_seconds=times[0], end_seconds=times[1])
    return cue


def _textgrid(where: str, text: str, prepared: Prepared, tier: str | None) -> Transcript:
    try:
        tiers = parse_textgrid(text)
    except TextGridError as error:
        prepared.problem("file_damaged", f"{where}:{error.line}", f"{error}: the clip has no transcript")
        return Transcript("")
    timed = {name: _intervals(where, intervals, prepared) for name, intervals in tiers.items()}
    words = [w for name, intervals in timed.items() if _WORD_TIERS.fullmatch(name) and name != tier for w in intervals]
    others = [name for name in timed if not (_WORD_TIERS.fullmatch(name) or _PHONE_TIERS.fullmatch(name))]
    chosen = tier if tier is not None else next(iter(others), None)
    if chosen is not None and chosen not in timed:
        prepared.problem(
            "no_transcript", where, f"there is no interval tier {chosen!r}; tiers: {', '.join(tiers)[:200]}"
        )
        return Transcript("")
    cues = tuple(cue for cue in timed.get(chosen or "", ()) if cue.end_seconds > cue.start_seconds)
    spoken = tuple(
        Word(word.text, word.start_seconds, word.end_seconds)
        for word in sorted(words, key=lambda word: (word.start_seconds, word.end_seconds))
        if word.end_seconds > word.start_seconds
    )
    return Transcript(" ".join(item.text for item in cues or spoken), cues, spoken)


def _intervals(where: str, intervals: Sequence[Interval], prepared: Prepared) -> list[Cue]:
    cues: list[Cue] = []
    for interval in intervals:
        if spoken := clean(interval.text):
            start, end = interval.start_seconds, interval.end_seconds
            times = None if start is None or end is None else (start, end)
            at = f"{where}:{interval.line}"
            if times is None:
                prepared.problem("malformed_line", at, f"{spoken[:40]!r} has no times of 0 or more: left out")
                cues.append(Cue(len(cues), 0.0, 0.0, spoken))
            else:
                cues.append(_timed(Cue(len(cues), 0.0, 0.0, spoken), times, at, "", prepared))
    return cues
