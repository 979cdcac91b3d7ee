"""Word-centred crops (paper section 4.2): windows of fixed length centred on the middle word of three consecutive ones.

The order in which crops are drawn follows from a hash of the seed and the word's own id, within each speaker's
recording, and recordings take turns in proportion to their words. So the same seed gives the same crops on any
machine, a larger number extends a smaller one, and every prefix is spread over meetings and speakers as evenly as
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

from mmpipe.manifests.corpus import CorpusOptions
from mmpipe.manifests.schema import Word

__all__ = ["Crop", "CropOptions", "Recording", "draw"]

DECIMALS = 4
"""Windows lie on a grid of 0.1 ms; times of AMI's words have two or three decimals."""

Floats = npt.NDArray[np.float64]


class CropOptions(CorpusOptions):
    """How crops are drawn."""

    crop_seconds: float = Field(default=7.2, ge=0.1, le=600, allow_inf_nan=False)
    """Length of a crop: 7.2 s to go with IEMOCAP, 3.5 s with MELD (paper section 4.2)."""
    num_crops: int = Field(default=25_000, ge=1)
    """Crops to draw; about 11 % of AMI's have no face, so 25,000 leave the paper's 20,000."""
    seed: int = 0
    """Decides which crops are drawn."""
    spread: Literal["proportional", "uniform"] = "proportional"
    """`proportional` to the words of every speaker's recordings, or `uniform` over the speakers."""
    max_overlap: float = Field(default=1.0, ge=0, le=1)
    """Share of a crop that another crop of the same recording may cover; 1 allows any."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The words of one speaker in one recording, by start time, on the recording's clock.

    Attributes:
        name: unique among recordings.
        speaker: who speaks; the same person may have several recordings.
        duration_seconds: length of the media: no window ends behind it.
        word_ids: unique names of the words.
        texts: the words.
        marks: punctuation behind each word, mostly empty.
        start_seconds: float64 [W].
        end_seconds: float64 [W].
    """

    name: str
    speaker: str
    duration_seconds: float
    word_ids: Sequence[str]
    texts: Sequence[str]
    marks: Sequence[str]
    start_seconds: Floats
    end_seconds: Floats

    def windows(self, seconds: float) -> tuple[Floats, Floats]:
        """Start and end of the window centred on each word, float64 [W] each."""
        start = np.round((self.start_seconds + self.end_seconds) / 2 - seconds / 2, DECIMALS) + 0.0
        return start, np.round(start + seconds, DECIMALS)

    def words(self, start: float, end: float) -> tuple[str, tuple[Word, ...]]:
        """Text and words that lie inside a window, their times on the window's clock."""
        first, last = np.searchsorted(self.start_seconds, (start, end))
        inside = [n for n in range(first, last) if self.end_seconds[n] <= end]
        return " ".join(self.texts[n] + self.marks[n] for n in inside), tuple(
            Word(
                self.texts[n],
                round(float(self.start_seconds[n]) - start, DECIMALS),
                round(float(self.end_seconds[n]) - start, DECIMALS),
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

    The three words lie inside the window, the window lies inside the media, and no word is the middle of two crops.

    Args:
        recordings: what to draw from.
        options: number, length, seed, spread and overlap.

    Returns:
        `options.num_crops` crops in the order of drawing, or all that there are if there are fewer.
    """
    crops: list[Crop] = []
    drawn: dict[str, list[float]] = defaultdict(list)
    gap = options.crop_seconds * (1 - options.max_overlap) - 10**-DECIMALS
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


def _candidates(recording: Recording, seconds: float) -> Iterator[Crop]:
    """The crops of a recording whose three words lie inside the window, and the window inside the media."""
    starts, ends = recording.start_seconds, recording.end_seconds
    if len(starts) < 3:
        return
    opens, closes = recording.windows(seconds)
    inside = (starts >= opens) & (ends <= closes)
    inside[1:-1] &= (starts[:-2] >= opens[1:-1]) & (ends[:-2] <= closes[1:-1])
    inside[1:-1] &= (starts[2:] >= opens[1:-1]) & (ends[2:] <= closes[1:-1])
    inside &= (opens >= 0) & (closes <= recording.duration_seconds)
    inside[[0, -1]] = False
    middles = np.flatnonzero(inside)
    for middle, start, end in zip(middles.tolist(), opens[middles].tolist(), closes[middles].tolist(), strict=True):
        yield Crop(recording, middle, start, end)


def _in_turn(recordings: list[Recording], options: CropOptions) -> Iterator[Crop]:
    """All crops in the order of drawing.

    The k-th crop of a group of W words, in the group's own seeded order, comes at k / W, so at any time every group
    has given the same share of its words. With uniform spread W is 1 for all speakers.
    """
    groups: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        groups[recording.name if options.spread == "proportional" else recording.speaker].append(recording)
    turns: list[Floats] = []
    crops: list[Crop] = []
    for name in sorted(groups):
        members = [crop for recording in groups[name] for crop in _candidates(recording, options.crop_seconds)]
        members.sort(key=lambda crop: _order(options.seed, crop.word_id))
        words = sum(len(r.word_ids) for r in groups[name]) if options.spread == "proportional" else 1
        # Without an offset of its own, every group's first crop would come before any group's second.
        offset = int.from_bytes(_order(options.seed, name), "big") / 2**64
        turns.append((np.arange(len(members)) + offset) / max(words, 1))
        crops += members
    for place in np.argsort(np.concatenate(turns), kind="stable").tolist() if turns else ():
        yield crops[place]


def _order(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
