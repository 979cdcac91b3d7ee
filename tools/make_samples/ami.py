"""The AMI sample: two short meetings of four in the AMI corpus's layout (manual annotations 1.6.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
from cast import Person, person
from faces import Head, Image, Pose, backdrop
from media import write_avi, write_wav
from performance import ON_TWOS, Turn, generator, looks, plan, poses, prosody
from sentences import MEETING, Bank
from speech import SAMPLE_RATE_HZ, Signal, Word, say

FRAME_RATE = Fraction(25)
HEIGHT, WIDTH = 288, 352
CROSSTALK = 10 ** (-30 / 20)


@dataclass(frozen=True)
class Seat:
    """One speaker of a meeting: who wears which headset before which camera."""

    agent: str
    channel: int
    camera: int | None
    person: Person
    role: str
    visible: bool = True


@dataclass(frozen=True)
class Meeting:
    """One meeting. Its seats are in the order of meetings.xml, which is not the order of the agents."""

    name: str
    seconds: float
    date: str
    seats: tuple[Seat, ...]


MEETINGS = (
    Meeting(
        "ES2099a", 24.0, "13-12-04",
        (
            Seat("B", 0, 4, person("FEE901", "F", 5), "PM"),
            Seat("A", 2, 1, person("MEE902", "M", 5), "ID"),
            Seat("C", 3, 2, person("MEE903", "M", 6), "UI"),
            Seat("D", 1, 3, person("FEE904", "F", 6), "ME", visible=False),
        ),
    ),
    Meeting(
        "IS1099b", 23.4, "29-10-2004",
        (
            Seat("D", 1, 2, person("MIO905", "M", 7), "ID"),
            Seat("B", 3, 4, person("FIE906", "F", 7), "PM"),
            Seat("A", 0, None, person("MIE907", "M", 8), "ME"),
            Seat("C", 2, 1, person("FIO908", "F", 8), "UI"),
        ),
    ),
)  # fmt: skip
"""IS1099b's speaker A is on no close-up camera; ES2099a's camera 3 shows an empty chair."""


@dataclass(frozen=True)
class Element:
    """One child of a words file: `w`, `vocalsound`, `disfmarker` or `gap`, with its attributes and text."""

    tag: str
    attributes: str
    text: str = ""


def make(root: Path) -> None:
    """Write the corpus below `root`."""
    for meeting in MEETINGS:
        spoken = {seat.agent: _speak(meeting, seat) for seat in meeting.seats}
        for seat in meeting.seats:
            sound, turns, words = spoken[seat.agent]
            others = [spoken[other.agent][0] for other in meeting.seats if other is not seat]
            rng = generator("ami", meeting.name, seat.agent, "room")
            heard = sound + CROSSTALK * np.sum(others, axis=0) + 0.0008 * rng.standard_normal(len(sound))
            write_wav(root / meeting.name / "audio" / f"{meeting.name}.Headset-{seat.channel}.wav", heard)
            _write_words(root, meeting, seat, words)
            if seat.camera is not None:
                avi = root / meeting.name / "video" / f"{meeting.name}.Closeup{seat.camera}.avi"
                frames = _film(meeting, seat, sound, turns) if seat.visible else _chair(meeting)
                write_avi(avi, frames, FRAME_RATE, (WIDTH, HEIGHT), "DX50", keyframe_every=25, quality=10)
    _write_resources(root / "corpusResources")


def _speak(meeting: Meeting, seat: Seat) -> tuple[Signal, list[Turn], list[Word]]:
    """A speaker's channel: sentence after sentence with pauses, moods in runs of one to three sentences."""
    rng = generator("ami", meeting.name, seat.agent)
    bank = Bank(MEETING, rng)
    sound = np.zeros(round(meeting.seconds * SAMPLE_RATE_HZ))
    turns: list[Turn] = []
    words: list[Word] = []
    clock = rng.uniform(0.2, 1.2)
    moods = _moods(rng)
    while True:
        (delivery,) = plan([next(moods)], rng)
        sentence = bank.draw(delivery.emotion, delivery.telling_words)
        samples, own = say(sentence, seat.person.voice, prosody(delivery, rng))
        end = clock + len(samples) / SAMPLE_RATE_HZ
        if end > meeting.seconds - 0.2:
            return sound, turns, words
        begin = round(clock * SAMPLE_RATE_HZ)
        sound[begin : begin + len(samples)] += samples
        turns.append(Turn(clock, end, delivery.face))
        words += [word.shifted(clock) for word in own]
        clock = end + rng.uniform(0.1, 0.6)


def _moods(rng: np.random.Generator) -> Iterator[str]:
    while True:
        mood = str(rng.choice(["neutral", "happiness", "anger", "sadness"], p=[0.45, 0.33, 0.11, 0.11]))
        for _ in range(int(rng.integers(1, 4))):
            yield mood


def _film(meeting: Meeting, seat: Seat, sound: Signal, turns: Sequence[Turn]) -> Iterator[Image]:
    """The speaker's close-up."""
    rng = generator("ami", meeting.name, seat.agent, "film")
    frames, rate = round(meeting.seconds * FRAME_RATE), float(FRAME_RATE)
    head = Head(seat.person.face)
    behind = backdrop(HEIGHT, WIDTH, rng)
    start = Pose(
        WIDTH / 2 + rng.uniform(-20, 20),
        HEIGHT * 0.5 + rng.uniform(-8, 8),
        rng.uniform(1.2, 1.4),
        rng.uniform(-2, 2),
    )
    acted, moved = looks(turns, sound, rate, frames, rng), poses(start, rate, frames, rng)
    picture = behind
    for index in range(frames):
        if index % ON_TWOS == 0:
            picture = behind.copy()
            head.draw(picture, acted[index], moved[index])
        yield picture


def _chair(meeting: Meeting) -> Iterator[Image]:
    """The close-up of a speaker who stands at the board: a chair; the light changes every six seconds."""
    rng = generator("ami", meeting.name, "chair")
    still = backdrop(HEIGHT, WIDTH, rng)
    cv2.rectangle(still, (120, 96), (236, 236), (52, 56, 70), -1)
    cv2.rectangle(still, (132, 108), (224, 216), (66, 72, 92), -1)
    cv2.rectangle(still, (166, 236), (190, 288), (40, 40, 44), -1)
    cv2.rectangle(still, (96, 252), (260, 276), (52, 56, 70), -1)
    blurred = cv2.GaussianBlur(still, (0, 0), 2.0)
    for index in range(round(meeting.seconds * FRAME_RATE)):
        lamp = 1 + 0.012 * (index // 150 % 2)
        yield np.clip(blurred * lamp, 0, 255).astype(np.uint8)


def _elements(words: Sequence[Word]) -> Iterator[Element]:
    """The children of a words file. Every tenth pause has a gap, every broken-off word a marker behind it."""
    for index, word in enumerate(words):
        begin, end = f"{word.start_seconds:.2f}", f"{word.end_seconds:.2f}"
        times = f' starttime="{begin}" endtime="{end}"'
        instant = f' starttime="{end}" endtime="{end}"'
        if word.is_laughter:
            yield Element("vocalsound", f'{times} type="laugh"')
            continue
        truncated = ' trunc="true"' if word.is_truncated else ""
        untimed = index == 17
        yield Element("w", ("" if untimed else times) + truncated, word.text.removesuffix("-"))
        if word.is_truncated:
            yield Element("disfmarker", instant)
        for mark in word.punctuation[:1]:
            yield Element("w", f'{instant} punc="true"', "." if mark == "!" else mark)
            if mark != "," and index % 10 == 0:
                yield Element("gap", instant)


def _write_words(root: Path, meeting: Meeting, seat: Seat, words: Sequence[Word]) -> None:
    stem = f"{meeting.name}.{seat.agent}"
    rows = []
    for number, element in enumerate(_elements(words)):
        text = escape(element.text, {"'": "&#39;"})
        body = f">{text}</{element.tag}>" if text else "/>"
        rows.append(f'   <{element.tag} nite:id="{stem}.words{number}"{element.attributes}{body}')
    _write_nxt(root / "words" / f"{stem}.words.xml", f"{stem}.words", rows)


def _write_resources(folder: Path) -> None:
    """meetings.xml and participants.xml."""
    meetings, participants = [], []
    for number, meeting in enumerate(MEETINGS, start=1):
        meetings.append(
            f'   <meeting nite:id="meet_{number}" type="scenario" observation="{meeting.name}"'
            f' name="AMI scenario meeting" dateOnly="{meeting.date}" startTime=""'
            f' description="AMI scenario Hub -- meeting "'
            f' duration="{meeting.seconds:.0f}" visibility="seen" seen_type="training">'
        )
        for place, seat in enumerate(meeting.seats, start=1):
            camera = "" if seat.camera is None else f' camera="Closeup{seat.camera}"'
            meetings.append(
                f'      <speaker nite:id="{meeting.name}_{place}" channel="{seat.channel}"'
                f' nxt_agent="{seat.agent}"{camera} global_name="{seat.person.name}" role="{seat.role}"/>'
            )
            participants.append(
                f'   <participant nite:id="{seat.person.name}" sex="{seat.person.gender}"'
                f' age_at_collection="30.0" native_language="English" meeting="{meeting.name[:-1]}"/>'
            )
            if seat.camera is None:
                meetings.append(f"      <!-- {seat.person.name} is not on a closeup camera -->")
        meetings.append("   </meeting>")
    _write_nxt(folder / "meetings.xml", "meet.00", meetings)
    _write_nxt(folder / "participants.xml", "participants.00", participants)


def _write_nxt(path: Path, identifier: str, rows: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        '<?xml version="1.0" encoding="ISO-8859-1" standalone="yes"?>',
        f'<nite:root nite:id="{identifier}" xmlns:nite="http://nite.sourceforge.net/">',
        *rows,
        "</nite:root>",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="iso-8859-1")
