"""IEMOCAP's label files at full size: 151 dialogs, 10,039 turns, with the odd lines that the release has.

Counts by session are those that papers on the release report; they sum to 5,531 utterances of the four classes.
"""

from __future__ import annotations

import random
from pathlib import Path

LABELS = ("ang", "hap", "exc", "neu", "sad", "fea", "sur", "fru", "dis", "oth", "xxx")
TURNS = {
    "Session1": (229, 135, 143, 384, 194),
    "Session2": (137, 117, 210, 362, 197),
    "Session3": (240, 135, 151, 320, 305),
    "Session4": (327, 65, 238, 258, 143),
    "Session5": (170, 143, 299, 384, 245),
}
OTHERS = {"fea": 40, "sur": 107, "fru": 1849, "dis": 2, "oth": 3, "xxx": 2507}
SIZES = {"Session1": 1819, "Session2": 1811, "Session3": 2136, "Session4": 2103, "Session5": 2170}
DIALOGS = {"Session1": 28, "Session2": 30, "Session3": 32, "Session4": 30, "Session5": 31}
NAMES = {
    "ang": "Anger", "hap": "Happiness", "exc": "Excited", "neu": "Neutral", "sad": "Sadness", "fea": "Fear",
    "sur": "Surprise", "fru": "Frustration", "dis": "Disgust", "oth": "Other", "xxx": "Neutral",
}  # fmt: skip
SPOKEN = ["I", "don't", "know", "what", "you", "want", "me", "to", "say", "about", "that"]


def write_iemocap(root: Path, seed: int = 0) -> None:
    """Write EmoEvaluation, transcriptions and ForcedAlignment of all five sessions."""
    rng = random.Random(seed)
    others = [label for label, number in OTHERS.items() for _ in range(number)]
    rng.shuffle(others)
    for session, counts in TURNS.items():
        labels = [label for label, number in zip(LABELS, counts, strict=False) for _ in range(number)]
        labels += [others.pop() for _ in range(SIZES[session] - len(labels))]
        rng.shuffle(labels)
        dialogs = _dialogs(session)
        for number, dialog in enumerate(dialogs):
            _write_dialog(root / session, dialog, labels[number :: len(dialogs)], rng)
    assert not others
    _write_what_is_not_to_be_read(root)


def _dialogs(session: str) -> list[str]:
    number = session[-1]
    scenes = [f"impro{n:02d}" for n in range(1, 9)] + [f"script{n:02d}_{part}" for n in (1, 2, 3) for part in (1, 2)]
    names = [f"Ses0{number}{actor}_{scene}" for actor in "FM" for scene in scenes]
    extra = [f"Ses0{number}{actor}_script0{n}_{part}" for actor in "FM" for n, part in ((1, 3), (2, 3))]
    return (names + extra)[: DIALOGS[session]]


def _write_dialog(session: Path, dialog: str, labels: list[str], rng: random.Random) -> None:
    evaluation = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    spoken: list[str] = []
    clock, numbers = 0.5, {"F": 0, "M": 0}
    for label in labels:
        who = rng.choice("FM")
        turn = f"{dialog}_{who}{numbers[who]:03d}"
        numbers[who] += 1
        end = clock + rng.uniform(0.6, 12)
        words = SPOKEN[: rng.randint(1, len(SPOKEN))]
        evaluation += [
            f"[{clock:.4f} - {end:.4f}]\t{turn}\t{label}\t[2.5000, 3.0000, 2.0000]",
            f"C-E2:\t{NAMES[label]};\t()",
            "C-E3:\tNeutral; Other;\t(tired)",
            f"C-{who}1:\t{NAMES[label]};\t()",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "A-E4:\tval 2; act 4; dom  ;\t()",
            f"A-{who}1:\tval 2; act 4; dom  4;\t()",
            "",
        ]
        spoken.append(f"{turn} [{clock:08.4f}-{end:08.4f}]: {' '.join(words).capitalize()}.")
        if turn != "Ses03M_impro03_M001":
            _write_alignment(session, dialog, turn, words, end - clock)
        clock = end + rng.uniform(-0.2, 1)
        clock = max(clock, 0.0)
    spoken[3:3] = ["M: [BREATHING]", f"{dialog}_MXX0 [010.0000-011.0000]: [LAUGHTER]"]
    for folder, lines in (("EmoEvaluation", evaluation), ("transcriptions", spoken)):
        path = session / "dialog" / folder / f"{dialog}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(("\n".join(lines) + "\n").encode("latin-1"))


def _write_alignment(session: Path, dialog: str, turn: str, words: list[str], seconds: float) -> None:
    lines = ["\t SFrm  EFrm    SegAScr Word", "        0     9     -53398 <s>"]
    step = max(2, round((seconds * 100 - 12) / (len(words) + 1)))
    frame = 10
    for place, word in enumerate(words):
        text = word.upper() + ("(2)" if place == 1 else "")
        lines.append(f"{frame:9d} {frame + step - 1:5d} {-45199:10d} {text}")
        frame += step
    lines += [
        f"{frame:9d} {frame:5d} {-100:10d} ++BREATHING++",
        f"{frame + 1:9d} {frame + 1:5d} {-100:10d} </s>",
        "Total score:      -360000",
    ]
    path = session / "sentences" / "ForcedAlignment" / dialog / f"{turn}.wdseg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _write_what_is_not_to_be_read(root: Path) -> None:
    """The folders of single evaluators, and what a Mac leaves behind."""
    folder = root / "Session1" / "dialog" / "EmoEvaluation"
    (folder / "Categorical").mkdir()
    (folder / "Categorical" / "Ses01F_impro01_e2_cat.txt").write_text("Ses01F_impro01_F000 :Anger; ()\n")
    (folder / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X")
