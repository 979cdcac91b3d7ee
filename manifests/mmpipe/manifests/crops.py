"""Word-centred crops (paper section 4.2): windows of fixed length centred on the middle of three consecutive words.

The order in which crops are drawn follows from a hash of the seed and the word's own id. So the same seed gives the same crops
on any machine, and a larger number of crops extends a smaller one.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from mmpipe.manifests.schema import Word

__all__ = ["Crop", "SpokenWord", "Spread", "candidates", "draw"]

Spread = Literal["proportional", "uniform"]


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of a recording, with its times on the recording's clock. `mark` is the punctuation behind it."""

    word_id: str
    text: str
    start_seconds: float
    end_seconds: float
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Crop:
    """A window of one speaker's recording.

    Attributes:
        word_id: the middle word of the three.
        speaker: whose recording it is.
        start_seconds: start of the window on the recording's clock.
        end_seconds: its end.
        first: index of the speaker's first word that lies inside the window.
        last: index behind the last one.
    """

    word_id: str
    speaker: str
    start_seconds: float
    end_seconds: float
    first: int
    last: int


def candidates(words: Sequence[SpokenWord], speaker: str, seconds: float, duration_seconds: float) -> list[Crop]:
    """Every crop of one speaker: its three words lie inside it, it lies inside the recording.

    Args:
        words: the speaker's words by start time; none runs backwards.
        speaker: name of the recording.
        seconds: length of a crop.
        duration_seconds: length of the recording.
    """
    starts = [word.start_seconds for word in words]
    crops = []
    for middle in range(1, len(words) - 1):
        word = words[middle]
        start = round((word.start_seconds + word.end_seconds) / 2 - seconds / 2, 4)
        end = round(start + seconds, 4)
        if start < 0 or end > duration_seconds:
            continue
        if words[middle - 1].start_seconds < start or words[middle + 1].end_seconds > end:
            continue
        first, last = bisect_left(starts, start), bisect_left(starts, end)
        while last > first and words[last - 1].end_seconds > end:
            last -= 1
        crops.append(Crop(word.word_id, speaker, start, end, first, last))
    return crops


def _order(seed: int, word_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{word_id}".encode(), digest_size=8).digest()


def draw(crops: Iterable[Crop], number: int, seed: int, spread: Spread = "proportional") -> list[Crop]:
    """The first `number` crops in seeded order.

    Args:
        crops: all candidates.
        number: how many to take; all are taken where there are fewer.
        seed: decides the order.
        spread: `proportional` to the words of meetings and speakers, or `uniform` over speakers.
    """
    ordered = sorted(crops, key=lambda crop: (_order(seed, crop.word_id), crop.word_id))
    if spread == "uniform":
        rank: dict[str, int] = {}
        ranked = []
        for crop in ordered:
            rank[crop.speaker] = rank.get(crop.speaker, -1) + 1
            ranked.append((rank[crop.speaker], crop))
        ordered = [crop for _, crop in sorted(ranked, key=lambda pair: pair[0])]
    return ordered[:number]


def inside(words: Sequence[SpokenWord], crop: Crop) -> tuple[str, tuple[Word, ...]]:
    """Text and words of a crop, times on the crop's own clock."""
    part = words[crop.first : crop.last]
    text = " ".join(word.text + word.mark for word in part)
    return text, tuple(
        Word(w.text, round(w.start_seconds - crop.start_seconds, 4), round(w.end_seconds - crop.start_seconds, 4))
        for w in part
    )
