"""Acting: how strongly each channel of an utterance shows its emotion, and what that does to voice and face.

Voice, face and words are drawn apart, so that each misleads on other utterances than the others do.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from faces import Look, Pose
from numpy.typing import NDArray
from speech import SAMPLE_RATE_HZ, Prosody, Signal

SEED = 20260
ON_TWOS = 2
"""Faces are drawn again for every second frame, as animators do: it halves the size of the videos."""

PROSODY: dict[str, Prosody] = {
    "neutral": Prosody(),
    "happiness": Prosody(rate=1.08, pitch=20, range=40, gain_db=2.0, tilt_db=2.0),
    "anger": Prosody(rate=1.2, pitch=3, range=8, gain_db=6.0, tilt_db=8.0),
    "sadness": Prosody(rate=0.84, pitch=-7, range=-22, gain_db=-4.0, tilt_db=-5.0, word_gap=3, tremor=0.12),
    "surprise": Prosody(rate=1.04, pitch=18, range=34, gain_db=2.0, tilt_db=2.0),
    "fear": Prosody(rate=1.15, pitch=14, range=-6, gain_db=-1.0, tilt_db=-1.0, tremor=0.3),
    "disgust": Prosody(rate=0.9, pitch=-8, range=6, gain_db=0.5, tilt_db=1.0, word_gap=2),
}
EXPRESSED = tuple(name for name in PROSODY if name != "neutral")


@dataclass(frozen=True)
class Delivery:
    """Weights of emotions in voice and face (what is left up to 1 is neutral), and whether the words tell."""

    emotion: str
    voice: dict[str, float]
    face: dict[str, float]
    telling_words: bool


def generator(*names: str) -> np.random.Generator:
    """The random generator of one named piece: adding a piece elsewhere does not change it."""
    return np.random.default_rng([SEED, zlib.crc32("/".join(names).encode())])


def _weights(emotion: str, weak: bool, others: Sequence[str], rng: np.random.Generator) -> dict[str, float]:
    strength = rng.uniform(0.0, 0.35) if weak else rng.uniform(0.6, 1.0)
    leak = rng.uniform(0.15, 0.55) if weak else rng.uniform(0.0, 0.2)
    weights = {emotion: strength} if emotion != "neutral" else {}
    stranger = str(rng.choice([name for name in others if name != emotion]))
    weights[stranger] = leak * (1.0 - 0.4 * strength)
    return weights


def plan(
    emotions: Sequence[str],
    rng: np.random.Generator,
    others: Sequence[str] = ("happiness", "anger", "sadness"),
) -> list[Delivery]:
    """One delivery for each emotion; words mislead in about a third, voice and face in a quarter each."""
    deliveries = []
    for emotion in emotions:
        silent = rng.choice(["words", "voice", "face", "none"], p=[0.3, 0.24, 0.24, 0.22])
        again = rng.random() < 0.08
        voice = _weights(emotion, bool(silent == "voice" or again), others, rng)
        face = _weights(emotion, bool(silent == "face"), others, rng)
        deliveries.append(Delivery(emotion, voice, face, telling_words=bool(silent != "words") and not again))
    return deliveries


def prosody(delivery: Delivery, rng: np.random.Generator) -> Prosody:
    """The utterance's prosody: its emotions' mixture plus noise."""
    mixed = {name: getattr(Prosody(), name) for name in vars(Prosody())}
    for emotion, weight in delivery.voice.items():
        for name, value in vars(PROSODY[emotion]).items():
            mixed[name] += weight * (value - getattr(Prosody(), name))
    noise = {"rate": 0.04, "pitch": 2.5, "range": 5.0, "gain_db": 1.0, "tilt_db": 1.0}
    for name, deviation in noise.items():
        mixed[name] += deviation * float(np.clip(rng.standard_normal(), -2, 2))
    return replace(Prosody(), **mixed)


def mouth_track(samples: Signal, rate_hz: float, frames: int) -> NDArray[np.float64]:
    """Opening of the mouth in 0..1 for each video frame: the sound's level relative to the loud parts."""
    window = round(0.05 * SAMPLE_RATE_HZ)
    power = np.convolve(samples**2, np.ones(window) / window, mode="same")
    level = np.sqrt(np.maximum(power, 0))
    at = np.minimum((np.arange(frames) + 0.5) / rate_hz * SAMPLE_RATE_HZ, len(level) - 1).astype(int)
    loud = np.percentile(level[level > 0.01], 90) if (level > 0.01).any() else 1.0
    opening = np.clip(level[at] / loud, 0, 1) ** 0.8
    opening[level[at] < 0.006] = 0
    return np.asarray(0.85 * opening, np.float64)


@dataclass(frozen=True)
class Turn:
    """One stretch of a speaker's face on the clip's clock, in seconds."""

    start_seconds: float
    end_seconds: float
    face: dict[str, float]


def looks(turns: Sequence[Turn], sound: Signal, rate_hz: float, frames: int, rng: np.random.Generator) -> list[Look]:
    """The face frame by frame. Expressions come 0.25 s before a turn and fade within 0.4 s after it."""
    time = (np.arange(frames) + 0.5) / rate_hz
    tracks: dict[str, NDArray[np.float64]] = {}
    for turn in turns:
        rise = np.clip((time - turn.start_seconds + 0.3) / 0.25, 0, 1)
        fall = np.clip((turn.end_seconds + 0.4 - time) / 0.4, 0, 1)
        flicker = 1 + 0.08 * np.sin(2 * np.pi * (time * rng.uniform(0.3, 0.7) + rng.random()))
        for name, weight in turn.face.items():
            track = weight * np.minimum(rise, fall) * flicker
            tracks[name] = np.maximum(tracks.get(name, np.zeros(frames)), track)
    mouth = mouth_track(sound, rate_hz, frames)
    blinks = np.zeros(frames)
    moment = rng.uniform(0.5, 3.0)
    while moment < frames / rate_hz:
        blinks = np.maximum(blinks, np.clip(1 - np.abs(time - moment) / 0.1, 0, 1))
        moment += rng.uniform(2.0, 5.0)
    drawn = np.arange(frames) // ON_TWOS * ON_TWOS
    return [
        Look(
            {name: float(track[i]) for name, track in tracks.items() if track[i] > 0},
            float(mouth[i]),
            float(blinks[i]),
        )
        for i in drawn
    ]


def poses(start: Pose, rate_hz: float, frames: int, rng: np.random.Generator) -> list[Pose]:
    """Head motion about a pose: every second or two the head moves for 0.4 s, by some 2 % of its width."""
    at, states = [0.0], [rng.standard_normal(4)]
    while at[-1] < frames / rate_hz:
        still = at[-1] + rng.uniform(0.6, 2.0)
        at += [still, still + 0.4]
        states += [states[-1], np.clip(rng.standard_normal(4), -2, 2)]
    time = (np.arange(frames) // ON_TWOS * ON_TWOS) / rate_hz
    across, up, roll, near = (np.interp(time, at, track) for track in np.array(states).T)
    return [
        Pose(
            start.x + 1.8 * start.scale * across[i],
            start.y + 1.3 * start.scale * up[i],
            start.scale * (1 + 0.012 * near[i]),
            start.roll + 1.6 * roll[i],
        )
        for i in range(frames)
    ]
