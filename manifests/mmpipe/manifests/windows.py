"""Word-centred windows (paper section 4.2): of fixed length, centred on the middle word of three consecutive ones.

The order in which windows are drawn follows from a hash of the seed and the word's own id, within each speaker's
recording, and recordings take turns in proportion to their numbers of words. So the same seed gives the same windows
on any machine, a larger number extends a smaller one, and every prefix is spread over meetings and speakers as evenly
as whole windows allow.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmpipe.manifests.contract import CorpusOptions
from mmpipe.manifests.formats.spoken import Cue, TimedWord, Transcript, words_by_cue
from mmpipe.manifests.formats.text import format_seconds
from mmpipe.manifests.schema import Word

__all__ = ["Recording", "Window", "WindowOptions", "draw", "recordings_of"]

_DECIMALS = 4
"""Windows are on a grid of 0.1 ms; times of AMI's words have two or three decimals."""

_Floats = npt.NDArray[np.float64]


class WindowOptions(CorpusOptions):
    """How windows are drawn."""

    crop_seconds: float = Field(default=7.2, ge=0.1, le=600, allow_inf_nan=False)
    """Length of a window: 7.2 s to match IEMOCAP, 3.5 s to match MELD (paper section 4.2)."""
    num_crops: int = Field(default=25_000, ge=1)
    """Windows to draw; about 11 % of AMI's have no face, so 25,000 leave the paper's 20,000."""
    seed: int = 0
    """Decides which windows are drawn."""
    spread: Literal["proportional", "uniform"] = "proportional"
    """`proportional` to the number of words in each speaker's recordings, or `uniform` over the speakers."""
    max_overlap: float = Field(default=1.0, ge=0, le=1)
    """Share of a window that another window of the same recording may cover; 1 allows any."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The words of one speaker in one recording, by start time, on the recording's clock.

    Attributes:
        name: unique among recordings.
        speaker: who speaks; the same person may have several recordings.
        duration_seconds: length of the media; no window ends after it.
        word_ids: unique names of the words.
        texts: the words.
        marks: punctuation after each word, mostly empty.
        start_seconds: float64 [W].
        end_seconds: float64 [W].
        originals: the corpus's own spelling of the words that are written differently here, by place.
    """

    name: str
    speaker: str
    duration_seconds: float
    word_ids: Sequence[str]
    texts: Sequence[str]
    marks: Sequence[str]
    start_seconds: _Floats
    end_seconds: _Floats
    originals: Mapping[int, str] = field(default_factory=dict)

    def windows(self, seconds: float) -> tuple[_Floats, _Floats]:
        """Start and end of the window centred on each word, float64 [W] each."""
        start = np.round((self.start_seconds + self.end_seconds) / 2 - seconds / 2, _DECIMALS) + 0.0
        return start, np.round(start + seconds, _DECIMALS)

    def words(self, start: float, end: float) -> tuple[str, tuple[Word, ...]]:
        """Text and words inside a window, with times on the window's clock."""
        inside = self._inside(start, end)
        return " ".join(self.texts[n] + self.marks[n] for n in inside), tuple(
            Word(
                self.texts[n],
                round(float(self.start_seconds[n]) - start, _DECIMALS),
                round(float(self.end_seconds[n]) - start, _DECIMALS),
            )
            for n in inside
        )

    def originals_inside(self, start: float, end: float) -> dict[str, str]:
        """The corpus's own spelling of words inside a window, by their place in the window as text (a key of JSON)."""
        if not self.originals:
            return {}
        inside = self._inside(start, end)
        return {str(place): self.originals[n] for place, n in enumerate(inside) if n in self.originals}

    def _inside(self, start: float, end: float) -> list[int]:
        first, last = np.searchsorted(self.start_seconds, (start, end))
        return [n for n in range(first, last) if self.end_seconds[n] <= end]


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a recording, centred on the word `middle` of it (an index)."""

    recording: Recording
    middle: int
    start_seconds: float
    end_seconds: float

    @property
    def word_id(self) -> str:
        """The middle word's id."""
        return self.recording.word_ids[self.middle]


def draw(recordings: Iterable[Recording], options: WindowOptions) -> list[Window]:
    """Draw windows in seeded order.

    The three words are inside the window, the window is inside the media, and no word is the middle of two windows.

    Args:
        recordings: what to draw from.
        options: number, length, seed, spread and overlap.

    Returns:
        `options.num_crops` windows in the order of drawing, or all windows if there are fewer.
    """
    windows: list[Window] = []
    drawn: dict[str, list[float]] = defaultdict(list)
    gap = options.crop_seconds * (1 - options.max_overlap) - 10**-_DECIMALS
    for window in _in_turn(list(recordings), options):
        if len(windows) == options.num_crops:
            break
        if options.max_overlap < 1:
            others, start = drawn[window.recording.name], window.start_seconds
            place = bisect_left(others, start)
            if any(abs(other - start) < gap for other in others[max(place - 1, 0) : place + 1]):
                continue
            others.insert(place, start)
        windows.append(window)
    return windows


def _candidates(recording: Recording, seconds: float) -> tuple[npt.NDArray[np.intp], _Floats, _Floats]:
    """Words whose window is inside the media and contains them and both neighbours, with those windows [C] each."""
    starts, ends = recording.start_seconds, recording.end_seconds
    opens, closes = recording.windows(seconds)
    inside = np.zeros(len(starts), np.bool_)
    if len(starts) >= 3:
        inside[1:-1] = (opens >= 0)[1:-1] & (closes <= recording.duration_seconds)[1:-1]
        for neighbour in (slice(None, -2), slice(1, -1), slice(2, None)):
            inside[1:-1] &= (starts[neighbour] >= opens[1:-1]) & (ends[neighbour] <= closes[1:-1])
    middles = np.flatnonzero(inside)
    return middles, opens[middles], closes[middles]


def _in_turn(recordings: list[Recording], options: WindowOptions) -> Iterator[Window]:
    """All windows in the order of drawing.

    The k-th window of a group of W words, in the group's own seeded order, comes at k / W, so at any time every
    group has given the same share of its words. With uniform spread W is 1 for all speakers.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for number, recording in enumerate(recordings):
        groups[recording.name if options.spread == "proportional" else recording.speaker].append(number)
    found = [_candidates(recording, options.crop_seconds) for recording in recordings]
    turns, sources, places = [np.empty(0)], [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for name in sorted(groups):
        members = [(number, place) for number in groups[name] for place in range(len(found[number][0]))]
        source, place = np.array(members, np.intp).reshape(-1, 2).T
        ids = [recordings[number].word_ids[middle] for number in groups[name] for middle in found[number][0].tolist()]
        order = np.argsort(np.array([_order(options.seed, word_id) for word_id in ids], np.uint64), kind="stable")
        words = sum(len(recordings[n].word_ids) for n in groups[name]) if options.spread == "proportional" else 1
        # Without an offset of its own, every group's first window would come before any group's second.
        offset = _order(options.seed, name) / 2**64
        turns.append((np.arange(len(members)) + offset) / max(words, 1))
        sources.append(source[order])
        places.append(place[order])
    source, place = np.concatenate(sources), np.concatenate(places)
    for turn in np.argsort(np.concatenate(turns), kind="stable").tolist():
        middles, opens, closes = found[source[turn]]
        at = place[turn]
        yield Window(recordings[source[turn]], int(middles[at]), float(opens[at]), float(closes[at]))


def _order(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "big")


def recordings_of(name: str, speaker: str, transcript: Transcript, duration_seconds: float | None) -> list[Recording]:
    """The words of each speaker of a clip.

    Words have the times of the transcript's word tier; where there is none, the time of a cue is shared
    among its words in proportion to their letters, as captions do not have word times.

    Args:
        name: unique name of the clip.
        speaker: the speaker where the transcript does not name one.
        transcript: what is said.
        duration_seconds: length of the media; None is the end of the last word.
    """
    by_speaker: dict[str, list[TimedWord]] = defaultdict(list)
    for word in _spoken(transcript):
        by_speaker[word.speaker or speaker].append(word)
    ends = [word.end_seconds for words in by_speaker.values() for word in words]
    length = duration_seconds if duration_seconds is not None else max(ends, default=0.0)
    recordings = []
    for who, words in by_speaker.items():
        words.sort(key=lambda word: (word.start_seconds, word.end_seconds, word.text))
        # No path holds `//`: the words of Ann in `talk` are not those of a clip `talk/Ann`.
        label = name if who == speaker else f"{name}//{who}"
        recordings.append(
            Recording(
                label,
                who,
                length,
                _word_ids(label, words),
                [word.text for word in words],
                [""] * len(words),
                np.array([word.start_seconds for word in words], np.float64),
                np.array([word.end_seconds for word in words], np.float64),
            )
        )
    return recordings


def _word_ids(label: str, words: Sequence[TimedWord]) -> list[str]:
    """Names of words by their start; those that start with another word at the same time are numbered."""
    ids: list[str] = []
    seen: Counter[str] = Counter()
    for word in words:
        word_id = f"{label}#word@{format_seconds(word.start_seconds)}"
        seen[word_id] += 1
        ids.append(f"{word_id}~{seen[word_id]}" if seen[word_id] > 1 else word_id)
    return ids


def _spoken(transcript: Transcript) -> Iterator[TimedWord]:
    """The words with times and, as far as words or cues name them, speakers."""
    if not transcript.words:
        for cue in transcript.cues:
            yield from _shared(cue)
    elif transcript.words[0].speaker is None and any(cue.speaker for cue in transcript.cues):
        for cue, words in zip(transcript.cues, words_by_cue(transcript.cues, transcript.words), strict=True):
            yield from (replace(word, speaker=cue.speaker) for word in words)
    else:
        yield from transcript.words


def _shared(cue: Cue) -> Iterator[TimedWord]:
    """The words of a cue, one after the other, each as long as its share of the letters."""
    texts = cue.text.split()
    bounds = np.cumsum([0, *(len(text) for text in texts)]) / max(sum(map(len, texts)), 1)
    times = cue.start_seconds + bounds * (cue.end_seconds - cue.start_seconds)
    for text, start, end in zip(texts, times[:-1].tolist(), times[1:].tolist(), strict=True):
        yield TimedWord(text, start, end, cue.speaker)
