"""Speech from espeak-ng with the times of its words.

The times are espeak-ng's own: while it synthesises a sentence as a whole it reports at which sample each word
and each phoneme begins. A word ends where the next word begins, or where a pause phoneme follows it and its
sound has died away (before some commas espeak-ng draws a vowel out over the pause).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfilt

SAMPLE_RATE_HZ = 16000
LAUGH = "[laugh]"
"""Stands for laughter in a sentence."""

_ESPEAK_RATE_HZ = 22050
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7

Signal = NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice with its variant; habitual pitch and range (0..100) and words a minute."""

    name: str
    pitch: float
    range: float = 45.0
    rate: float = 169.0


@dataclass(frozen=True)
class Prosody:
    """How one utterance departs from the speaker's habit."""

    rate: float = 1.0
    pitch: float = 0.0
    range: float = 0.0
    gain_db: float = 0.0
    tilt_db: float = 0.0
    """Gain of the band above 1 kHz: vocal effort."""
    word_gap: float = 0.0
    """Extra pause after each word in units of 10 ms."""
    tremor: float = 0.0
    """Depth of a 5.5 Hz amplitude tremor, 0..1."""


@dataclass(frozen=True)
class Word:
    """One word (or laughter) of an utterance, in seconds from the start of its sound."""

    text: str
    start_seconds: float
    end_seconds: float
    punctuation: str = ""

    @property
    def is_laughter(self) -> bool:
        """Whether this stands for laughter."""
        return self.text == LAUGH

    @property
    def is_truncated(self) -> bool:
        """Whether the speaker broke the word off."""
        return self.text.endswith("-")

    def shifted(self, seconds: float) -> Word:
        """The same word on a clock that starts so much earlier."""
        return Word(self.text, self.start_seconds + seconds, self.end_seconds + seconds, self.punctuation)


class _Identifier(ctypes.Union):
    _fields_: ClassVar = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Espeak:
    """The C library (espeak-ng's speak_lib.h, version 1.51) in synchronous mode."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        synchronous, phoneme_events = 2, 1
        rate = self._library.espeak_Initialize(synchronous, 0, None, phoneme_events)
        if rate != _ESPEAK_RATE_HZ:
            raise RuntimeError(f"espeak-ng: expected a sample rate of {_ESPEAK_RATE_HZ} Hz, got {rate}")
        self._chunks: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, int, int, str]] = []
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            name = event.id.string.decode("utf-8", "replace") if event.type == _EVENT_PHONEME else ""
            self._events.append((event.type, event.text_position, event.sample, name))
            index += 1
        return 0

    def synthesise(
        self, text: str, voice: str, parameters: dict[int, int]
    ) -> tuple[Signal, list[tuple[int, int, int, str]]]:
        """Samples in [-1, 1] at 22,050 Hz and events (type, position in the text from 1, sample, phoneme)."""
        self._chunks.clear()
        self._events.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(
                f"espeak-ng: no voice {voice!r}; list them with `espeak-ng --voices` and `--voices=variant`"
            )
        for parameter, value in parameters.items():
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        utf8 = 1
        self._library.espeak_Synth(
            encoded,
            ctypes.c_size_t(len(encoded) + 1),
            ctypes.c_uint(0),
            1,
            0,
            ctypes.c_uint(utf8),
            None,
            None,
        )
        self._library.espeak_Synchronize()
        return np.concatenate(self._chunks).astype(np.float64) / 32768, list(self._events)


@cache
def _espeak() -> _Espeak:
    return _Espeak()


def say(sentence: str, voice: Voice, prosody: Prosody) -> tuple[Signal, list[Word]]:
    """Speak a sentence: samples in [-1, 1] at 16 kHz, 60 ms before the first word to 60 ms after the last."""
    spoken, tokens = _spoken(sentence)
    parameters = {
        _RATE: round(np.clip(voice.rate * prosody.rate, 90, 380)),
        _VOLUME: 80,
        _PITCH: round(np.clip(voice.pitch + prosody.pitch, 0, 99)),
        _RANGE: round(np.clip(voice.range + prosody.range, 0, 99)),
        _WORD_GAP: round(np.clip(prosody.word_gap, 0, 40)),
    }
    samples, events = _espeak().synthesise(spoken, voice.name, parameters)
    lead, tail = 0.06, 0.06
    words = [word.shifted(lead) for word in _timed(tokens, events, _loud(samples))]
    samples = np.pad(samples, (round(lead * _ESPEAK_RATE_HZ), 0))
    samples = _coloured(resample_poly(samples, 320, 441), prosody)
    first, last = words[0].start_seconds - lead, words[-1].end_seconds + tail
    cut = samples[round(first * SAMPLE_RATE_HZ) : round(last * SAMPLE_RATE_HZ)]
    fade = np.minimum(1, np.arange(len(cut)) / 160)
    return cut * fade * fade[::-1], [word.shifted(-first) for word in words]


def _spoken(sentence: str) -> tuple[str, list[tuple[str, int, int]]]:
    """What espeak-ng is to say, and each token with its span of positions (counted from 1) in that text."""
    text, tokens = "", []
    for token in sentence.split():
        said = "hahaha," if token == LAUGH else token.replace("’", "'")
        tokens.append((token, len(text) + 1, len(text) + 1 + len(said)))
        text += said + " "
    return text.rstrip(), tokens


def _loud(samples: Signal) -> NDArray[np.bool_]:
    """Where the level of 20 ms is above 2 % of its peak."""
    window = _ESPEAK_RATE_HZ // 50
    power = np.convolve(samples**2, np.ones(window) / window, mode="same")
    return np.asarray(power > 0.02**2 * power.max(), np.bool_)


def _timed(
    tokens: list[tuple[str, int, int]], events: list[tuple[int, int, int, str]], loud: NDArray[np.bool_]
) -> Iterator[Word]:
    """Words with times from the events. Words that espeak-ng runs together share their span by length."""
    starts = [(position, sample) for kind, position, sample, _ in events if kind == _EVENT_WORD]
    phonemes = [(sample, name) for kind, _, sample, name in events if kind == _EVENT_PHONEME]
    groups: list[tuple[int, list[str]]] = []
    for token, begin, end in tokens:
        own = [sample for position, sample in starts if begin <= position < end]
        if own or not groups:
            groups.append((own[0] if own else 0, [token]))
        else:
            groups[-1][1].append(token)
    for index, (start, members) in enumerate(groups):
        following = groups[index + 1][0] if index + 1 < len(groups) else len(loud)
        voiced = [sample for sample, name in phonemes if start <= sample < following and not name.startswith("_")]
        pauses = [
            sample for sample, name in phonemes if voiced and voiced[-1] < sample <= following and name.startswith("_")
        ]
        end = min(pauses, default=following)
        quiet = np.flatnonzero(~loud[end:following])
        end = end + int(quiet[0]) if len(quiet) else following
        letters = np.cumsum([0, *(len(member) for member in members)]) / sum(len(member) for member in members)
        edges = (start + letters * (end - start)) / _ESPEAK_RATE_HZ
        for member, left, right in zip(members, edges[:-1], edges[1:], strict=True):
            text, punctuation = _split(member)
            yield Word(text, float(left), float(right), punctuation)


def _split(token: str) -> tuple[str, str]:
    """A token's word and the punctuation that follows it."""
    if token == LAUGH:
        return token, ""
    found = re.fullmatch(r"(.*?)([.,?!…]*)", token)
    assert found is not None
    return found.group(1), found.group(2)


def _coloured(samples: Signal, prosody: Prosody) -> Signal:
    """Apply vocal effort, tremor and gain."""
    low = sosfilt(butter(1, 1000, fs=SAMPLE_RATE_HZ, output="sos"), samples)
    shaped = low + (samples - low) * 10 ** (prosody.tilt_db / 20)
    time = np.arange(len(shaped)) / SAMPLE_RATE_HZ
    shaped = shaped * (1 - prosody.tremor * (0.5 + 0.5 * np.sin(2 * np.pi * 5.5 * time)))
    level = np.sqrt(np.mean(shaped**2)) + 1e-9
    return np.asarray(shaped * (0.07 / level) * 10 ** (prosody.gain_db / 20), np.float64)
