"""Words with times of any captioned clip, as recordings to draw word-centred crops from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from mmpipe.manifests.crops import Recording
from mmpipe.manifests.schema import Word
from mmpipe.manifests.transcripts import Cue, Transcript

__all__ = ["recordings_of"]


def recordings_of(name: str, speaker: str, transcript: Transcript, duration_seconds: float | None) -> list[Recording]:
    """The words of each speaker of a clip.

    Words have the times of the transcript's word tier; where there is none, the words of a cue share its time in
    proportion to their letters, as captions without word times tell no more.

    Args:
        name: unique name of the clip.
        speaker: who speaks where the transcript does not tell.
        transcript: what is said.
        duration_seconds: length of the media; None takes the end of the last word, so that no window ends behind it.
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
