"""The people of the sample corpora: a voice and a face each."""

from __future__ import annotations

from dataclasses import dataclass

from faces import Identity
from performance import generator
from speech import Voice

_WOMEN = (
    Voice("en-us+f2", 52), Voice("en-gb-x-gbclan+f3", 48), Voice("en-us+f4", 50), Voice("en-gb-x-rp+f5", 46),
    Voice("en-us+linda", 50), Voice("en-gb-scotland+f2", 50, rate=160), Voice("en-029+f3", 55),
    Voice("en-gb-x-gbclan+f1", 52),
    Voice("en-us+steph", 48),
)  # fmt: skip
_MEN = (
    Voice("en-us+m1", 70), Voice("en-gb-x-gbclan+m3", 68), Voice("en-us+m7", 73), Voice("en-gb-x-rp+m2", 68),
    Voice("en-us+m4", 72), Voice("en-gb-scotland+m5", 70, rate=160), Voice("en-029+m3", 74),
    Voice("en-us+m8", 72),
    Voice("en-gb-x-gbcwmd+m7", 70),
)  # fmt: skip
_HAIR = (
    (1.12, 0.98, 0.68), (0.42, 0.36, 0.32), (1.12, 0.82, 0.62), (0.75, 0.58, 0.42), (1.0, 1.0, 1.0),
    (0.55, 0.42, 0.34),
    (1.3, 1.15, 0.8),
)  # fmt: skip
_SUITS = (
    (0.35, 0.4, 0.55), (0.75, 0.72, 0.65), (0.3, 0.5, 0.38), (0.55, 0.25, 0.3), (0.9, 0.35, 0.2),
    (0.25, 0.25, 0.28),
    (0.6, 0.5, 0.72),
)  # fmt: skip
_SKIN = ((1.0, 1.0, 1.0), (0.93, 0.88, 0.84), (0.84, 0.76, 0.7), (1.03, 0.98, 0.95), (0.76, 0.66, 0.58))


@dataclass(frozen=True)
class Person:
    """One speaker."""

    name: str
    gender: str
    voice: Voice
    face: Identity


def person(name: str, gender: str, number: int) -> Person:
    """A speaker whose voice and colours follow from a number and whose geometry is drawn from the name."""
    rng = generator("person", name)
    male = gender == "M"
    face = Identity(
        width=rng.uniform(0.95, 1.06) + 0.03 * male,
        height=rng.uniform(0.97, 1.04),
        eyes_apart=rng.uniform(-1.6, 1.6),
        eyes_open=rng.uniform(-0.5, 0.6),
        brow_height=rng.uniform(-1.2, 1.0) - 0.6 * male,
        nose_width=rng.uniform(-1.0, 1.0) + 0.7 * male,
        nose_length=rng.uniform(-1.4, 1.4),
        mouth_width=rng.uniform(-1.6, 1.6),
        jaw_width=rng.uniform(-2.5, 0.5) + 3.0 * male,
        chin_length=rng.uniform(-1.8, 1.2) + 1.5 * male,
        mirror=bool(rng.random() < 0.5),
        expressivity=rng.uniform(0.8, 1.1),
        skin=_SKIN[number * 3 % len(_SKIN)],
        contrast=rng.uniform(0.9, 1.08),
        hair=_HAIR[(number * 2 + male) % len(_HAIR)],
        suit=_SUITS[(number * 3 + 2 * male) % len(_SUITS)],
        beard=rng.uniform(0.08, 0.2) if male else 0.0,
        brows=rng.uniform(0.45, 0.65) if male else rng.uniform(0.2, 0.45),
    )
    voices = _MEN if male else _WOMEN
    return Person(name, gender, voices[number % len(voices)], face)
