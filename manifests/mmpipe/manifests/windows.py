"""Word-centred crops (paper section 4.2): windows of fixed length centred on the middle word of three consecutive ones.

The order in which crops are drawn follows from a hash of the seed and the word's own id, within each speaker's
recording, and recordings take turns in proportion to their numbers of words. So the same seed gives the same crops on
any machine, a larger number extends a smaller one, and every prefix is spread over meetings and speakers as evenly as
whole crops allow.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmpipe.manifests.contract import CorpusOptions
from mmpipe.manifests.formats.transcripts import Cue, Transcript
from mmpipe.manifests.schema import Word

__all__ = ["Crop", "CropOptions", "Recording", "draw", "recordings_of"]

_DECIMALS = 4
"""Windows are on a grid of 0.1 ms; times of AMI's words have two or three decimals."""

_Floats = npt.NDArray[np.float64]


class CropOptions(CorpusOptions):
    """How crops are drawn."""

    crop_seconds: float = Field(default=7.2, ge=0.1, le=600, allow_inf_nan=False)
    """Length of a crop: 7.2 s to match IEMOCAP, 3.5 s to match MELD (paper section 4.2)."""
    num_crops: int = Field(default=25_000, ge=1)
    """Crops to draw; about 11 % of AMI's have no face, so 25,000 leave the paper's 20,000."""
    seed: int = 0
    """Decides which crops are drawn."""
    spread: Literal["proportional", "uniform"] = "proportional"
    """`proportional` to the number of words in each speaker's recordings, or `uniform` over the speakers."""
    max_overlap: float = Field(default=1.0, ge=0, le=1)
    """Share of a crop that another crop of the same recording may cover; 1 allows any."""


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
    """

    name: str
    speaker: str
    duration_seconds: float
    word_ids: Sequence[str]
    texts: Sequence[str]
    marks: Sequence[str]
    start_seconds: _Floats
    end_seconds: _Floats

    def windows(self, seconds: float) -> tuple[_Floats, _Floats]:
        """Start and end of the window centred on each word, float64 [W] each."""
        start = np.round((self.start_seconds + self.end_seconds) / 2 - seconds / 2, _DECIMALS) + 0.0
        return start, np.round(start + seconds, _DECIMALS)

    def words(self, start: float, end: float) -> tuple[str, tuple[Word, ...]]:
        """Text and words inside a window, with times on the window's clock."""
        first, last = np.searchsorted(self.start_seconds, (start, end))
        inside = [n for n in range(first, last) if self.end_seconds[n] <= end]
        return " ".join(self.texts[n] + self.marks[n] for n in inside), tuple(
            Word(
                self.texts[n],
                round(float(self.start_seconds[n]) - start, _DECIMALS),
                round(float(self.end_seconds[n]) - start, _DECIMALS),
            )
            for n in inside
        )


@dataclass(frozen=True, slots=True)
class Crop:
    """A window of a recording, centred on the word `middle` of it (an index)."""

    recording: Recording
    middle: int
    start_seconds: float
    end_seconds: float

    @property
    def word_id(self) -> str:
        """The middle word's id."""
        return self.recording.word_ids[self.middle]


def draw(recordings: Iterable[Recording], options: CropOptions) -> list[Crop]:
    """Draw crops in seeded order.

    The three words are inside the window, the window is inside the media, and no word is the middle of two crops.

    Args:
        recordings: what to draw from.
        options: number, length, seed, spread and overlap.

    Returns:
        `options.num_crops` crops in the order of drawing, or all crops if there are fewer.
    """
    crops: list[Crop] = []
    drawn: dict[str, list[float]] = defaultdict(list)
    gap = options.crop_seconds * (1 - options.max_overlap) - 10**-_DECIMALS
    for crop in _in_turn(list(recordings), options):
        if len(crops) == options.num_crops:
            break
        if options.max_overlap < 1:
            others, start = drawn[crop.recording.name], crop.start_seconds
            place = bisect_left(others, start)
            if any(abs(other - start) < gap for other in others[max(place - 1, 0) : place + 1]):
                continue
            others.insert(place, start)
        crops.append(crop)
    return crops


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


def _in_turn(recordings: list[Recording], options: CropOptions) -> Iterator[Crop]:
    """All crops in the order of drawing.

    The k-th crop of a group of W words, in the group's own seeded order, comes at k / W, so at any time every group
    has given the same share of its words. With uniform spread W is 1 for all speakers.
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
        # Without an offset of its own, every group's first crop would come before any group's second.
        offset = _order(options.seed, name) / 2**64
        turns.append((np.arange(len(members)) + offset) / max(words, 1))
        sources.append(source[order])
        places.append(place[order])
    source, place = np.concatenate(sources), np.concatenate(places)
    for turn in np.argsort(np.concatenate(turns), kind="stable").tolist():
        middles, opens, closes = found[source[turn]]
        at = place[turn]
        yield Crop(recordings[source[turn]], int(middles[at]), float(opens[at]), float(closes[at]))


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
    by_speaker: dict[str, list[Word]] = defaultdict(list)
    if transcript.words:
        by_speaker[speaker] = list(transcript.words)
    else:
        for cue in transcript.cues:
            by_speaker[cue.speaker or speaker] += _shared(cue)
    ends = [word.end_seconds for words in by_speaker.values() for word in words if word.end_seconds is not None]
    length = duration_seconds if duration_seconds is not None else max(ends, default=0.0)
    recordings = []
    for who, words in by_speaker.items():
        words.sort(key=lambda word: (word.start_seconds or 0.0, word.end_seconds or 0.0))
        label = name if who == speaker else f"{name}/{who}"
        recordings.append(
            Recording(
                label,
                who,
                length,
                [f"{label}#word{number}" for number in range(len(words))],
                [word.text for word in words],
                [""] * len(words),
                np.array([word.start_seconds for word in words], np.float64),
                np.array([word.end_seconds for word in words], np.float64),
            )
        )
    return recordings


def _shared(cue: Cue) -> Iterator[Word]:
    """The words of a cue, one after the other, each as long as its share of the letters."""
    texts = cue.text.split()
    bounds = np.cumsum([0, *(len(text) for text in texts)]) / max(sum(map(len, texts)), 1)
    times = cue.start_seconds + bounds * (cue.end_seconds - cue.start_seconds)
    for text, start, end in zip(texts, times[:-1].tolist(), times[1:].tolist(), strict=True):
        yield Word(text, start, end)
