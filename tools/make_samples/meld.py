"""The MELD sample: three splits of clips with their CSV files, in the layout of MELD.Raw."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from cast import Person, person
from faces import Head, Image, Pose, backdrop
from media import write_mp4
from performance import EXPRESSED, ON_TWOS, Delivery, Turn, generator, looks, plan, poses, prosody
from speech import SAMPLE_RATE_HZ, Signal, say

FRAME_RATE = Fraction(24000, 1001)
HEIGHT, WIDTH = 360, 640
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
COLUMNS = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season",
    "Episode", "StartTime", "EndTime",
)  # fmt: skip
SENTIMENT = {
    "neutral": "neutral", "joy": "positive", "sadness": "negative", "anger": "negative",
    "disgust": "negative", "fear": "negative", "surprise": "positive",
}  # fmt: skip
CAST = {
    "Nora": person("Nora", "F", 3),
    "Felix": person("Felix", "M", 2),
    "Mina": person("Mina", "F", 7),
    "Owen": person("Owen", "M", 4),
}


@dataclass(frozen=True)
class Row:
    """One row of a CSV file and what becomes of its clip."""

    dialogue: int
    utterance: int
    speaker: str
    emotion: str
    text: str
    clip: str = "whole"
    """`whole`, `missing`, or `long`: cut several seconds too late."""


ROWS: dict[str, tuple[Row, ...]] = {
    "train": (
        Row(0, 0, "Nora", "neutral", "So I put all of the boxes in my dad\u0092s truck."),
        Row(0, 1, "Felix", "surprise", "Wait, you\u0092re moving today?"),
        Row(0, 2, "Nora", "joy", "Yes! I finally got the keys, isn\u0092t it great?"),
        Row(1, 0, "Owen", "anger", "You said you\u0092d call, and you didn\u0092t!", clip="long"),
        Row(1, 1, "Mina", "sadness", "I know\u0085 I\u0092m so sorry, I just forgot."),
        Row(1, 2, "Owen", "disgust", "Ugh, and what is that smell?"),
    ),
    "dev": (
        Row(0, 0, "Mina", "fear", "Oh no, there’s something under the bed!"),
        Row(0, 1, "Felix", "neutral", "It’s the cat… it’s always the cat."),
        Row(0, 2, "Mina", "joy", "Aww, look at her, she’s “hiding”!"),
        Row(1, 0, "Nora", "anger", "No! No, you can’t take my chair!", clip="missing"),
    ),
    "test": (
        Row(0, 0, "Felix", "joy", "Hey, I won! I’ve never won anything!"),
        Row(0, 1, "Owen", "surprise", "You’re kidding, how much is it?"),
        Row(1, 0, "Nora", "sadness", "He’s gone, and he didn’t even say goodbye."),
        Row(1, 1, "Mina", "neutral", "He left you a note on the kitchen table."),
    ),
}  # fmt: skip
"""As in the real files, train has cp1252 quotes as control characters (U+0092), the others Unicode quotes."""

UNLISTED = ("dev", Row(1, 1, "Felix", "neutral", "Okay, then I will just stand here."))
"""A clip that no CSV row names: the real development and test folders have a few."""


def make(root: Path) -> None:
    """Write the corpus below `root`."""
    for split, rows in ROWS.items():
        clips = [*rows, *([UNLISTED[1]] if split == UNLISTED[0] else [])]
        lengths = [_make_clip(root / FOLDERS[split], split, row, clips) for row in clips]
        _write_csv(root / f"{split}_sent_emo.csv", split, rows, lengths)


def _make_clip(folder: Path, split: str, row: Row, rows: Sequence[Row]) -> float:
    """Write a clip unless it is to be missing; return the length of the utterance in seconds."""
    rng = generator("meld", split, str(row.dialogue), str(row.utterance))
    emotion = {"joy": "happiness"}.get(row.emotion, row.emotion)
    (delivery,) = plan([emotion], rng, EXPRESSED)
    plain = row.text.translate({0x92: "'", 0x85: ",", 0x201C: None, 0x201D: None, 0x2026: ","})
    samples, _ = say(plain, CAST[row.speaker].voice, prosody(delivery, rng))
    seconds = len(samples) / SAMPLE_RATE_HZ
    if row.clip == "missing":
        return seconds
    total = seconds + 4.5 if row.clip == "long" else seconds + 0.1
    sound = rng.standard_normal(round(total * SAMPLE_RATE_HZ)) * 0.001
    sound[: len(samples)] += samples
    partners = [
        CAST[other.speaker] for other in rows if other.dialogue == row.dialogue and other.speaker != row.speaker
    ]
    frames = _film(CAST[row.speaker], partners[:1] if row.utterance > 0 else [], delivery, sound, seconds, rng)
    write_mp4(folder / f"dia{row.dialogue}_utt{row.utterance}.mp4", frames, FRAME_RATE, (WIDTH, HEIGHT), sound)
    return seconds


def _film(
    speaker: Person,
    partners: list[Person],
    delivery: Delivery,
    sound: Signal,
    seconds: float,
    rng: np.random.Generator,
) -> Iterator[Image]:
    """One or two people; the speaker is on a random side."""
    frames, rate = int(len(sound) / SAMPLE_RATE_HZ * FRAME_RATE), float(FRAME_RATE)
    people = [speaker, *partners]
    places = [0.5] if len(people) == 1 else [float(place) for place in rng.permutation([0.3, 0.7])]
    behind = backdrop(HEIGHT, WIDTH, rng)
    cast = []
    for one, place in zip(people, places, strict=True):
        speaks = one is speaker
        start = Pose(place * WIDTH + rng.uniform(-15, 15), HEIGHT * 0.5, rng.uniform(1.25, 1.5), rng.uniform(-2, 2))
        turns = [Turn(0, seconds, delivery.face)] if speaks else []
        heard = sound if speaks else np.zeros(len(sound))
        cast.append((Head(one.face), looks(turns, heard, rate, frames, rng), poses(start, rate, frames, rng)))
    picture = behind
    for index in range(frames):
        if index % ON_TWOS == 0:
            picture = behind.copy()
            for head, acted, moved in reversed(cast):
                head.draw(picture, acted[index], moved[index])
        yield picture


def _write_csv(path: Path, split: str, rows: Sequence[Row], lengths: Sequence[float]) -> None:
    """The split's CSV. Clips of a dialogue follow each other on the episode's clock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clock = 620.5
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for number, (row, seconds) in enumerate(zip(rows, lengths, strict=False), start=1):
            span = [_time(clock), _time(clock + seconds + 0.1)]
            season = {"train": 8, "dev": 4, "test": 3}[split]
            ids = [row.dialogue, row.utterance, season, 10 + row.dialogue]
            writer.writerow([number, row.text, row.speaker, row.emotion, SENTIMENT[row.emotion], *ids, *span])
            clock += seconds + 0.4


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
