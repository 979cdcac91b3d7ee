"""The IEMOCAP sample: five sessions of two scenes each, in the layout of the corpus's full release."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from cast import Person, person
from faces import Head, Image, Pose, backdrop
from media import write_avi, write_wav
from performance import ON_TWOS, Delivery, Turn, generator, looks, plan, poses, prosody
from sentences import DIALOGUE, Bank
from speech import LAUGH, SAMPLE_RATE_HZ, Signal, Word, say

FRAME_RATE = Fraction(30000, 1001)
HEIGHT, WIDTH = 240, 360
DIALOGUES: tuple[tuple[str, ...], ...] = (
    ("Ses01F_impro01", "Ses01M_script01_1"),
    ("Ses02F_script01_1", "Ses02M_impro02"),
    ("Ses03F_script02_2", "Ses03M_impro03"),
    ("Ses04F_impro04", "Ses04M_script03_2"),
    ("Ses05F_script03_1", "Ses05M_impro05"),
)
SHORTEST_SECONDS = 1.6
WITHOUT_ALIGNMENT = "Ses03M_impro03_M001"
"""The one utterance of the real corpus that has no ForcedAlignment file."""

LAUGHTER = {"hap": 0.4, "exc": 0.2}
"""How often a line ends in laughter; other labels have 6 % (bitter laughter)."""

EXTRA_LABELS = {
    "Ses01F_impro01": "xxx",
    "Ses02M_impro02": "fru",
    "Ses04F_impro04": "fru",
    "Ses05F_script03_1": "xxx",
}
_LABELS = {"neutral": "neu", "anger": "ang", "sadness": "sad"}
_NAMES = {
    "neu": "Neutral state", "hap": "Happiness", "exc": "Excited", "ang": "Anger", "sad": "Sadness",
    "fru": "Frustration",
    "xxx": "Other",
}  # fmt: skip
_ATTRIBUTES = {
    "neu": (2.8, 2.5, 2.9), "hap": (4.1, 3.2, 3.1), "exc": (4.0, 3.8, 3.4), "ang": (1.8, 3.7, 4.0),
    "sad": (2.1, 2.0, 2.5),
    "fru": (2.2, 3.0, 3.1), "xxx": (2.6, 2.8, 2.8),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One utterance on its dialogue's clock; the words' times count from the utterance's start."""

    name: str
    label: str
    sentence: str
    delivery: Delivery
    samples: Signal
    words: list[Word]
    start_seconds: float

    @property
    def end_seconds(self) -> float:
        """Where the utterance's cut ends."""
        return self.start_seconds + len(self.samples) / SAMPLE_RATE_HZ


def make(root: Path) -> None:
    """Write the corpus below `root`."""
    bank = Bank(DIALOGUE, generator("iemocap", "sentences"))
    for number, names in enumerate(DIALOGUES, start=1):
        actors = {gender: person(f"Ses{number:02d}{gender}", gender, number - 1) for gender in "FM"}
        for half, name in enumerate(names):
            rng = generator("iemocap", name)
            lines = _perform(name, half, actors, bank, rng)
            session = root / f"Session{number}"
            _write_annotations(session, name, lines, rng)
            sound = _sound(lines, rng)
            for line in lines:
                cut = sound[_sample(line.start_seconds) : _sample(line.end_seconds)]
                write_wav(session / "sentences" / "wav" / name / f"{line.name}.wav", cut)
            frames = _film(name, lines, actors, sound, rng)
            avi = session / "dialog" / "avi" / "DivX" / f"{name}.avi"
            write_avi(avi, frames, FRAME_RATE, (WIDTH, HEIGHT), "DIVX", keyframe_every=240, quality=10, sound=sound)
            _write_decoy(avi)


def _sample(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def _perform(name: str, half: int, actors: dict[str, Person], bank: Bank, rng: np.random.Generator) -> list[Line]:
    """The dialogue: both actors show every emotion once; `EXTRA_LABELS` adds a line of another class."""
    cues = [(gender, emotion) for gender in "FM" for emotion in ("neutral", "happiness", "anger", "sadness")]
    deliveries = plan([emotion for _, emotion in cues], rng)
    order = [int(index) for pair in zip(rng.permutation(4), 4 + rng.permutation(4), strict=True) for index in pair]
    script = [(cues[i][0], deliveries[i], _label(cues[i][1], cues[i][0], half)) for i in order]
    if name in EXTRA_LABELS:
        script.append(("F", plan(["anger"], rng)[0], EXTRA_LABELS[name]))
    spoken = {"F": 0, "M": 0}
    lines: list[Line] = []
    clock = 0.5
    for gender, delivery, label in script:
        sentence = bank.draw(delivery.emotion, delivery.telling_words)
        if rng.random() < LAUGHTER.get(label, 0.06):
            sentence += f" {LAUGH}"
        samples, words = say(sentence, actors[gender].voice, prosody(delivery, rng))
        samples, words = _padded(samples, words)
        utterance = f"{name}_{gender}{spoken[gender]:03d}"
        clock = round(clock, 4)
        lines.append(Line(utterance, label, sentence, delivery, samples, words, clock))
        spoken[gender] += 1
        clock = lines[-1].end_seconds + rng.uniform(0.05, 0.35)
    return lines


def _padded(samples: Signal, words: list[Word]) -> tuple[Signal, list[Word]]:
    """A short line with silence on both sides, as long as `SHORTEST_SECONDS`."""
    missing = max(0, _sample(SHORTEST_SECONDS) - len(samples)) // 2
    return np.pad(samples, missing), [word.shifted(missing / SAMPLE_RATE_HZ) for word in words]


def _label(emotion: str, gender: str, half: int) -> str:
    """Happiness is `hap` from one actor and `exc` from the other, exchanged in the second scene."""
    if emotion != "happiness":
        return _LABELS[emotion]
    return "hap" if (gender == "F") == (half == 0) else "exc"


def _sound(lines: Sequence[Line], rng: np.random.Generator) -> Signal:
    """The dialogue's sound: the lines on a floor of room noise."""
    sound = rng.standard_normal(_sample(lines[-1].end_seconds + 0.5)) * 0.0006
    for line in lines:
        begin = _sample(line.start_seconds)
        sound[begin : begin + len(line.samples)] += line.samples
    return np.asarray(sound, np.float64)


def _film(
    name: str, lines: Sequence[Line], actors: dict[str, Person], sound: Signal, rng: np.random.Generator
) -> Iterator[Image]:
    """Both actors side by side; on the left the one with motion capture, given by the name's sixth letter."""
    frames = int(len(sound) / SAMPLE_RATE_HZ * FRAME_RATE)
    left = name[5]
    halves = []
    for gender in (left, "M" if left == "F" else "F"):
        own = [line for line in lines if line.name[-4] == gender]
        voice = np.zeros(len(sound))
        for line in own:
            begin = _sample(line.start_seconds)
            voice[begin : begin + len(line.samples)] = line.samples
        turns = [Turn(line.start_seconds, line.end_seconds, line.delivery.face) for line in own]
        start = Pose(
            WIDTH / 4 + rng.uniform(-4, 4),
            HEIGHT * 0.52 + rng.uniform(-4, 4),
            rng.uniform(1.0, 1.12),
            rng.uniform(-2, 2),
        )
        rate = float(FRAME_RATE)
        acted = looks(turns, voice, rate, frames, rng)
        moved = poses(start, rate, frames, rng)
        halves.append((Head(actors[gender].face), backdrop(HEIGHT, WIDTH // 2, rng), acted, moved))
    picture = np.hstack([behind for _, behind, _, _ in halves])
    for index in range(frames):
        if index % ON_TWOS == 0:
            drawn = [behind.copy() for _, behind, _, _ in halves]
            for half, (head, _, acted, moved) in zip(drawn, halves, strict=True):
                head.draw(half, acted[index], moved[index])
            picture = np.hstack(drawn)
        yield picture


def _write_annotations(session: Path, name: str, lines: Sequence[Line], rng: np.random.Generator) -> None:
    """Transcription, evaluations with a decoy in a sub-folder, and forced alignments."""
    dialog = session / "dialog"
    transcription = [
        f"{line.name} [{line.start_seconds:08.4f}-{line.end_seconds:08.4f}]:"
        f" {line.sentence.replace(LAUGH, '[LAUGHTER]')}"
        for line in lines
    ]
    if name == "Ses01F_impro01":
        transcription.insert(3, "M: [BREATHING]")
    _write(dialog / "transcriptions" / f"{name}.txt", transcription)
    blocks = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    single = []
    for line in lines:
        votes, ratings = _evaluations(line.label, rng)
        means = np.mean(ratings, axis=0)
        attributes = ", ".join(f"{value:.4f}" for value in means)
        blocks.append(f"[{line.start_seconds:.4f} - {line.end_seconds:.4f}]\t{line.name}\t{line.label}\t[{attributes}]")
        blocks += [f"C-E{index}:\t{vote};\t()" for index, vote in enumerate(votes, start=2)]
        blocks.append(f"C-{line.name[-4]}1:\t{votes[0]};\t()")
        blocks += [f"A-E{index}:\tval {v}; act {a}; dom  {d};\t()" for index, (v, a, d) in enumerate(ratings, start=3)]
        blocks.append("")
        single.append(f"{line.name} :{votes[0]}; ()")
    _write(dialog / "EmoEvaluation" / f"{name}.txt", blocks)
    _write(dialog / "EmoEvaluation" / "Categorical" / f"{name}_e2_cat.txt", single)
    _write_decoy(dialog / "EmoEvaluation" / f"{name}.txt")
    for line in lines:
        if line.name != WITHOUT_ALIGNMENT:
            folder = session / "sentences" / "ForcedAlignment" / name
            _write(folder / f"{line.name}.wdseg", _alignment(line))


def _evaluations(label: str, rng: np.random.Generator) -> tuple[list[str], list[tuple[int, int, int]]]:
    """Three categorical votes (no majority for `xxx`) and two ratings of valence, activation, dominance."""
    votes = [_NAMES[label]] * 3
    if label == "xxx":
        votes = ["Frustration", "Anger", "Neutral state"]
    elif rng.random() < 0.35:
        votes[2] = str(rng.choice([other for other in _NAMES.values() if other != _NAMES[label]]))
    ratings = []
    for _ in range(2):
        v, a, d = (int(np.clip(round(mean + rng.normal(0, 0.5)), 1, 5)) for mean in _ATTRIBUTES[label])
        ratings.append((v, a, d))
    return votes, ratings


def _alignment(line: Line) -> list[str]:
    """The rows of a `.wdseg` file: first and last frame (100 a second), a score, the word."""
    rows: list[tuple[int, int, str]] = []
    clock = 0
    for index, word in enumerate(line.words):
        begin, end = round(word.start_seconds * 100), max(round(word.end_seconds * 100) - 1, 0)
        if begin > clock + 1:
            rows.append((clock, begin - 1, "<sil>" if rows else "<s>"))
        text = "++LAUGHTER++" if word.is_laughter else word.text.upper()
        variant = "(2)" if not word.is_laughter and index % 5 == 3 else ""
        rows.append((max(begin, clock), max(end, begin), f"{text}{variant}"))
        clock = max(end, begin) + 1
    rows.append((clock, round(len(line.samples) / SAMPLE_RATE_HZ * 100), "</s>"))
    table = [f"{first:9d} {last:5d} {-37000 - 911 * (last - first):10d} {text}" for first, last, text in rows]
    return ["\t SFrm  EFrm    SegAScr Word", *table, f"Total score: {-40000 * len(rows):12d}"]


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _write_decoy(path: Path) -> None:
    """The AppleDouble companion that macOS leaves beside a file, as the real distribution has them."""
    header = bytes.fromhex("00051607000200004d6163204f5320582020202020202020") + bytes(58)
    path.with_name(f"._{path.name}").write_bytes(header)
