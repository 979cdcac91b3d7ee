"""IEMOCAP (Busso et al. 2008): five sessions of acted and improvised dyads.

Layout and formats are those of the full release: `Session{1..5}/dialog/EmoEvaluation/{dialog}.txt` (turns, labels, votes),
`dialog/transcriptions/{dialog}.txt`, `sentences/ForcedAlignment/{dialog}/{turn}.wdseg`, `sentences/wav/{dialog}/{turn}.wav`,
`dialog/avi/DivX/{dialog}.avi` with both actors side by side. Only the top-level files of EmoEvaluation are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from mmpipe.manifests.corpus import Corpus, CorpusOptions, Prepared, require
from mmpipe.manifests.schema import MediaSpan, Region, Utterance, Word

__all__ = ["FOUR_CLASSES", "SOURCE_LABELS", "Iemocap", "IemocapOptions"]

SOURCE_LABELS = {
    "neu": "neutral",
    "hap": "happiness",
    "exc": "excitement",
    "ang": "anger",
    "sad": "sadness",
    "fea": "fear",
    "sur": "surprise",
    "fru": "frustration",
    "dis": "disgust",
    "oth": "other",
    "xxx": None,
}
"""The corpus's labels; `xxx` has no majority, so no label."""

FOUR_CLASSES = {"hap": "happiness", "exc": "happiness", "ang": "anger", "sad": "sadness", "neu": "neutral"}
"""The paper's task: 5,531 utterances, excitement merged into happiness (section 4.1)."""

LEFT, RIGHT = Region(0.0, 0.0, 0.5, 1.0), Region(0.5, 0.0, 0.5, 1.0)

_TURN = re.compile(
    r"^\[\s*(?P<start>\d+\.?\d*)\s*-\s*(?P<end>\d+\.?\d*)\s*\]\s+(?P<turn>Ses0[1-5][FM]_\w+_[FM]\d+)\s+"
    r"(?P<label>[a-z]{3})\s+\[\s*(?P<v>[\d.]+),\s*(?P<a>[\d.]+),\s*(?P<d>[\d.]+)\s*\]\s*$"
)
_VOTE = re.compile(r"^C-(?P<who>[EFM]\d?):\s*(?P<votes>[^(]*?);?\s*\(")
_SPOKEN = re.compile(r"^(?P<turn>Ses0[1-5][FM]_\w+_[FM]\d+)\s*\[[\d.\s-]+\]:\s?(?P<text>.*)$")
_ALIGNED = re.compile(r"^\s*(\d+)\s+(\d+)\s+-?\d+\s+(\S+)\s*$")


class IemocapOptions(CorpusOptions):
    """Options of IEMOCAP."""

    labels: Literal["merge", "drop-exc", "all"] = "merge"
    """`merge`: four classes, excitement as happiness; `drop-exc`: four classes without excitement; `all`: every turn."""


class Iemocap(Corpus):
    """Reads IEMOCAP."""

    name: ClassVar[str] = "iemocap"
    Options: ClassVar[type[CorpusOptions]] = IemocapOptions
    options: IemocapOptions

    def prepare(self, root: Path) -> Prepared:
        """One utterance a turn of EmoEvaluation, in order of session, dialog and time."""
        require(root, "IEMOCAP", ("Session*/dialog/EmoEvaluation/*.txt",), "IEMOCAP_full_release, with Session1 ... Session5")
        prepared = Prepared()
        for path in sorted(root.glob("Session[1-5]/dialog/EmoEvaluation/Ses*.txt")):
            prepared.utterances += self._dialog(root, path, prepared)
        return prepared

    def _label(self, source: str) -> tuple[bool, str | None]:
        """Whether a turn is kept, and its label."""
        if self.options.labels == "all":
            return True, SOURCE_LABELS.get(source)
        keep = source in FOUR_CLASSES and not (self.options.labels == "drop-exc" and source == "exc")
        return keep, FOUR_CLASSES.get(source)

    def _dialog(self, root: Path, path: Path, prepared: Prepared) -> Iterator[Utterance]:
        session, dialog = path.parts[-4], path.stem
        texts = _transcriptions(root, path.parents[1] / "transcriptions" / path.name, prepared)
        turns: list[tuple[re.Match[str], dict[str, list[str]]]] = []
        for number, line in enumerate(_lines(path), 1):
            if match := _TURN.match(line):
                turns.append((match, {}))
            elif line.startswith("["):
                prepared.problem("malformed line", f"{path.relative_to(root)}:{number}", f"skipped: {line[:60]!r}")
            elif turns and (vote := _VOTE.match(line)):
                turns[-1][1][vote["who"]] = [v.strip() for v in vote["votes"].split(";") if v.strip()]
        for match, votes in turns:
            keep, label = self._label(match["label"])
            where = f"{path.relative_to(root)}: {match['turn']}"
            if float(match["end"]) <= float(match["start"]):
                prepared.problem("times run backwards", where, "left out")
            elif not keep:
                prepared.problem("not in the label set", where, f"left out: its label is {match['label']}")
            else:
                yield self._utterance(root, session, dialog, match, votes, texts.get(match["turn"]), label, prepared)

    def _utterance(
        self,
        root: Path,
        session: str,
        dialog: str,
        match: re.Match[str],
        votes: dict[str, list[str]],
        text: str | None,
        label: str | None,
        prepared: Prepared,
    ) -> Utterance:
        turn, start, end = match["turn"], float(match["start"]), float(match["end"])
        gender = turn[-4]
        # turn[5] names the actor with motion capture, who sits on the left half of the frame.
        region = LEFT if gender == turn[5] else RIGHT
        alignment = root / session / "sentences" / "ForcedAlignment" / dialog / f"{turn}.wdseg"
        if text is None:
            prepared.problem("no transcription", f"{session}: {turn}", "the words of the forced alignment are used")
        words = _alignment(root, alignment, prepared)
        return Utterance(
            f"iemocap/{turn}",
            "iemocap",
            session=session,
            dialogue=dialog,
            speaker=f"{turn[:5]}{gender}",
            gender=gender,
            audio=MediaSpan(f"{session}/sentences/wav/{dialog}/{turn}.wav"),
            video=MediaSpan(f"{session}/dialog/avi/DivX/{dialog}.avi", start, end, region),
            text=text if text is not None else " ".join(word.text for word in words or ()) or None,
            words=words,
            label=label,
            label_source=match["label"],
            annotations={
                "votes": votes,
                "valence": float(match["v"]),
                "activation": float(match["a"]),
                "dominance": float(match["d"]),
            },
        )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _transcriptions(root: Path, path: Path, prepared: Prepared) -> dict[str, str]:
    if not path.is_file():
        prepared.problem("no transcription", path.relative_to(root), "the file is missing")
        return {}
    texts = {}
    for number, line in enumerate(_lines(path), 1):
        if match := _SPOKEN.match(line):
            texts[match["turn"]] = match["text"].strip()
        elif line.strip():
            prepared.problem("malformed line", f"{path.relative_to(root)}:{number}", f"skipped: {line[:60]!r}")
    return texts


def _alignment(root: Path, path: Path, prepared: Prepared) -> tuple[Word, ...] | None:
    """Words with times (frames of 10 ms); None where the release has no alignment."""
    if not path.is_file():
        prepared.problem("no alignment", path.relative_to(root), "the words of the transcription are used, without times")
        return None
    words = []
    for line in _lines(path):
        match = _ALIGNED.match(line)
        if match is None or match[3].startswith(("<", "++")):
            continue
        text = re.sub(r"\(\d+\)$", "", match[3])
        words.append(Word(text, int(match[1]) / 100, (int(match[2]) + 1) / 100))
    return tuple(words) or None
