"""What is said in a clip: cues and timed words of speakers, on the clip's clock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from mmpipe.manifests.schema import Word

__all__ = ["Cue", "TimedWord", "Transcript", "on_clock", "words_by_cue"]

_DECIMALS = 4
"""Times of words on an utterance's own clock are on a grid of 0.1 ms."""


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word on the clip's clock, and who says it if the file names the speaker."""

    text: str
    start_seconds: float
    end_seconds: float
    speaker: str | None = None

    @property
    def middle(self) -> float:
        """The time that decides to which cue or span the word belongs."""
        return (self.start_seconds + self.end_seconds) / 2


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue on the clip's clock.

    Attributes:
        start_seconds: start.
        end_seconds: end, later than the start.
        text: one line.
        speaker: who says it, if the file names the speaker.
    """

    start_seconds: float
    end_seconds: float
    text: str
    speaker: str | None = None

    @property
    def middle(self) -> float:
        """The time that decides to which span of the clip the cue belongs."""
        return (self.start_seconds + self.end_seconds) / 2


@dataclass(frozen=True)
class Transcript:
    """The text of a clip, with its cues and words (by start time) as far as the file has them."""

    text: str
    cues: tuple[Cue, ...] = ()
    words: tuple[TimedWord, ...] = ()

    @cached_property
    def speakers(self) -> tuple[str | None, ...]:
        """The speakers in the order in which they are first heard; None where a cue or word has no name."""
        spoken: Sequence[Cue | TimedWord] = self.cues or self.words
        return tuple(dict.fromkeys(item.speaker for item in spoken))

    @cached_property
    def _words_by_middle(self) -> tuple[list[float], list[TimedWord]]:
        words = sorted(self.words, key=lambda word: word.middle)
        return [word.middle for word in words], words

    @cached_property
    def _cues_by_middle(self) -> tuple[list[float], list[Cue]]:
        cues = sorted(self.cues, key=lambda cue: cue.middle)
        return [cue.middle for cue in cues], cues

    def part(self, start: float, end: float | None) -> tuple[str, tuple[Word, ...]]:
        """Text and words of a span: the cues (without cues, the words) whose middle is inside it."""
        if not start and end is None:
            return self.text, on_clock(self.words, 0.0, float("inf"))
        last = float("inf") if end is None else end
        middles, words = self._words_by_middle
        inside = words[bisect_left(middles, start) : bisect_left(middles, last)]
        middles, cues = self._cues_by_middle
        texts = [cue.text for cue in cues[bisect_left(middles, start) : bisect_left(middles, last)]]
        return " ".join(texts or [word.text for word in inside]), on_clock(inside, start, last)


def on_clock(words: Sequence[TimedWord], start: float, end: float) -> tuple[Word, ...]:
    """Words of a span on the span's own clock; a word that reaches over an end of the span is cut there."""
    ordered = sorted(words, key=lambda word: (word.start_seconds, word.end_seconds))
    return tuple(
        Word(
            word.text,
            round(max(word.start_seconds, start) - start, _DECIMALS) if start else word.start_seconds,
            round(min(word.end_seconds, end) - start, _DECIMALS) if start else min(word.end_seconds, end),
        )
        for word in ordered
    )


def words_by_cue(cues: Sequence[Cue], words: Sequence[TimedWord]) -> list[list[TimedWord]]:
    """The words of each cue: those of its speaker whose middle is inside it, each word in one cue.

    One sweep over cues and words by time. Where cues of one speaker overlap, the one that started last has the word.
    Where cue or word has no speaker, any fits.
    """
    found: list[list[TimedWord]] = [[] for _ in cues]
    by_start = sorted(range(len(cues)), key=lambda place: (cues[place].start_seconds, place))
    known = {word.speaker for word in words if word.speaker is not None}
    nobody = {word.speaker is None for word in words} == {True}
    for speaker in [None] if nobody else [*sorted(known), None]:
        mine = [word for word in words if word.speaker == speaker]
        fitting = [
            place
            for place in by_start
            if speaker is None or cues[place].speaker in (None, speaker) or cues[place].speaker not in known
        ]
        for word, place in _sweep(cues, fitting, sorted(mine, key=lambda word: word.middle)):
            found[place].append(word)
    return found


def _sweep(cues: Sequence[Cue], places: Sequence[int], words: Sequence[TimedWord]) -> Iterator[tuple[TimedWord, int]]:
    """Each word that is inside a cue, with the place of that cue; cues by start, words by middle."""
    opened: list[int] = []
    waiting = iter(places)
    coming = next(waiting, None)
    for word in words:
        while coming is not None and cues[coming].start_seconds <= word.middle:
            opened.append(coming)
            coming = next(waiting, None)
        while opened and cues[opened[-1]].end_seconds <= word.middle:
            opened.pop()
        if opened:
            yield word, opened[-1]
