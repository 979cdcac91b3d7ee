"""The text files of IEMOCAP: evaluations, transcriptions and forced alignments.

Lines that do not have the form of the release are skipped, counted and listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpipe.core.text import clean
from mmpipe.manifests.contract import Prepared
from mmpipe.manifests.formats.text import parse_seconds, read_lines
from mmpipe.manifests.io import is_file
from mmpipe.manifests.schema import Word

__all__ = ["Turn", "read_alignment", "read_transcription", "read_turns"]

_FRAMES_A_SECOND = 100
"""Frames of the forced alignment."""

_NAME = r"Ses0[1-5][FM]_\w{1,40}_[FM]\d{3}"
_TURN = re.compile(
    rf"\[ *(?P<start>[\d.]+) *- *(?P<end>[\d.]+) *\]\s+(?P<turn>{_NAME})\s+"
    r"(?P<label>\w{1,20})\s+\[(?P<vad>[^\]]*)\]\s*",
    re.ASCII,
)
# Turns such as Ses01F_impro01_MXX0 are words between turns, which were not evaluated.
_SPOKEN = re.compile(r"(?P<turn>Ses0[1-5][FM]_\w{1,40}_[FM]\w{3,4}) *\[[\d. -]*\] *:(?P<text>.*)", re.ASCII)
_ALIGNED = re.compile(r"\s*(\d{1,9})\s+(\d{1,9})\s+(-?\d+)\s+(\S+)\s*", re.ASCII)
_VARIANT = re.compile(r"\(\d+\)$", re.ASCII)
_DIMENSIONS = {"val": "valence", "act": "activation", "dom": "dominance"}


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of an evaluation file.

    Attributes:
        line: its line in the file.
        turn: its name, such as Ses01F_impro01_F000.
        start_seconds: start on the dialog's clock.
        end_seconds: end on the dialog's clock.
        label: the majority label, three letters; xxx where there is none.
        annotations: mean `valence`, `activation`, `dominance` (1 to 5); `votes`: categories by evaluator; `ratings`:
            dimensions by evaluator.
    """

    line: int
    turn: str
    start_seconds: float
    end_seconds: float
    label: str
    annotations: dict[str, Any] = field(default_factory=dict)


def read_turns(root: Path, path: Path, prepared: Prepared) -> Iterator[Turn]:
    """The turns of an evaluation file, in its order (that of time)."""
    current: Turn | None = None
    for number, line in enumerate(read_lines(root, path, prepared), 1):
        where = f"{path.relative_to(root)}:{number}"
        if line.startswith("["):
            if current:
                yield current
            current = _turn(line, number, where, prepared)
        elif line[:2] in ("C-", "A-"):
            if current and not _evaluation(line, current.annotations):
                prepared.problem("malformed_line", where, f"an evaluation that is skipped: {line[:60]!r}")
        elif line.strip() and not line.startswith("%"):
            prepared.problem("malformed_line", where, f"skipped: {line[:60]!r}")
    if current:
        yield current


def _turn(line: str, number: int, where: str, prepared: Prepared) -> Turn | None:
    match = _TURN.fullmatch(line)
    start, end = (parse_seconds(match[name]) for name in ("start", "end")) if match else (None, None)
    if match is None or start is None or end is None:
        message = f"expected [START - END] TURN LABEL [V, A, D], got {line[:80]!r}: the turn is left out"
        prepared.problem("malformed_line", where, message, lost=1)
        return None
    if end <= start:
        message = f"{match['turn']} runs from {start} to {end} s: left out"
        prepared.problem("times_backwards", where, message, lost=1)
        return None
    values = [parse_seconds(text) for text in match["vad"].split(",")]
    if len(values) != 3 or None in values:
        prepared.problem(
            "malformed_line", where, f"expected three ratings, got [{match['vad'][:40]}]: they are left out"
        )
        values = []
    means = dict(zip(_DIMENSIONS.values(), values, strict=False))
    return Turn(number, match["turn"], start, end, match["label"], means)


def _evaluation(line: str, annotations: dict[str, Any]) -> bool:
    """Add an evaluator's line, `C-E2: Neutral; Sadness; (comment)` or `A-E3: val 3; act 2; dom  2; (comment)`."""
    who, colon, rest = line[2:].partition(":")
    if not colon or not who.strip() or len(who) > 4:
        return False
    items = [clean(item) for item in rest.partition("(")[0].split(";")]
    if line[0] == "C":
        annotations.setdefault("votes", {})[who.strip()] = [item for item in items if item]
        return True
    ratings = {}
    for item in filter(None, items):
        name, _, value = item.partition(" ")
        if name not in _DIMENSIONS:
            return False
        # Some evaluators left a dimension blank: `dom  ;`.
        if value and (number := parse_seconds(value)) is not None:
            ratings[_DIMENSIONS[name]] = number
    annotations.setdefault("ratings", {})[who.strip()] = ratings
    return True


def read_transcription(root: Path, path: Path, prepared: Prepared) -> dict[str, str]:
    """The text of each turn of a dialog."""
    texts: dict[str, str] = {}
    for number, line in enumerate(read_lines(root, path, prepared), 1):
        if match := _SPOKEN.fullmatch(line):
            texts.setdefault(match["turn"], clean(match["text"]))
        elif line.strip():
            prepared.problem("malformed_line", f"{path.relative_to(root)}:{number}", f"skipped: {line[:60]!r}")
    return texts


def read_alignment(root: Path, path: Path, prepared: Prepared) -> tuple[Word, ...] | None:
    """Words with times in seconds from the start of the turn; None where there are none.

    Columns are SFrm, EFrm (frames of 10 ms, the last one included), SegAScr and Word. Silence and noise (`<s>`,
    `<sil>`, `++LAUGHTER++`) are left out; variants of pronunciation (`A(2)`) are words.
    """
    if not is_file(path):
        prepared.problem("no_alignment", path.relative_to(root), "the file is missing: the words have no times")
        return None
    words = []
    for number, line in enumerate(read_lines(root, path, prepared), 1):
        match = _ALIGNED.fullmatch(line)
        where = f"{path.relative_to(root)}:{number}"
        if match is None:
            if line.strip() and not line.lstrip().startswith(("SFrm", "Total score")):
                prepared.problem("malformed_line", where, f"skipped: {line[:60]!r}")
        elif not match[4].startswith(("<", "++")):
            first, last = int(match[1]), int(match[2])
            if last < first:
                prepared.problem("times_backwards", where, f"{match[4][:40]!r}: frames {first} to {last}: left out")
            elif text := clean(_VARIANT.sub("", match[4])):
                words.append(Word(text, first / _FRAMES_A_SECOND, (last + 1) / _FRAMES_A_SECOND))
    return tuple(words) or None
